// Mamba over the length of its input: by which power of the length the time of a prompt grows, and
// the time of a token after prompts of several lengths.
#include "sequin/models/mamba.hpp"
#include "sequin/stream/session.hpp"
#include "support/exponent.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace sequin;
using sequin_bench::Exponent;
using sequin_bench::processor_seconds;

Mamba<float> model() {
  MambaConfig config;
  config.d_model = 32;
  config.n_layer = 1;
  config.vocab_size = 64;
  Mamba<float> made(config);
  Generator generator(1);
  made.initialize(generator);
  prepare(made);
  return made;
}

/// Reads `length` tokens in pieces of 4096, the state carried: the memory does not grow.
void read(const Mamba<float>& m, index_t length, MambaState<float>& state) {
  for (index_t at = 0; at < length; at += 4096) {
    const index_t count = (std::min)(index_t{4096}, length - at);
    Tensor<std::int64_t, 2> ids({1, count});
    for (index_t t = 0; t < count; ++t) ids(0, t) = (at + t) * 7 % 64;
    benchmark::DoNotOptimize(m.prefill(ids, state).data());
  }
}

void BM_MambaPrompt(benchmark::State& bench) {
  const Mamba<float> m = model();
  for (auto _ : bench) {
    Exponent exponent;
    for (index_t length = 15625; length <= 1000000; length *= 4) {
      double least = INFINITY;
      for (int turn = 0; turn < 3; ++turn) {
        MambaState<float> state = m.initial_state(1);
        const double began = processor_seconds();
        read(m, length, state);
        least = (std::min)(least, processor_seconds() - began);
      }
      exponent.add(static_cast<double>(length), least);
      bench.counters["s_at_" + std::to_string(length)] = least;
    }
    bench.counters["exponent"] = exponent.value();
  }
}
BENCHMARK(BM_MambaPrompt)->Iterations(1)->Unit(benchmark::kSecond);

void BM_MambaToken(benchmark::State& bench) {
  const Mamba<float> m = model();
  MambaState<float> state = m.initial_state(1);
  read(m, bench.range(0), state);
  Session session(m);
  session.set_state(state);
  const std::int64_t token = 7;
  for (auto _ : bench) benchmark::DoNotOptimize(session.step({&token, 1}).data());
}
BENCHMARK(BM_MambaToken)->Arg(1024)->Arg(4096)->Arg(16384)->Arg(65536);

}  // namespace

BENCHMARK_MAIN();
