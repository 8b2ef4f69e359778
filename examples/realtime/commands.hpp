/// The subcommands of the `realtime` program.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace realtime {

/// What a subcommand does when it was chosen; returns the exit code: 0 done, 1 the answer is no.
using Action = std::function<int()>;

void add_run(CLI::App& app, Action& chosen);
void add_train(CLI::App& app, Action& chosen);
void add_signal(CLI::App& app, Action& chosen);

}  // namespace realtime
