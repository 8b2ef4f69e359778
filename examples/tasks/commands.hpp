/// The subcommands of the program `tasks`.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sequin_tasks {

/// What the subcommand that was chosen does; its exit code.
using Action = std::function<int()>;

void add_induction_heads(CLI::App& app, Action& chosen);
void add_selective_copying(CLI::App& app, Action& chosen);

}  // namespace sequin_tasks
