/// The subcommands of the `sequin` program; each adds itself to the command line.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sequin_cli {

/// What a subcommand does when it was chosen; returns the exit code.
using Action = std::function<int()>;

/// Adds a subcommand to the command line; a global of the file that does its work. A program can so
/// be built without some (SEQUIN_PROGRAM_MODELS).
class RegisterCommand {
 public:
  using Add = void (*)(CLI::App& app, Action& chosen);
  /// `place` orders the subcommands in --help.
  RegisterCommand(int place, Add add);
};

/// Exit codes of every subcommand.
inline constexpr int kDone = 0;
inline constexpr int kAnswerIsNo = 1;
inline constexpr int kBadRequest = 2;

}  // namespace sequin_cli
