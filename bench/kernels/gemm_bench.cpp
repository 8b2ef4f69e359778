// The packed matrix product beside Eigen's and beside the machine's peak of fused multiply-adds.
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/kernels/gemm.hpp"

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <ctime>
#include <string>

namespace {

using sequin::index_t;
using sequin::Tensor;
namespace kernels = sequin::kernels;
namespace simd = sequin::simd;

// Processor time, so that other programs disturb the ratios less.
double seconds_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Operations per second of independent chains in registers.
template <class T>
double peak() {
  static const double rate = [] {
    using V = simd::Vec<T>;
    constexpr int chains = 12;
    constexpr index_t repeats = 3000000;
    double best = 0;
    for (int trial = 0; trial < 5; ++trial) {
      V acc[chains];
      for (int i = 0; i < chains; ++i) acc[i] = V(T(i));
      V a(T(0.999)), b(T(0.001));
      benchmark::DoNotOptimize(a);
      benchmark::DoNotOptimize(b);
      const double begin = seconds_now();
      for (index_t r = 0; r < repeats; ++r) {
        SEQUIN_UNROLL
        for (int i = 0; i < chains; ++i) acc[i] = simd::fma<T>(acc[i], a, b);
      }
      const double seconds = seconds_now() - begin;
      for (int i = 0; i < chains; ++i) benchmark::DoNotOptimize(acc[i]);
      best =
          (std::max)(best, 2.0 * chains * repeats * static_cast<double>(simd::kLanes<T>) / seconds);
    }
    return best;
  }();
  return rate;
}

/// C (rows x size) = A (rows x size) B (size x size), B packed beforehand, as a layer's weight is.
template <class T>
void product(benchmark::State& state) {
  const index_t m = state.range(0);
  const index_t size = state.range(1);
  Tensor<T, 2> a({m, size}), b({size, size}), c({m, size});
  Tensor<T, 1> panels({kernels::packed_size<T>(size, size)});
  sequin::Generator random(1);
  for (T& v : a.span()) v = random.uniform<T>() - T(0.5);
  for (T& v : b.span()) v = random.uniform<T>() - T(0.5);
  kernels::pack_b(std::as_const(b).data(), size, index_t{1}, size, size, panels.data());
  kernels::GemmProblem<T> p;
  p.a = a.data();
  p.a_row = size;
  p.b = panels.data();
  p.c = c.data();
  p.c_row = size;
  p.n = p.k = size;
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> ea(a.data(), m, size), eb(b.data(), size, size);
  Eigen::Map<Matrix> ec(c.data(), m, size);
  const double flops = 2.0 * static_cast<double>(m * size * size);
  const auto repeats = static_cast<index_t>(1 + 2e7 / flops);
  double ours = 0;
  double eigen = 0;
  double count = 0;
  for (auto _ : state) {
    const double begin = seconds_now();
    for (index_t i = 0; i < repeats; ++i) kernels::gemm(p, index_t{0}, m, index_t{0}, size);
    benchmark::DoNotOptimize(c.data());
    const double middle = seconds_now();
    for (index_t i = 0; i < repeats; ++i) ec.noalias() = ea * eb;
    benchmark::DoNotOptimize(c.data());
    ours += middle - begin;
    eigen += seconds_now() - middle;
    state.SetIterationTime(middle - begin);
    count += static_cast<double>(repeats);
  }
  state.counters["GFLOP/s"] = flops * count / ours * 1e-9;
  state.counters["of_peak"] = flops * count / ours / peak<T>();
  state.counters["Eigen_GFLOP/s"] = flops * count / eigen * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::int64_t size : {96, 256, 768, 2048})
    for (const std::int64_t rows : {1, 8, 64, 224, 512, 1000}) {
      const std::string what = std::to_string(rows) + "x" + std::to_string(size);
      benchmark::RegisterBenchmark(("gemm_float/" + what).c_str(), product<float>)
          ->Args({rows, size})
          ->UseManualTime()
          ->MinTime(0.05)
          ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(("gemm_double/" + what).c_str(), product<double>)
          ->Args({rows, size})
          ->UseManualTime()
          ->MinTime(0.05)
          ->Unit(benchmark::kMicrosecond);
    }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
