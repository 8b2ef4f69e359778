/// Timing a piece of work many times: what `sequin bench` and bench/ report.
#pragma once

#include "allocation_count.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace sequin_examples {

/// Times in milliseconds and heap allocations a call.
struct Measurement {
  double best = 0, median = 0, p99 = 0, worst = 0;
  double allocations = 0;
};

/// Calls `work` `warm_up` times, then `repeat` times under the clock.
template <class F>
Measurement measure(F&& work, int repeat, int warm_up = 3) {
  for (int i = 0; i < warm_up; ++i) work();
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(repeat));
  const std::size_t before = allocation_count();
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    times.push_back(took.count());
  }
  Measurement m;
  m.allocations = static_cast<double>(allocation_count() - before) / repeat;
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  m.best = at(0.0);
  m.median = at(0.5);
  m.p99 = at(0.99);
  m.worst = at(1.0);
  return m;
}

/// The most bytes of memory that this process has held; 0 where the system does not tell.
inline std::size_t peak_memory() {
#if defined(__linux__)
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
#else
  return 0;
#endif
}

}  // namespace sequin_examples
