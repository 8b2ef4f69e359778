#include "sequin/core/parallel.hpp"

#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

using namespace sequin;

namespace {

/// Runs tasks one after the other, the last first: the order of tasks means nothing.
class Backwards final : public Executor {
 public:
  explicit Backwards(index_t concurrency) : concurrency_(concurrency) {}
  index_t concurrency() const noexcept override { return concurrency_; }
  void run(index_t tasks, Task task, void* context) override {
    ++runs;
    most = (std::max)(most, tasks);
    for (index_t i = tasks; i-- > 0;) task(context, i);
  }
  int runs = 0;
  index_t most = 0;

 private:
  index_t concurrency_;
};

}  // namespace

TEST_CASE("parallel_for: every index is met once, in ranges of whole grains", "[parallel]") {
  for (const index_t threads : {1, 2, 3, 7})
    for (const index_t n : {0, 1, 2, 3, 6, 7, 8, 64, 100, 1001})
      for (const index_t grain : {-5, 0, 1, 3, 8, 1000, 5000}) {
        Backwards executor(threads);
        const ExecutorScope scope(&executor);
        std::vector<int> met(static_cast<std::size_t>(n));
        int calls = 0;
        const index_t step = (std::max)(grain, index_t{1});
        parallel_for(n, grain, [&](index_t begin, index_t end) {
          ++calls;
          REQUIRE(begin < end);
          REQUIRE(begin % step == 0);
          REQUIRE((end % step == 0 || end == n));
          for (index_t i = begin; i < end; ++i) ++met[static_cast<std::size_t>(i)];
        });
        for (const int count : met) REQUIRE(count == 1);
        REQUIRE(calls <= threads);
        REQUIRE(executor.most <= threads);
        REQUIRE((executor.runs == 0) == (n <= step));  // one grain needs no executor
      }
}

TEST_CASE("parallel_for: with threads the sum is that of one thread", "[parallel]") {
  std::vector<double> expected(10007);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 1.0 / static_cast<double>(i + 1);
  for (const index_t threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    REQUIRE(pool.concurrency() == threads);
    const ExecutorScope scope(&pool);
    REQUIRE(concurrency() == threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<double> got(expected.size());
      parallel_for(static_cast<index_t>(got.size()), 16, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i)
          got[static_cast<std::size_t>(i)] = 1.0 / static_cast<double>(i + 1);
      });
      REQUIRE(got == expected);
    }
  }
}

TEST_CASE("parallel_for: a call from inside another runs in its own thread", "[parallel]") {
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  std::vector<std::atomic<int>> met(40 * 50);
  std::atomic<int> strangers{0};
  parallel_for(40, 1, [&](index_t begin, index_t end) {
    const auto self = std::this_thread::get_id();
    for (index_t i = begin; i < end; ++i)
      parallel_for(50, 1, [&](index_t from, index_t to) {
        if (std::this_thread::get_id() != self || concurrency() != 1) ++strangers;
        for (index_t j = from; j < to; ++j) ++met[static_cast<std::size_t>(i * 50 + j)];
      });
  });
  REQUIRE(strangers == 0);
  for (const auto& count : met) REQUIRE(count == 1);
  REQUIRE(concurrency() == 3);  // the caller's executor is back
}

TEST_CASE("parallel_for: several threads may share one pool", "[parallel]") {
  ThreadPool pool(2);
  std::atomic<index_t> total{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      const ExecutorScope scope(&pool);
      for (int repeat = 0; repeat < 100; ++repeat)
        parallel_for(100, 1, [&](index_t begin, index_t end) { total += end - begin; });
    });
  for (auto& thread : threads) thread.join();
  REQUIRE(total == 3 * 100 * 100);
}

TEST_CASE("executor scope: one thread without it, nested scopes restore the outer", "[parallel]") {
  REQUIRE(concurrency() == 1);
  Backwards two(2), five(5);
  {
    const ExecutorScope a(&two);
    REQUIRE(concurrency() == 2);
    {
      const ExecutorScope b(&five);
      REQUIRE(concurrency() == 5);
      const ExecutorScope c(nullptr);
      REQUIRE(concurrency() == 1);
    }
    REQUIRE(concurrency() == 2);
    index_t elsewhere = 0;
    std::thread([&] { elsewhere = concurrency(); }).join();
    REQUIRE(elsewhere == 1);  // it belongs to the thread that made it
  }
  REQUIRE(concurrency() == 1);
}

TEST_CASE("thread pool: an impossible number of threads is named", "[parallel]") {
  REQUIRE_THROWS_WITH(ThreadPool(0), "ThreadPool: 0 threads, expected 1 to 4096");
  REQUIRE_THROWS_WITH(ThreadPool(-1), "ThreadPool: -1 threads, expected 1 to 4096");
  REQUIRE_THROWS_AS(ThreadPool(4097), ConfigError);
}
