// What a decoder with experts does besides products: rotary positions, routing, dispatch, and one
// query over a cache whose heads are shared or not.
#include "sequin/blocks/key_value_cache.hpp"
#include "sequin/ops/attention.hpp"
#include "sequin/ops/expert_dispatch.hpp"
#include "sequin/ops/rotary.hpp"
#include "sequin/ops/top_k.hpp"
#include "support/noise.hpp"

#include <benchmark/benchmark.h>

namespace {

using namespace sequin;
using sequin_bench::noise;

Tensor<std::int64_t, 2> counted(index_t length) {
  Tensor<std::int64_t, 2> positions({1, length});
  for (index_t t = 0; t < length; ++t) positions(0, t) = t;
  return positions;
}

// 512 positions, 12 heads of 32; argument: the layout.
void rotary(benchmark::State& state) {
  const auto x = noise<4>({1, 512, 12, 32});
  const auto table = rotary_table<float>(counted(512), 32, 1e4);
  const auto layout = static_cast<RotaryLayout>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(rotate(x, table, layout));
  state.SetBytesProcessed(state.iterations() * x.size() * 2 * index_t{sizeof(float)});
}
BENCHMARK(rotary)->ArgName("interleaved")->Arg(0)->Arg(1);

void rotary_angles(benchmark::State& state) {
  const auto positions = counted(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(rotary_table<float>(positions, 32, 1e4));
  state.SetItemsProcessed(state.iterations() * state.range(0) * 16);
}
BENCHMARK(rotary_angles)->Arg(1)->Arg(4096);

// Tokens of width 384 to 2 of 8 experts and back, the experts doing nothing.
void dispatch(benchmark::State& state) {
  const index_t tokens = state.range(0);
  const auto x = noise<2>({tokens, 384});
  const auto top = top_k(noise<2>({tokens, 8}), 2);
  Arena arena;
  for (auto _ : state) {
    {
      const ArenaScope scope(&arena);
      const ExpertPlan plan(top.indices, 8);
      Tensor<float, 2> y(x.shape());
      for (index_t e = 0; e < 8; ++e)
        y = add_expert(std::move(y), gather_tokens(x, plan, e), top.values, plan, e);
      benchmark::DoNotOptimize(y);
    }
    arena.fit();
  }
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(dispatch)->Arg(1)->Arg(8)->Arg(512);

void routing(benchmark::State& state) {
  const auto logits = noise<2>({512, state.range(0)});
  for (auto _ : state) benchmark::DoNotOptimize(top_k(logits, 2));
  state.SetItemsProcessed(state.iterations() * 512);
}
BENCHMARK(routing)->ArgName("experts")->Arg(8)->Arg(64);

// One query of 12 heads of 32 over a cache; arguments: keys, heads of keys.
void step_over_cache(benchmark::State& state) {
  const index_t keys = state.range(0);
  const index_t heads = state.range(1);
  KeyValueCache<float> cache(1, heads, 32, keys);
  cache.append(noise<4>({1, keys, heads, 32}), noise<4>({1, keys, heads, 32}));
  const auto q = noise<4>({1, 1, 12, 32});
  AttentionOptions options;
  options.causal = true;
  for (auto _ : state)
    benchmark::DoNotOptimize(attention(q, cache.keys(), cache.values(), options));
  state.SetItemsProcessed(state.iterations() * keys);
}
BENCHMARK(step_over_cache)->Args({512, 12})->Args({512, 4})->Args({4096, 12})->Args({4096, 4});

}  // namespace

BENCHMARK_MAIN();
