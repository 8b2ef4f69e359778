// Attention beside plain loops and beside the multiply-adds that this machine can do.
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/kernels/attention.hpp"
#include "sequin/kernels/attention_backward.hpp"
#include "sequin/kernels/attention_step.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <ctime>

namespace {

using sequin::index_t;
using sequin::Tensor;
namespace kernels = sequin::kernels;

template <class T>
struct Problem {
  index_t batch, heads, length, width;
  Tensor<T, 4> q, k, v, out, dout, dq, dk, dv;
  Tensor<T, 1> max, normaliser, scratch, plain_row;
  kernels::AttentionProblem<T> a;

  explicit Problem(const benchmark::State& state)
      : batch(state.range(0)),
        heads(state.range(1)),
        length(state.range(2)),
        width(state.range(3)),
        max({batch * heads * length}),
        normaliser({batch * heads * length}),
        plain_row({length}) {
    sequin::Generator random(1);
    for (auto* t : {&q, &k, &v, &out, &dout, &dq, &dk, &dv}) {
      *t = Tensor<T, 4>({batch, length, heads, width});
      for (T& x : t->span()) x = random.normal<T>();
    }
    a.q = std::as_const(q).view();
    a.k = std::as_const(k).view();
    a.v = std::as_const(v).view();
    a.scale = static_cast<T>(1 / std::sqrt(static_cast<double>(width)));
    a.causal = state.range(4) == 1;
    if (state.range(4) == 2) {
      a.drop_below = 6554;
      a.keep_factor = T(1) / T(0.9);
      a.dropout_key = 7;
    }
    scratch = Tensor<T, 1>::empty(
        {(std::max)(kernels::attention_scratch(a), kernels::attention_backward_scratch(a))});
  }

  // Of the two products; those above the diagonal of a causal map are not counted.
  double operations() const {
    const auto pairs =
        static_cast<double>(length) *
        (a.causal ? 0.5 * static_cast<double>(length + 1) : static_cast<double>(length));
    return 4.0 * static_cast<double>(batch * heads * width) * pairs;
  }
};

// Processor time, so that other programs disturb the ratios less.
double seconds_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <class T>
void run_forward(Problem<T>& p) {
  kernels::attention_forward<T>(p.a, 0, kernels::attention_tasks(p.a), p.out.view(), p.max.data(),
                                p.normaliser.data(), p.scratch.data());
}

template <class T>
void run_backward(Problem<T>& p) {
  kernels::attention_backward<T>(p.a, 0, p.batch * p.heads, std::as_const(p.out).view(),
                                 std::as_const(p.dout).view(), p.max.data(), p.normaliser.data(),
                                 {p.dq.view(), p.dk.view(), p.dv.view()}, p.scratch.data());
}

// What one would write first: a row of scores, std::exp, a weighted sum.
template <class T>
void run_plain(Problem<T>& p) {
  T* const s = p.plain_row.data();
  const index_t stride = p.heads * p.width;
  for (index_t b = 0; b < p.batch; ++b)
    for (index_t h = 0; h < p.heads; ++h) {
      const index_t start = b * p.length * stride + h * p.width;
      const T* const q = std::as_const(p.q).data() + start;
      const T* const k = std::as_const(p.k).data() + start;
      const T* const v = std::as_const(p.v).data() + start;
      T* const out = p.out.data() + start;
      for (index_t i = 0; i < p.length; ++i) {
        const index_t end = p.a.limit(i);
        T top = -std::numeric_limits<T>::infinity();
        for (index_t j = 0; j < end; ++j) {
          T dot = 0;
          for (index_t c = 0; c < p.width; ++c) dot += q[i * stride + c] * k[j * stride + c];
          s[j] = dot * p.a.scale;
          top = (std::max)(top, s[j]);
        }
        T sum = 0;
        for (index_t j = 0; j < end; ++j) sum += s[j] = std::exp(s[j] - top);
        for (index_t c = 0; c < p.width; ++c) out[i * stride + c] = 0;
        for (index_t j = 0; j < end; ++j)
          for (index_t c = 0; c < p.width; ++c)
            out[i * stride + c] += s[j] / sum * v[j * stride + c];
      }
    }
}

// Independent multiply-adds in registers; returns operations a second.
template <class T>
double peak() {
  using Vec = sequin::simd::Vec<T>;
  constexpr index_t count = 100000;
  Vec sum[10];
  for (index_t i = 0; i < 10; ++i) sum[i] = Vec(static_cast<T>(i));
  const Vec a(T(0.999));
  const Vec b(T(0.001));
  const double start = seconds_now();
  for (index_t n = 0; n < count; ++n)
    sequin::simd::unrolled<10>([&](auto i) { sum[i] = sequin::simd::fma<T>(sum[i], a, b); });
  const double seconds = seconds_now() - start;
  for (Vec& s : sum) benchmark::DoNotOptimize(s);
  return 2.0 * 10 * static_cast<double>(count * sequin::simd::kLanes<T>) / seconds;
}

// gflops and fma_share (of the peak measured between the calls) of the two products of the forward
// pass, the five of the backward pass; plain_ratio: how many times faster than the plain loops.
template <class T, bool kBackward>
void attention(benchmark::State& state) {
  Problem<T> p(state);
  run_forward(p);
  const index_t calls = 1 + static_cast<index_t>(2e8 / p.operations());
  double ours = 0;
  double limit = 0;
  for (auto _ : state) {
    const double t0 = seconds_now();
    for (index_t i = 0; i < calls; ++i) kBackward ? run_backward(p) : run_forward(p);
    const double seconds = (seconds_now() - t0) / static_cast<double>(calls);
    state.SetIterationTime(seconds);
    ours += seconds;
    limit += peak<T>();
  }
  const auto times = static_cast<double>(state.iterations());
  const double speed = p.operations() * (kBackward ? 2.5 : 1) * times / ours;
  state.counters["gflops"] = speed * 1e-9;
  state.counters["fma_share"] = speed / (limit / times);
  if (kBackward) return;
  const double t0 = seconds_now();
  const index_t repeats = 1 + calls / 16;
  for (index_t i = 0; i < repeats; ++i) run_plain(p);
  state.counters["plain_ratio"] =
      (seconds_now() - t0) / static_cast<double>(repeats) / (ours / times);
}

// Batch, heads, length, width; 0 plain, 1 causal, 2 dropout.
void sizes(benchmark::internal::Benchmark* b) {
  b->Args({32, 8, 7, 32, 0})
      ->Args({4, 8, 96, 32, 0})
      ->Args({1, 8, 862, 32, 0})
      ->Args({1, 8, 1024, 64, 0})
      ->Args({1, 8, 1024, 64, 1})
      ->Args({1, 8, 1024, 64, 2})
      ->Args({1, 1, 4096, 64, 0})
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK_TEMPLATE(attention, float, false)->Apply(sizes)->Name("forward<float>");
BENCHMARK_TEMPLATE(attention, float, true)->Apply(sizes)->Name("backward<float>");
BENCHMARK_TEMPLATE(attention, double, false)->Apply(sizes)->Name("forward<double>");

// One query over a cache of keys: bytes of keys and values read a second.
void step(benchmark::State& state) {
  const index_t keys = state.range(0);
  const Tensor<float, 4> q({1, 1, 8, 64}, 0.1f);
  const Tensor<float, 4> cache({1, keys, 8, 64}, 0.1f);
  Tensor<float, 4> out({1, 1, 8, 64});
  kernels::AttentionProblem<float> a;
  a.q = q.view();
  a.k = cache.view();
  a.v = cache.view();
  a.scale = 0.125f;
  for (auto _ : state) {
    kernels::attention_step<float>(a, 0, 8, out.view(), nullptr, nullptr);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * keys * 8 * 64 * 8);
}
BENCHMARK(step)->Arg(64)->Arg(512)->Arg(4096)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
