/// The subcommands of the program `pretrain`.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sequin_pretrain {

/// What the subcommand that was chosen does; its exit code.
using Action = std::function<int()>;

void add_train(CLI::App& app, Action& chosen);
void add_score(CLI::App& app, Action& chosen);

}  // namespace sequin_pretrain
