// Values per second of each vector function beside a loop over the C library's.
#include "sequin/core/vmath.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <ctime>
#include <vector>

namespace {

namespace simd = sequin::simd;

constexpr std::ptrdiff_t kCount = 4096;  // fits the first-level cache

// Processor time, so that other programs disturb the ratios less.
double seconds_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Runs ours and the plain loop over arguments from `low` to `high`, in turn.
template <class T, class F, class Plain>
void measure(benchmark::State& state, F f, Plain plain, double low, double high) {
  std::vector<T> x(kCount), y(kCount);
  for (std::ptrdiff_t i = 0; i < kCount; ++i)
    x[static_cast<std::size_t>(i)] =
        static_cast<T>(low + (high - low) * static_cast<double>(i * 2654435761 % kCount) / kCount);
  constexpr int repeats = 20;
  double ours = 0;
  double library = 0;
  for (auto _ : state) {
    const double begin = seconds_now();
    for (int r = 0; r < repeats; ++r) {
      simd::transform<T>(kCount, y.data(), f, x.data());
      benchmark::DoNotOptimize(y.data());
      benchmark::ClobberMemory();
    }
    const double middle = seconds_now();
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = plain(x[i]);
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
    const double end = seconds_now();
    ours += (middle - begin) / repeats;
    library += end - middle;
    state.SetIterationTime(middle - begin);
  }
  const double values = static_cast<double>(kCount) * static_cast<double>(state.iterations());
  state.counters["values/s"] = values / ours;
  state.counters["libm_values/s"] = values / library;
  state.counters["ratio"] = library / ours;
}

#define SEQUIN_MEASURE(name, low, high, ...)                           \
  template <class T>                                                   \
  void name(benchmark::State& state) {                                 \
    measure<T>(                                                        \
        state, [](const simd::Vec<T>& x) { return simd::name<T>(x); }, \
        [](T x) -> T { __VA_ARGS__ }, low, high);                      \
  }                                                                    \
  BENCHMARK_TEMPLATE(name, float)->UseManualTime()->MinTime(0.05);     \
  BENCHMARK_TEMPLATE(name, double)->UseManualTime()->MinTime(0.05)

SEQUIN_MEASURE(exp, -20, 20, return std::exp(x););
SEQUIN_MEASURE(exp_nonpositive, -20, 0, return std::exp(x););
SEQUIN_MEASURE(expm1, -5, 5, return std::expm1(x););
SEQUIN_MEASURE(log, 1e-3, 100, return std::log(x););
SEQUIN_MEASURE(log1p, -0.9, 5, return std::log1p(x););
SEQUIN_MEASURE(tanh, -5, 5, return std::tanh(x););
SEQUIN_MEASURE(erf, -4, 4, return std::erf(x););
SEQUIN_MEASURE(relu, -5, 5, return x > 0 ? x : 0;);
SEQUIN_MEASURE(sigmoid, -10, 10, return 1 / (1 + std::exp(-x)););
SEQUIN_MEASURE(softplus, -10, 10, return std::log1p(std::exp(x)););
SEQUIN_MEASURE(silu, -10, 10, return x / (1 + std::exp(-x)););
SEQUIN_MEASURE(gelu_erf, -5, 5, return x / 2 * (1 + std::erf(x * T(0.70710678118654752))););
SEQUIN_MEASURE(gelu_tanh, -5, 5,
               return x / 2 *
                      (1 + std::tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x))););
SEQUIN_MEASURE(silu_grad, -10, 10, const T s = 1 / (1 + std::exp(-x));
               return s * (1 + x * (1 - s)););
SEQUIN_MEASURE(gelu_erf_grad, -5, 5,
               return (1 + std::erf(x * T(0.70710678118654752))) / 2 +
                      x * T(0.3989422804014327) * std::exp(-x * x / 2););

}  // namespace

BENCHMARK_MAIN();
