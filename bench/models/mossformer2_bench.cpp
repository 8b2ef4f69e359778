// MossFormer2's separation over the length of its input, all inner sizes official but for the
// number of layers: by which power of the length its time grows, and its memory.
#include "sequin/core/arena.hpp"
#include "sequin/models/mossformer2.hpp"
#include "support/exponent.hpp"
#include "support/noise.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace sequin;
using sequin_bench::Exponent;
using sequin_bench::noise;
using sequin_bench::processor_seconds;

MossFormer2<float> model(index_t layers) {
  MossFormer2Config config;
  config.num_layers = layers;
  MossFormer2<float> made(config);
  Generator generator(1);
  made.initialize(generator);
  prepare(made);
  return made;
}

/// 1, 2, 4, 8 and 16 seconds at 8 kHz through one layer.
void BM_MossFormer2Exponent(benchmark::State& bench) {
  const MossFormer2<float> m = model(1);
  for (auto _ : bench) {
    Exponent exponent;
    for (index_t seconds = 1; seconds <= 16; seconds *= 2) {
      const Tensor<float, 2> audio = noise<2>({1, 8000 * seconds});
      Arena arena;
      double least = INFINITY;
      for (int turn = 0; turn < 3; ++turn) {
        const double began = processor_seconds();
        {
          const ArenaScope scope(&arena);
          benchmark::DoNotOptimize(m.separate(audio).data());
        }
        arena.fit();
        least = (std::min)(least, processor_seconds() - began);
      }
      exponent.add(static_cast<double>(seconds), least);
      bench.counters["s_at_" + std::to_string(seconds) + "s"] = least;
      bench.counters["MB_at_" + std::to_string(seconds) + "s"] =
          static_cast<double>(arena.capacity()) / 1e6;
    }
    bench.counters["exponent"] = exponent.value();
  }
}
BENCHMARK(BM_MossFormer2Exponent)->Iterations(1)->Unit(benchmark::kSecond);

/// Two seconds of 8 kHz audio through all 24 layers.
void BM_MossFormer2Whole(benchmark::State& bench) {
  const MossFormer2<float> m = model(24);
  const Tensor<float, 2> audio = noise<2>({1, 16000});
  Arena arena;
  for (auto _ : bench) {
    {
      const ArenaScope scope(&arena);
      benchmark::DoNotOptimize(m.separate(audio).data());
    }
    arena.fit();
  }
  bench.counters["real_time_factor"] =
      benchmark::Counter(2.0 * static_cast<double>(bench.iterations()),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  bench.counters["MB"] = static_cast<double>(arena.capacity()) / 1e6;
}
BENCHMARK(BM_MossFormer2Whole)->Unit(benchmark::kSecond);

}  // namespace

BENCHMARK_MAIN();
