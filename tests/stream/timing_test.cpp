// What receptive field, lookahead and latency promise, held against what moves.
#include "sequin/core/stream_timing.hpp"

#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"
#include "sequin/blocks/mamba_mixer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/time_moe.hpp"
#include "sequin/ops/depthwise_conv1d.hpp"
#include "sequin/stream/block_stream.hpp"
#include "stream/hop_net.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <utility>
#include <vector>

using namespace sequin;
using sequin_test::HopNet;
using sequin_test::wavy;

namespace {

constexpr index_t kSteps = 40, kAt = 12;

template <class Block>
Block drawn(Block block) {
  Generator generator(4);
  block.initialize(generator);
  prepare(block);
  return block;
}

/// First and last of the T outputs of a and b, (1, T, ...) each, that differ.
template <class T>
std::pair<index_t, index_t> range_of_change(const Tensor<T, 3>& a, const Tensor<T, 3>& b) {
  index_t first = a.extent(1), last = -1;
  for (index_t t = 0; t < a.extent(1); ++t)
    for (index_t c = 0; c < a.extent(2); ++c)
      if (a(0, t, c) != b(0, t, c)) {
        first = (std::min)(first, t);
        last = t;
      }
  return {first, last};
}

/// Changes input step kAt and looks which outputs move: all that `timing` says, and no others.
void check_moves(const StreamTiming& timing, const Tensor<double, 3>& before,
                 const Tensor<double, 3>& after) {
  const auto [first, last] = range_of_change(before, after);
  const index_t expected = kAt + timing.latency - timing.lookahead;
  CHECK(first == expected);
  CHECK(last ==
        (timing.receptive_field ? expected + *timing.receptive_field - 1 : before.extent(1) - 1));
}

template <class Forward>
void check_timing(const StreamTiming& timing, index_t width, Forward forward) {
  auto x = wavy<double, 3>({1, kSteps, width}, 0.3);
  const Tensor<double, 3> before = forward(x);
  for (index_t c = 0; c < width; ++c) x(0, kAt, c) += 0.5;
  check_moves(timing, before, forward(x));
}

}  // namespace

TEST_CASE("timing: of the convolutions is that of their taps") {
  for (const index_t taps : {1, 2, 5}) {
    const auto weight = wavy<double, 3>({3, 1, taps}, 0.5);
    check_timing({taps, 0, 0}, 3, [&](const auto& x) { return causal_conv1d(x, weight).y; });
  }
  const auto weight = wavy<double, 4>({3, 1, 5, 1}, 0.5);
  check_timing({5, 2, 0}, 3, [&](const auto& x) {
    return depthwise_conv1d(x, weight, {2, 1, false});
  });
}

TEST_CASE("timing: of the causal FSMN is its order, of two in a row their sum") {
  for (const index_t lorder : {1, 4, 20}) {
    const auto one = drawn(CausalFsmn<double>({3, 8, lorder}));
    const auto two = drawn(CausalFsmn<double>({3, 8, 3}));
    CHECK(one.timing() == StreamTiming{lorder, 0, 0});
    check_timing(one.timing(), 3, [&](const auto& x) { return one.forward(x); });
    check_timing(one.timing().then(two.timing()), 3,
                 [&](const auto& x) { return two.forward(one.forward(x)); });
  }
}

TEST_CASE("timing: of recurrences, scans and attention to a cache is without bound") {
  const auto gru = drawn(Gru<double>({.input_size = 3, .hidden_size = 6}));
  check_timing(gru.timing(), 3, [&](const auto& x) { return gru.forward(x); });
  const auto lstm = drawn(Lstm<double>({.input_size = 3, .hidden_size = 6}));
  check_timing(lstm.timing(), 3, [&](const auto& x) { return lstm.forward(x); });
  MambaMixerConfig sizes;
  sizes.d_model = 6;
  const auto mixer = drawn(MambaMixer<double>(sizes));
  check_timing(mixer.timing(), 6, [&](const auto& x) { return mixer.forward(x); });
  CausalSelfAttentionConfig heads;
  heads.hidden_size = 8;
  const auto attention = drawn(CausalSelfAttention<double>(heads));
  check_timing(attention.timing(), 8, [&](const Tensor<double, 3>& x) {
    Tensor<std::int64_t, 2> positions({1, x.extent(1)});
    for (index_t t = 0; t < x.extent(1); ++t) positions(0, t) = t;
    return attention.forward(x, rotary_table<double>(positions, index_t{8}, 1e4));
  });
  const auto fsmn = drawn(CausalFsmn<double>({3, 8, 4}));
  CHECK(fsmn.timing().then(gru.timing()) == StreamTiming::unbounded());
  check_timing(fsmn.timing().then(gru.timing()), 3,
               [&](const auto& x) { return gru.forward(fsmn.forward(x)); });
}

TEST_CASE("timing: of the streaming models is without bound") {
  MambaConfig config;
  config.d_model = 8;
  config.n_layer = 2;
  config.vocab_size = 16;
  const auto mamba = drawn(Mamba<double>(config));
  Tensor<std::int64_t, 2> ids({1, kSteps}, 3);
  const auto before = mamba.forward(ids);
  ids(0, kAt) = 9;
  check_moves(mamba.timing(), before, mamba.forward(ids));

  TimeMoeConfig sizes;
  sizes.hidden_size = 8;
  sizes.intermediate_size = 12;
  sizes.num_hidden_layers = 2;
  sizes.num_attention_heads = sizes.num_key_value_heads = 2;
  sizes.use_dense = true;
  const auto time_moe = drawn(TimeMoe<double>(sizes));
  check_timing(time_moe.timing(), 1, [&](const auto& x) { return time_moe.hidden_states(x); });
}

TEST_CASE("block stream: any cutting into blocks gives one pass, late by the latency") {
  for (const index_t hop : {1, 2, 5}) {
    const HopNet<float> model(hop);
    const index_t hops = 60 / hop;
    const auto x = wavy<float, 3>({1, hops, hop}, 0.4);
    const auto whole = model.forward(x);
    for (const std::size_t block : {1u, 2u, 3u, 7u, 32u, 64u}) {
      BlockStream stream(model);
      const auto late = static_cast<std::size_t>(stream.timing().latency);
      REQUIRE(late == static_cast<std::size_t>(hop) - 1);
      std::vector<float> y(x.span().begin(), x.span().end());  // in place
      for (int round = 0; round < 2; ++round) {
        std::copy(x.span().begin(), x.span().end(), y.begin());
        for (std::size_t at = 0; at < y.size(); at += block) {
          const auto part = std::span(y).subspan(at, (std::min)(block, y.size() - at));
          REQUIRE(stream.process(part, part));
        }
        for (std::size_t t = 0; t < y.size(); ++t)
          REQUIRE(y[t] == (t < late ? 0 : whole.span()[t - late]));
        stream.reset();
      }
    }
  }
}

TEST_CASE("block stream: which samples move is what its timing says") {
  const index_t hop = 5, samples = 100;
  const HopNet<float> model(hop);
  const StreamTiming timing = BlockStream(model).timing();
  CHECK(timing == StreamTiming{3 * hop + hop - 1, hop - 1, hop - 1});
  const auto output = [&](index_t changed) {
    BlockStream stream(model);
    auto x = wavy<float, 3>({1, samples, 1}, 0.4);
    if (changed >= 0) x(0, changed, 0) += 0.5f;
    Tensor<float, 3> y({1, samples, 1});
    stream.process(std::as_const(x).span(), y.span());
    return y;
  };
  // The place in the hop decides how much of the promise is used: over all places all of it.
  index_t soonest = samples, latest = 0;
  for (index_t at = 40; at < 40 + hop; ++at) {
    const auto [first, last] = range_of_change(output(-1), output(at));
    soonest = (std::min)(soonest, first - at);
    latest = (std::max)(latest, last - at);
  }
  CHECK(soonest == timing.latency - timing.lookahead);
  CHECK(latest == timing.latency - timing.lookahead + *timing.receptive_field - 1);
}

TEST_CASE("block stream: what a model does not accept leaves its state alone") {
  const HopNet<float> model(2);
  BlockStream stream(model);
  const std::vector<float> good = {0.1f, 0.2f}, bad = {0.3f, NAN};
  std::vector<float> y(2);
  REQUIRE(stream.process(good, y));
  const auto before = stream.state();
  REQUIRE_FALSE(stream.process(bad, y));
  CHECK(sequin_test::identical(before.model.memory, stream.state().model.memory));
  REQUIRE_FALSE(stream.process(good, std::span(y).first(1)));
  REQUIRE(stream.process(good, y));
  CHECK(y[0] == 0);  // of the hop that was refused
}

TEST_CASE("block stream: channels lie sample by sample, however the signal is cut") {
  const auto model = drawn(Gru<float>({.input_size = 1, .hidden_size = 3}));
  const auto x = wavy<float, 3>({1, 20, 1}, 0.4);
  auto state = model.initial_state(1);
  const auto whole = model.forward(x, &state);
  for (const std::size_t block : {1u, 3u, 20u}) {
    BlockStream stream(model);
    REQUIRE(stream.channels() == 3);
    std::vector<float> y(60);
    for (std::size_t at = 0; at < 20; at += block) {
      const std::size_t n = (std::min)(block, 20 - at);
      REQUIRE(stream.process(x.span().subspan(at, n), std::span(y).subspan(3 * at, 3 * n)));
    }
    REQUIRE(std::equal(y.begin(), y.end(), whole.span().begin()));
    REQUIRE_FALSE(stream.process(x.span(), std::span(y).first(20)));
  }
}

TEST_CASE("block stream: a model that gives less than it takes, or a part more, is refused") {
  const auto model = drawn(Gru<float>({.input_size = 2, .hidden_size = 3}));
  CHECK_THROWS_WITH(BlockStream(model),
                    "BlockStream: a step of the model takes 2 samples and gives 3, expected as "
                    "many or a multiple");
  const auto narrow = drawn(Gru<float>({.input_size = 2, .hidden_size = 1}));
  CHECK_THROWS_WITH(BlockStream(narrow),
                    "BlockStream: a step of the model takes 2 samples and gives 1, expected as "
                    "many or a multiple");
}
