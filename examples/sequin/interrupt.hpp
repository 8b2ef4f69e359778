/// Ctrl-C and `kill` as a question instead of an end.
#pragma once

#include <csignal>

namespace sequin_cli {

/// While it lives, the first SIGINT or SIGTERM only sets `requested()`, so that work can be saved;
/// the second ends the program.
class InterruptGuard {
 public:
  InterruptGuard() noexcept
      : interrupt_(std::signal(SIGINT, handle)), terminate_(std::signal(SIGTERM, handle)) {}
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }

  static bool requested() noexcept { return requested_ != 0; }

 private:
  using Handler = void (*)(int);

  static void handle(int) {
    requested_ = 1;
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  }

  static inline volatile std::sig_atomic_t requested_ = 0;
  Handler interrupt_, terminate_;
};

}  // namespace sequin_cli
