// The depthwise causal convolution with silu beside a plain scalar loop.
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/kernels/causal_conv1d_backward.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <ctime>

namespace {

using sequin::index_t;
using sequin::Tensor;

constexpr index_t kChannels = 1536;
constexpr index_t kTaps = 4;

// Processor time, so that other programs disturb the ratios less.
double seconds_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <class T>
void run_plain(const Tensor<T, 3>& x, const Tensor<T, 2>& weight, const Tensor<T, 1>& bias,
               Tensor<T, 3>& out) {
  T* const y = out.data();
  for (index_t t = 0; t < x.extent(1); ++t) {
    for (index_t e = 0; e < kChannels; ++e) {
      T sum = bias.data()[e];
      for (index_t k = 0; k < kTaps; ++k) {
        const index_t from = t + k - kTaps + 1;
        if (from >= 0) sum += weight.data()[e * kTaps + k] * x.data()[from * kChannels + e];
      }
      y[t * kChannels + e] = sum / (1 + std::exp(-sum));
    }
  }
}

template <class T>
void forward(benchmark::State& state) {
  const index_t steps = state.range(0);
  Tensor<T, 3> x({1, steps, kChannels}), y(x.shape()), past({1, kChannels, kTaps});
  Tensor<T, 2> weight({kChannels, kTaps});
  Tensor<T, 1> bias({kChannels});
  sequin::Generator random(1);
  for (T& v : x.span()) v = 2 * random.uniform<T>() - 1;
  for (T& v : weight.span()) v = 2 * random.uniform<T>() - 1;
  sequin::kernels::CausalConv1dInputs<T> in;
  in.x = std::as_const(x).view();
  in.weight = std::as_const(weight).view();
  in.bias = std::as_const(bias).data();
  in.history = {std::as_const(past).data(), {1, kTaps, kChannels}, {kTaps * kChannels, 1, kTaps}};
  in.silu = true;
  const auto run = [&] {
    sequin::kernels::causal_conv1d_forward(in, y.view(), 0,
                                           sequin::kernels::causal_conv1d_items(in));
    sequin::kernels::causal_conv1d_advance(in.x, past.view(), 0, kChannels);
  };
  run();
  double ours = 0;
  double plain = 0;
  for (auto _ : state) {
    const double t0 = seconds_now();
    run();
    const double t1 = seconds_now();
    run_plain(x, weight, bias, y);
    const double t2 = seconds_now();
    benchmark::DoNotOptimize(y.data());
    state.SetIterationTime(t1 - t0);
    ours += t1 - t0;
    plain += t2 - t1;
  }
  state.counters["plain_ratio"] = plain / ours;
  state.counters["ns_per_value"] =
      ours / static_cast<double>(state.iterations()) / static_cast<double>(steps * kChannels) * 1e9;
}
BENCHMARK_TEMPLATE(forward, float)->Arg(1)->Arg(64)->Arg(2048)->UseManualTime();
BENCHMARK_TEMPLATE(forward, double)->Arg(1)->Arg(512)->UseManualTime();

}  // namespace

BENCHMARK_MAIN();
