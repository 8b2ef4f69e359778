// Time-MoE at the sizes of the published 50M model, weights drawn: the mixture beside a dense model
// that activates as many parameters, generation with the cache beside computing the prefix again.
// Pairs are timed turn by turn in one run; one thread.
#include "common/measure.hpp"

#include "sequin/models/time_moe_generate.hpp"
#include "sequin/stream/session.hpp"
#include "support/noise.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

namespace {

using namespace sequin;
using sequin_bench::noise;

TimeMoeConfig size_50m(bool dense) {
  TimeMoeConfig c;
  c.hidden_size = 384;
  c.num_hidden_layers = 12;
  c.num_attention_heads = 12;
  c.num_key_value_heads = 12;
  c.intermediate_size = dense ? 2 * 1536 : 1536;  // shared expert and two halves
  c.horizon_lengths = {1, 8, 32, 64};
  c.num_experts = dense ? 1 : 8;
  c.max_position_embeddings = 4096;
  c.use_dense = dense;
  c.apply_aux_loss = !dense;
  return c;
}

template <class Block>
Block drawn(Block block) {
  Generator generator(1);
  block.initialize(generator);
  prepare_for_inference(block);
  return block;
}

/// Times f and g in turn; the medians.
template <class F, class G>
std::pair<double, double> in_turn(F&& f, G&& g, int repeat) {
  std::vector<double> a, b;
  for (int i = 0; i <= repeat; ++i) {
    a.push_back(sequin_examples::measure(f, 1, 0).median);
    b.push_back(sequin_examples::measure(g, 1, 0).median);
  }
  const auto median = [](std::vector<double>& v) {
    std::sort(v.begin() + 1, v.end());  // the first was for warming up
    return v[1 + (v.size() - 1) / 2];
  };
  return {median(a), median(b)};
}

void feed_forward() {
  SparseMoeConfig c = size_50m(false).mixture();
  const auto mixture = drawn(SparseMoe<float>(c));
  const auto dense = drawn(SwiGLU<float>(c.hidden_size, 2 * c.intermediate_size));
  std::printf("%-34s %12s %12s %8s\n", "feed-forward block, tokens", "8 experts", "dense", "ratio");
  for (const index_t tokens : {1, 2, 4, 8, 32, 128, 512, 2048}) {
    const auto x = noise<2>({tokens, c.hidden_size});
    Arena one, two;
    const auto run = [&](Arena& arena, const auto& block) {
      {
        const ArenaScope scope(&arena);
        block.forward(x);
      }
      arena.fit();
    };
    const auto [a, b] = in_turn([&] { run(one, mixture); }, [&] { run(two, dense); },
                                static_cast<int>(2000 / (tokens + 20)) + 5);
    std::printf("%-34td %9.3f ms %9.3f ms %8.2f\n", tokens, a, b, a / b);
  }
}

void whole_model() {
  const auto mixture = drawn(TimeMoe<float>(size_50m(false)));
  const auto dense = drawn(TimeMoe<float>(size_50m(true)));
  std::printf("\n%-34s %12s %12s %8s\n", "50M sizes", "8 experts", "dense", "ratio");
  for (const index_t length : {64, 512}) {
    const Tensor<float, 3> x = noise<3>({1, length, 1});
    const NoGrad no_grad;
    const auto [a, b] = in_turn([&] { mixture.forward(x, 64); }, [&] { dense.forward(x, 64); }, 5);
    std::printf("forward, %4td points %13s %9.1f ms %9.1f ms %8.2f   %.0f points/s\n", length, "",
                a, b, a / b, 1e3 * static_cast<double>(length) / a);
  }
  Session one(mixture), two(dense);
  const float value = 0.3f;
  const auto [a, b] = in_turn([&] { one.step({&value, 1}); }, [&] { two.step({&value, 1}); }, 60);
  std::printf("%-34s %9.2f ms %9.2f ms %8.2f   %.0f points/s\n", "a step of a session", a, b, a / b,
              1e3 / a);

  std::printf("\n%-34s %12s %12s %8s\n", "generate, 8 experts", "cached", "prefix again", "ratio");
  for (const auto& lengths : {std::pair<index_t, index_t>{128, 7}, {512, 96}}) {
    // Names of their own: clang 14 captures no structured binding.
    const index_t context = lengths.first;
    const index_t steps = lengths.second;
    const auto series = noise<2>({1, context});
    const auto [c, u] = in_turn([&] { generate(mixture, series, steps); },
                                [&] { generate(mixture, series, steps, {}, false); }, 3);
    std::printf("%4td points, %3td more %13s %9.1f ms %9.1f ms %8.2f\n", context, steps, "", c, u,
                c / u);
  }
}

}  // namespace

int main() {
  feed_forward();
  whole_model();
}
