/// The subcommands of the `sequin` program; each adds itself to the command line.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sequin_cli {

/// What a subcommand does when it was chosen; returns the exit code.
using Action = std::function<int()>;

void add_list(CLI::App& app, Action& chosen);
void add_info(CLI::App& app, Action& chosen);
void add_run(CLI::App& app, Action& chosen);
void add_check(CLI::App& app, Action& chosen);
void add_forecast(CLI::App& app, Action& chosen);
void add_train(CLI::App& app, Action& chosen);
void add_generate(CLI::App& app, Action& chosen);
void add_sisdr(CLI::App& app, Action& chosen);
void add_bench(CLI::App& app, Action& chosen);

/// Exit codes of every subcommand.
inline constexpr int kDone = 0;
inline constexpr int kAnswerIsNo = 1;
inline constexpr int kBadRequest = 2;

}  // namespace sequin_cli
