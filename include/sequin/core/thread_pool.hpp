/// Opt-in: an Executor over Eigen's thread pool.
#pragma once

#include "sequin/core/parallel.hpp"

#include <unsupported/Eigen/CXX11/ThreadPool>

namespace sequin::inline SEQUIN_ABI {

/// `ThreadPool pool(4); ExecutorScope scope(&pool);` lets the operations of this thread use four
/// threads, the calling one included. The threads live as long as the pool and sleep when idle.
class ThreadPool final : public Executor {
 public:
  /// Throws ConfigError when `threads` is below 1, std::system_error when none can be started.
  explicit ThreadPool(index_t threads) : threads_(check(threads)) {
    if (threads > 1) pool_ = std::make_unique<Eigen::ThreadPool>(static_cast<int>(threads - 1));
  }

  index_t concurrency() const noexcept override { return threads_; }

  /// May be called from several threads at the same time. Allocates nothing.
  void run(index_t tasks, Task task, void* context) override {
    if (tasks <= 0) return;
    if (pool_ == nullptr) {
      for (index_t i = 0; i < tasks; ++i) task(context, i);
      return;
    }
    struct Call {
      Task task;
      void* context;
      Eigen::Barrier done;
    } call{task, context, Eigen::Barrier(static_cast<unsigned>(tasks - 1))};
    for (index_t i = 1; i < tasks; ++i) {
      // Two words: std::function keeps them without an allocation.
      pool_->Schedule([c = &call, i] {
        c->task(c->context, i);
        c->done.Notify();
      });
    }
    task(context, 0);
    call.done.Wait();
  }

 private:
  static index_t check(index_t threads) {
    if (threads < 1 || threads > 4096)
      throw ConfigError("ThreadPool: " + std::to_string(threads) + " threads, expected 1 to 4096");
    return threads;
  }

  index_t threads_;
  std::unique_ptr<Eigen::ThreadPool> pool_;
};

}  // namespace sequin::inline SEQUIN_ABI
