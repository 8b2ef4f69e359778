// Elements per second of every vector function, from and to the first-level cache, beside a loop
// over the standard library's function.
#include "sequin/core/vmath.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace simd = sequin::simd;

namespace {

constexpr std::ptrdiff_t kCount = 1024;

/// Arguments between -8 and 0 or between 0 and 8.
template <class T>
std::vector<T> arguments(bool negative) {
  std::vector<T> x(static_cast<std::size_t>(kCount));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const T v = static_cast<T>(i * 7919 % 1024) / T(128);
    x[i] = negative ? -v : v;
  }
  return x;
}

template <class T, class F>
void add(const std::string& name, F f, bool negative) {
  const std::string type = sizeof(T) == 4 ? "<float>" : "<double>";
  benchmark::RegisterBenchmark((name + type).c_str(), [=](benchmark::State& state) {
    const std::vector<T> x = arguments<T>(negative);
    std::vector<T> y(x.size());
    for (auto _ : state) {
      f(x.data(), y.data());
      benchmark::DoNotOptimize(y.data());
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * kCount);
  });
}

#define SEQUIN_BENCH(name, negative)                                               \
  add<T>(                                                                          \
      #name,                                                                       \
      [](const T* x, T* y) {                                                       \
        simd::transform<T>(                                                        \
            kCount, y, [](const simd::Vec<T>& v) { return simd::name<T>(v); }, x); \
      },                                                                           \
      negative)

#define SEQUIN_BENCH_STD(name, expression, negative)  \
  add<T>(                                             \
      "std/" #name,                                   \
      [](const T* in, T* out) {                       \
        for (std::ptrdiff_t i = 0; i < kCount; ++i) { \
          const T x = in[i];                          \
          out[i] = expression;                        \
        }                                             \
      },                                              \
      negative)

template <class T>
void add_all() {
  SEQUIN_BENCH(exp, true);
  SEQUIN_BENCH(exp_nonpositive, true);
  SEQUIN_BENCH_STD(exp, std::exp(x), true);
  SEQUIN_BENCH(expm1, true);
  SEQUIN_BENCH_STD(expm1, std::expm1(x), true);
  SEQUIN_BENCH(log, false);
  SEQUIN_BENCH_STD(log, std::log(x), false);
  SEQUIN_BENCH(log1p, false);
  SEQUIN_BENCH_STD(log1p, std::log1p(x), false);
  SEQUIN_BENCH(tanh, true);
  SEQUIN_BENCH_STD(tanh, std::tanh(x), true);
  SEQUIN_BENCH(erf, true);
  SEQUIN_BENCH_STD(erf, std::erf(x), true);
  SEQUIN_BENCH(relu, true);
  SEQUIN_BENCH(sigmoid, true);
  SEQUIN_BENCH_STD(sigmoid, T{1} / (T{1} + std::exp(-x)), true);
  SEQUIN_BENCH(softplus, true);
  SEQUIN_BENCH_STD(softplus, std::log1p(std::exp(x)), true);
  SEQUIN_BENCH(silu, true);
  SEQUIN_BENCH_STD(silu, x / (T{1} + std::exp(-x)), true);
  SEQUIN_BENCH(gelu_erf, true);
  SEQUIN_BENCH_STD(gelu_erf, x / 2 * (1 + std::erf(x * T(0.70710678118654752))), true);
  SEQUIN_BENCH(gelu_tanh, true);
  SEQUIN_BENCH_STD(gelu_tanh,
                   x / 2 * (1 + std::tanh(T(0.79788456080286536) * (x + T(0.044715) * x * x * x))),
                   true);
  SEQUIN_BENCH(sigmoid_grad, true);
  SEQUIN_BENCH(tanh_grad, true);
  SEQUIN_BENCH(silu_grad, true);
  SEQUIN_BENCH(softplus_grad, true);
  SEQUIN_BENCH(gelu_erf_grad, true);
  SEQUIN_BENCH(gelu_tanh_grad, true);
}

}  // namespace

int main(int argc, char** argv) {
  add_all<float>();
  add_all<double>();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
