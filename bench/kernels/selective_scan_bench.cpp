// The selective scan beside a plain scalar loop and beside the bare cost of its exponentials.
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/selective_scan.hpp"
#include "sequin/kernels/selective_scan_backward.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <ctime>

namespace {

using sequin::index_t;
using sequin::Tensor;

constexpr index_t kChannels = 1536;
constexpr index_t kStates = 16;

template <class T>
struct Problem {
  index_t length;
  Tensor<T, 3> u, delta, z, y, state;
  Tensor<T, 4> b, c;
  Tensor<T, 2> a;
  Tensor<T, 1> d, bias;

  explicit Problem(index_t steps)
      : length(steps),
        u({1, steps, kChannels}),
        delta({1, steps, kChannels}),
        z({1, steps, kChannels}),
        y({1, steps, kChannels}),
        state({1, kChannels, kStates}),
        b({1, steps, 1, kStates}),
        c({1, steps, 1, kStates}),
        a({kChannels, kStates}),
        d({kChannels}),
        bias({kChannels}) {
    sequin::Generator random(1);
    const auto fill = [&](auto& t, T low, T high) {
      for (T& v : t.span()) v = low + (high - low) * random.uniform<T>();
    };
    fill(u, -1, 1);
    fill(delta, -5, 0);
    fill(z, -2, 2);
    fill(b, -1, 1);
    fill(c, -1, 1);
    fill(d, -1, 1);
    fill(bias, -1, 1);
    for (index_t e = 0; e < kChannels; ++e)
      for (index_t n = 0; n < kStates; ++n) a(e, n) = -static_cast<T>(n + 1);
  }

  sequin::kernels::SelectiveScanInputs<T> inputs() const {
    sequin::kernels::SelectiveScanInputs<T> in;
    in.u = u.view();
    in.delta = delta.view();
    in.A = a.view();
    in.B = b.view();
    in.C = c.view();
    in.z = z.view();
    in.D = d.data();
    in.delta_bias = bias.data();
    in.delta_softplus = true;
    return in;
  }

  double exps() const { return static_cast<double>(length * kChannels * kStates); }
};

// Processor time, so that other programs disturb the ratios less.
double seconds_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <class T>
void run_forward(Problem<T>& p) {
  const auto in = p.inputs();
  sequin::kernels::selective_scan_forward<T>(in, p.state.view(), p.y.view(), nullptr, 0,
                                             sequin::kernels::selective_scan_forward_items(in));
}

// What one would write first: time outside, channels and states inside, std::exp.
template <class T>
void run_plain(Problem<T>& p) {
  T* const state = p.state.data();
  T* const y = p.y.data();
  const auto& q = std::as_const(p);
  for (index_t t = 0; t < p.length; ++t) {
    for (index_t e = 0; e < kChannels; ++e) {
      const index_t i = t * kChannels + e;
      const T dt = std::log1p(std::exp(q.delta.data()[i] + q.bias.data()[e]));
      const T u = q.u.data()[i];
      T sum = 0;
      for (index_t n = 0; n < kStates; ++n) {
        T& h = state[e * kStates + n];
        h = std::exp(dt * q.a.data()[e * kStates + n]) * h + dt * q.b.data()[t * kStates + n] * u;
        sum += h * q.c.data()[t * kStates + n];
      }
      const T z = q.z.data()[i];
      y[i] = (sum + q.d.data()[e] * u) * (z / (1 + std::exp(-z)));
    }
  }
}

// As many exponentials as the scan takes, over 16 KB that stay in the first cache.
template <class T>
void run_exps(const Problem<T>& p, Tensor<T, 1>& buffer) {
  const auto passes = static_cast<index_t>(p.exps()) / buffer.size();
  T* const data = buffer.data();
  for (index_t i = 0; i < passes; ++i) {
    sequin::simd::transform(
        buffer.size() / 2, data + buffer.size() / 2,
        [](const auto& v) { return sequin::simd::exp_nonpositive(v); },
        static_cast<const T*>(data));
    sequin::simd::transform(
        buffer.size() / 2, data + buffer.size() / 2,
        [](const auto& v) { return sequin::simd::exp_nonpositive(v); },
        static_cast<const T*>(data));
    benchmark::ClobberMemory();
  }
}

template <class T>
Tensor<T, 1> exp_buffer() {
  Tensor<T, 1> buffer({2048});
  for (index_t i = 0; i < buffer.size(); ++i) buffer(i) = static_cast<T>(-1e-3) * static_cast<T>(i);
  return buffer;
}

// The counters compare within one run: plain_ratio is how many times faster than the plain loop,
// exp_limit the share of the speed at which this machine only takes the exponentials.
template <class T>
void forward(benchmark::State& state) {
  Problem<T> p(state.range(0));
  auto buffer = exp_buffer<T>();
  double ours = 0;
  double plain = 0;
  double exps = 0;
  run_forward(p);
  for (auto _ : state) {
    const double t0 = seconds_now();
    run_forward(p);
    const double t1 = seconds_now();
    run_exps(p, buffer);
    const double t2 = seconds_now();
    run_plain(p);
    const double t3 = seconds_now();
    benchmark::DoNotOptimize(p.y.data());
    state.SetIterationTime(t1 - t0);
    ours += t1 - t0;
    exps += t2 - t1;
    plain += t3 - t2;
  }
  state.counters["plain_ratio"] = plain / ours;
  state.counters["exp_limit"] = exps / ours;
  state.counters["ns_per_exp"] = ours / static_cast<double>(state.iterations()) / p.exps() * 1e9;
}
BENCHMARK_TEMPLATE(forward, float)->Arg(1)->Arg(64)->Arg(2048)->UseManualTime();
BENCHMARK_TEMPLATE(forward, double)->Arg(1)->Arg(512)->UseManualTime();

template <class T>
void backward(benchmark::State& state) {
  Problem<T> p(state.range(0));
  const auto in = p.inputs();
  const index_t steps = p.length;
  const index_t parts = sequin::kernels::selective_scan_parts<T>(kChannels, 1);
  Tensor<T, 3> dy({1, steps, kChannels}, T(0.5));
  Tensor<T, 4> checkpoints({1, sequin::kernels::selective_scan_chunks(steps), kChannels, kStates});
  Tensor<T, 3> du(dy.shape()), ddelta(dy.shape()), dz(dy.shape()), da(p.state.shape());
  Tensor<T, 3> dstate(p.state.shape());
  Tensor<T, 3> db({parts, steps, kStates}), dc({parts, steps, kStates});
  Tensor<T, 2> dd({1, kChannels}), dbias({1, kChannels});
  sequin::kernels::selective_scan_forward<T>(in, p.state.view(), p.y.view(), checkpoints.data(), 0,
                                             sequin::kernels::selective_scan_forward_items(in));
  sequin::kernels::SelectiveScanGradients<T> g;
  g.dy = std::as_const(dy).view();
  g.checkpoints = std::as_const(checkpoints).data();
  g.dstate = dstate.data();
  g.du = du.view();
  g.ddelta = ddelta.view();
  g.dz = dz.view();
  g.dA = da.data();
  g.dB = db.data();
  g.dC = dc.data();
  g.dD = dd.data();
  g.ddelta_bias = dbias.data();
  double ours = 0;
  double once = 0;
  for (auto _ : state) {
    const double t0 = seconds_now();
    run_forward(p);
    const double t1 = seconds_now();
    sequin::kernels::selective_scan_backward<T>(in, g, 0,
                                                sequin::kernels::selective_scan_backward_items(in));
    const double t2 = seconds_now();
    state.SetIterationTime(t2 - t1);
    ours += t2 - t1;
    once += t1 - t0;
  }
  state.counters["forwards"] = ours / once;
}
BENCHMARK_TEMPLATE(backward, float)->Arg(2048)->UseManualTime();
BENCHMARK_TEMPLATE(backward, double)->Arg(512)->UseManualTime();

}  // namespace

BENCHMARK_MAIN();
