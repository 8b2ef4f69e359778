/// Options that every long-running subcommand has.
#pragma once

#include "sequin/core/thread_pool.hpp"

#include <CLI/CLI.hpp>

#include <optional>

namespace sequin_cli {

struct SessionOptions {
  sequin::index_t threads = 1;
  bool quiet = false;

  void add_to(CLI::App* cmd) {
    cmd->add_option("--threads", threads, "threads to use (1)")->check(CLI::Range(1, 4096));
    cmd->add_flag("--quiet", quiet, "no progress");
  }
};

/// While it lives, the library may use the threads that were asked for.
class ThreadScope {
 public:
  explicit ThreadScope(const SessionOptions& options) : scope_(nullptr) {
    if (options.threads < 2) return;
    pool_.emplace(options.threads);
    inner_.emplace(&*pool_);
  }

 private:
  sequin::ExecutorScope scope_;
  std::optional<sequin::ThreadPool> pool_;
  std::optional<sequin::ExecutorScope> inner_;
};

}  // namespace sequin_cli
