#include "limits.hpp"

#include "sequin/core/vmath.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

namespace sequin_compare {

namespace {

using Clock = std::chrono::steady_clock;

using sequin::simd::kLanes;
using Vec = sequin::simd::Vec<float>;

/// The best of several trials of at least some milliseconds each: seconds a call.
template <class F>
double best_seconds(F&& f) {
  const auto time = [&](index_t calls) {
    const auto start = Clock::now();
    for (index_t i = 0; i < calls; ++i) f();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  index_t calls = 1;
  while (time(calls) < 5e-3) calls *= 2;
  double best = time(calls);
  for (int trial = 0; trial < 9; ++trial) best = (std::min)(best, time(calls));
  return best / static_cast<double>(calls);
}

constexpr int kChains = 12;

void multiply_add(index_t repeats) {
  Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = Vec(static_cast<float>(i));
  Vec a(0.999f), b(0.001f);
  benchmark::DoNotOptimize(a);
  benchmark::DoNotOptimize(b);
  for (index_t r = 0; r < repeats; ++r) {
    SEQUIN_UNROLL
    for (int i = 0; i < kChains; ++i) sum[i] = sequin::simd::fma<float>(sum[i], a, b);
  }
  for (Vec& s : sum) benchmark::DoNotOptimize(s);
}

constexpr double flops_of(index_t repeats) {
  return 2.0 * kChains * static_cast<double>(repeats * kLanes<float>);
}

double multiply_add_rate() {
  constexpr index_t repeats = 100000;
  return flops_of(repeats) / best_seconds([] { multiply_add(repeats); });
}

double exponential_rate() {
  constexpr index_t count = 2048;
  sequin::Tensor<float, 1> x({count}), y({count});
  for (index_t i = 0; i < count; ++i) x(i) = -8.0f * static_cast<float>(i) / count;
  const double seconds = best_seconds([&] {
    sequin::simd::transform<float>(
        count, y.data(), [](const Vec& v) { return sequin::simd::exp_nonpositive<float>(v); },
        std::as_const(x).data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  });
  return count / seconds;
}

Limits::Bandwidth bandwidth(std::size_t bytes) {
  const auto half = static_cast<index_t>(bytes / 2 / sizeof(float));
  auto from = sequin::Tensor<float, 1>({half}, 1.0f);
  auto to = sequin::Tensor<float, 1>({half}, 1.0f);
  const float* const source = std::as_const(from).data();
  float* const target = to.data();
  const double copying = best_seconds([&] {
    std::memcpy(target, source, static_cast<std::size_t>(half) * sizeof(float));
    benchmark::DoNotOptimize(target);
    benchmark::ClobberMemory();
  });
  const double reading = best_seconds([&] {
    Vec sum[8];
    for (Vec& s : sum) s = Vec(0.0f);
    for (index_t i = 0; i + 8 * kLanes<float> <= half; i += 8 * kLanes<float>) {
      SEQUIN_UNROLL
      for (int j = 0; j < 8; ++j)
        sum[j] = sum[j] + sequin::simd::load<float>(source + i + j * kLanes<float>);
    }
    for (Vec& s : sum) benchmark::DoNotOptimize(s);
  });
  const auto total = static_cast<double>(bytes);
  return {total, total / copying, total / 2 / reading};
}

}  // namespace

double Limits::copy_rate(double bytes) const {
  if (bytes <= bandwidth.front().size) return bandwidth.front().copy;
  for (std::size_t i = 1; i < bandwidth.size(); ++i) {
    if (bytes > bandwidth[i].size) continue;
    const double share = std::log(bytes / bandwidth[i - 1].size) /
                         std::log(bandwidth[i].size / bandwidth[i - 1].size);
    return bandwidth[i - 1].copy + share * (bandwidth[i].copy - bandwidth[i - 1].copy);
  }
  return bandwidth.back().copy;
}

double multiply_add_rate_now() {
  constexpr index_t repeats = 100000;
  const auto start = Clock::now();
  multiply_add(repeats);
  return flops_of(repeats) / std::chrono::duration<double>(Clock::now() - start).count();
}

double Limits::seconds(const Work& work, index_t threads, double speed) const {
  const auto cores = static_cast<double>(threads);
  const double computing = (std::max)(work.flops / flops, work.exps / exps) / (cores * speed);
  return (std::max)(computing, work.bytes / copy_rate(work.bytes) / cores);
}

Limits measure_limits() {
  Limits limits;
  limits.flops = multiply_add_rate();
  limits.exps = exponential_rate();
  for (std::size_t kib = 16; kib <= 262144; kib *= 2)
    limits.bandwidth.push_back(bandwidth(kib << 10));
  return limits;
}

}  // namespace sequin_compare
