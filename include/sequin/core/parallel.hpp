/// One way to use several threads: `parallel_for` over whatever executor the caller provides.
#pragma once

#include "sequin/core/compiler.hpp"
#include "sequin/core/function_ref.hpp"
#include "sequin/core/shape.hpp"

#include <algorithm>
#include <memory>

namespace sequin::inline SEQUIN_ABI {

/// Runs tasks, possibly at the same time. `core/thread_pool.hpp` has one; a program with a pool of
/// its own derives from this instead, so that cores are not oversubscribed.
class Executor {
 public:
  using Task = void (*)(void* context, index_t task);

  virtual ~Executor() = default;
  /// How many tasks can run at the same time, the calling thread included; at least 1.
  virtual index_t concurrency() const noexcept = 0;
  /// Calls `task(context, i)` once for every i in [0, tasks) and returns when all are done.
  /// `task` does not throw.
  virtual void run(index_t tasks, Task task, void* context) = 0;
};

namespace detail {
inline thread_local Executor* active_executor = nullptr;
}  // namespace detail

/// While it lives, operations called from this thread may use `executor` (nullptr: this thread
/// alone, which is the default). Nothing else in the process changes.
class ExecutorScope {
 public:
  explicit ExecutorScope(Executor* executor) noexcept : outer_(detail::active_executor) {
    detail::active_executor = executor;
  }
  ExecutorScope(const ExecutorScope&) = delete;
  ExecutorScope& operator=(const ExecutorScope&) = delete;
  ~ExecutorScope() { detail::active_executor = outer_; }

 private:
  Executor* outer_;
};

/// Number of threads that `parallel_for` would use in this thread now.
inline index_t concurrency() noexcept {
  return detail::active_executor == nullptr ? 1 : detail::active_executor->concurrency();
}

/// As `parallel_for`, with the number of the range before it: `f(task, begin, end)`, task less than
/// `concurrency()`; no two ranges of one number run at the same time, so that each may have memory
/// of its own.
SEQUIN_NO_INLINE inline void parallel_tasks(
    index_t n, index_t grain, detail::FunctionRef<void(index_t, index_t, index_t)> f) {
  if (n <= 0) return;
  Executor* const executor = detail::active_executor;
  const index_t step = (std::max)(grain, index_t{1});
  const index_t grains = (n + step - 1) / step;
  if (executor == nullptr || grains < 2) {
    f(index_t{0}, index_t{0}, n);
    return;
  }
  struct Work {
    detail::FunctionRef<void(index_t, index_t, index_t)> f;
    index_t n, step, grains, tasks;
  } work{f, n, step, grains, (std::min)(executor->concurrency(), grains)};
  executor->run(
      work.tasks,
      [](void* context, index_t task) {
        const Work& w = *static_cast<const Work*>(context);
        const ExecutorScope serial(nullptr);
        const index_t begin = w.grains * task / w.tasks * w.step;
        const index_t end = (std::min)(w.grains * (task + 1) / w.tasks * w.step, w.n);
        if (begin < end) w.f(task, begin, end);
      },
      &work);
}

/// Calls `f(begin, end)` on ranges that cover [0, n), each but the last a multiple of `grain` long.
/// How [0, n) is cut depends on the number of threads, so `f` computes each index independently of
/// the others and of the range; then results are the same for any number. A call from inside `f`
/// runs in its own thread. `f` does not throw and does not create tensors. Allocates nothing.
SEQUIN_NO_INLINE inline void parallel_for(index_t n, index_t grain,
                                          detail::FunctionRef<void(index_t, index_t)> f) {
  if (n <= 0) return;
  if (detail::active_executor == nullptr) return f(index_t{0}, n);
  parallel_tasks(n, grain, [&f](index_t, index_t begin, index_t end) { f(begin, end); });
}

}  // namespace sequin::inline SEQUIN_ABI
