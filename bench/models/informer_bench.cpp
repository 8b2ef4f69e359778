// Informer's encoder over the length of its input: by which power of the length its time grows with
// ProbSparse and with full attention, and how much memory it takes.
#include "sequin/blocks/distil_encoder.hpp"
#include "sequin/blocks/prob_sparse.hpp"
#include "sequin/core/arena.hpp"
#include "support/exponent.hpp"
#include "support/noise.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>

namespace {

using namespace sequin;
using sequin_bench::Exponent;
using sequin_bench::noise;
using sequin_bench::processor_seconds;

constexpr index_t kShortest = 512;
constexpr index_t kLongest = 16384;

DistilEncoder<float> encoder(AttentionKind kind) {
  EncoderLayerConfig config;
  config.attention.d_model = 64;
  config.attention.n_heads = 4;
  config.attention.kind = kind;
  config.attention.factor = 5;
  config.d_ff = 128;
  DistilEncoder<float> made(config, 2, 1, &prob_sparse<float>);
  Generator generator(1);
  made.initialize(generator);
  prepare(made);
  return made;
}

/// The encoder in an arena that has its size.
struct Run {
  DistilEncoder<float> model;
  Tensor<float, 3> x;
  Arena arena;

  Run(AttentionKind kind, index_t length) : model(encoder(kind)), x(noise<3>({1, length, 64})) {
    (*this)();
  }

  void operator()() {
    {
      const ArenaScope scope(&arena);
      model.forward(x);
    }
    arena.fit();
  }
};

void forward(benchmark::State& state, AttentionKind kind) {
  Run run(kind, state.range(0));
  for (auto _ : state) run();
  state.counters["MB"] = static_cast<double>(run.arena.capacity()) / 1e6;
}

/// Five doublings.
void exponent(benchmark::State& state, AttentionKind kind) {
  double slope = 0;
  for (auto _ : state) {
    Exponent lengths;
    for (index_t length = kShortest; length <= kLongest; length *= 2) {
      Run run(kind, length);
      double best = 1e9;
      double spent = 0;
      for (int i = 0; i < 20 && (i < 2 || spent < 0.5); ++i) {
        const double start = processor_seconds();
        int count = 0;
        do {
          run();
          ++count;
        } while (processor_seconds() - start < 0.02);
        const double all = processor_seconds() - start;
        spent += all;
        best = (std::min)(best, all / count);
      }
      lengths.add(static_cast<double>(length), best);
    }
    slope = lengths.value();
  }
  state.counters["exponent"] = slope;
}

BENCHMARK_CAPTURE(forward, prob_sparse, AttentionKind::prob_sparse)
    ->RangeMultiplier(2)
    ->Range(kShortest, kLongest)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(forward, full, AttentionKind::full)
    ->RangeMultiplier(2)
    ->Range(kShortest, kLongest)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(exponent, prob_sparse, AttentionKind::prob_sparse)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(exponent, full, AttentionKind::full)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
