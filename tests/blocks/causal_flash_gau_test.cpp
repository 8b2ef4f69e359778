// The causal blocks of CausalMossFormer2: feed-forward convolution, gated attention, gated memory.
#include "sequin/blocks/causal_flash_gau.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/blocks/causal_gated_fsmn.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

CausalFlashGauConfig small_gau(index_t group, index_t taps) {
  CausalFlashGauConfig c;
  c.dim = 5;
  c.group_size = group;
  c.query_key_dim = 6;
  c.rotary_dim = 4;
  c.taps = taps;
  c.memory_decay = 0.8;
  return c;
}

template <class Block>
Block drawn(Block block) {
  using T = typename Block::value_type;
  Generator generator(3);
  block.initialize(generator);
  // Heads as after some training: the drawn ones would hardly attend.
  for (auto& p : parameters(block).items)
    for (T& v : p.values.span()) v += static_cast<T>(0.2) * generator.normal<T>();
  prepare(block);
  return block;
}

template <class Block>
void check_chunking(const Block& block, index_t channels, index_t out) {
  const auto x = wavy<float, 3>({2, 29, channels}, 0.1);
  const auto whole = block.forward(x);
  for (const index_t chunk : {1, 4, 7, 29}) {
    auto state = block.initial_state(2);
    for (int round = 0; round < 2; ++round) {
      Tensor<float, 3> y({2, 0, out});
      for (index_t t = 0; t < 29; t += chunk)
        y = concat(y, block.forward(slice(x, 1, t, (std::min)(t + chunk, index_t{29})), &state), 1);
      REQUIRE(identical(y, whole));
      state.reset();
    }
  }
}

template <class Block>
void check_causal(const Block& block, index_t channels) {
  auto x = wavy<float, 3>({1, 20, channels}, 0.1);
  const auto before = block.forward(x);
  for (index_t c = 0; c < channels; ++c) x(0, 11, c) += 1;
  const auto after = block.forward(x);
  for (index_t t = 0; t < 11; ++t)
    for (index_t c = 0; c < before.extent(2); ++c) REQUIRE(before(0, t, c) == after(0, t, c));
  REQUIRE_FALSE(identical(slice(before, 1, 11, 12), slice(after, 1, 11, 12)));
}

}  // namespace

TEST_CASE("causal blocks: any chunking equals the batch result bit for bit", "[causal_flash_gau]") {
  for (const index_t taps : {1, 4, 17}) {
    for (const index_t group : {1, 6, 40})
      check_chunking(drawn(CausalFlashGau<float>(small_gau(group, taps))), 5, 5);
    for (const auto norm : {FFConvNorm::scale_norm, FFConvNorm::layer_norm})
      check_chunking(drawn(CausalFFConv<float>(5, 9, norm, taps)), 5, 9);
    check_chunking(drawn(CausalGatedFsmn<float>({5, 9, 3, taps})), 5, 5);
  }
}

TEST_CASE("causal blocks: no output depends on a later input", "[causal_flash_gau]") {
  check_causal(drawn(CausalFlashGau<float>(small_gau(6, 4))), 5);
  check_causal(drawn(CausalGatedFsmn<float>({5, 9, 3, 4})), 5);
}

TEST_CASE("causal blocks: gradients of inputs equal finite differences", "[causal_flash_gau]") {
  const auto x = wavy<double, 3>({2, 9, 5}, 0.1);
  const auto gau = drawn(CausalFlashGau<double>(small_gau(4, 3)));
  auto r = grad_check([&](const auto& v) { return gau.forward(v); }, x);
  INFO(r.where);
  CHECK(r.ok());
  const auto fsmn = drawn(CausalGatedFsmn<double>({5, 4, 3, 3}));
  r = grad_check([&](const auto& v) { return fsmn.forward(v); }, x);
  INFO(r.where);
  CHECK(r.ok());
}

TEST_CASE("causal_flash_gau: the local part knows positions by their differences alone",
          "[causal_flash_gau]") {
  // A sequence that begins anew with each group gives the same in each, were it not for what the
  // first group leaves in convolutions, token shift and memory.
  auto block = drawn(CausalFlashGau<double>(small_gau(3, 1)));
  const auto first = wavy<double, 3>({1, 3, 5}, 0.1);
  auto state = block.initial_state(1);
  const auto y = block.forward(first, &state);
  state.attention.memory.fill(0);
  state.before.fill(0);
  REQUIRE(state.attention.filled == 0);
  const auto again = block.forward(first, &state);
  for (index_t i = 0; i < y.size(); ++i)
    REQUIRE(y.data()[i] == Approx(std::as_const(again).data()[i]).epsilon(1e-12));
}

TEST_CASE("causal blocks: wrong sizes are named", "[causal_flash_gau]") {
  auto c = small_gau(4, 0);
  CHECK_THROWS_WITH(CausalFlashGau<float>(c), "CausalFFConv: taps is 0, expected >= 1");
  c = small_gau(0, 3);
  CHECK_THROWS_WITH(CausalFlashGau<float>(c),
                    "CausalFlashGau: dim is 5, query_key_dim 6 and group_size 0, expected >= 1");
  c = small_gau(4, 3);
  c.rotary_dim = 3;
  CHECK_THROWS_WITH(CausalFlashGau<float>(c),
                    "CausalFlashGau: rotary_dim is 3, expected an even number from 0 to "
                    "query_key_dim = 6");
  c = small_gau(4, 3);
  c.memory_decay = 0;
  CHECK_THROWS_WITH(CausalFlashGau<float>(c),
                    "CausalFlashGau: memory_decay is 0.000000, expected a number above 0 and at "
                    "most 1");
  CHECK_THROWS_WITH(CausalGatedFsmn<float>({0, 4, 3, 3}),
                    "CausalGatedFsmn: dim is 0 and inner_channels 4, expected >= 1");
}
