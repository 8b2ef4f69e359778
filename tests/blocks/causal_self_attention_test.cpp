#include "sequin/blocks/causal_self_attention.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

CausalSelfAttention<double> drawn(index_t heads, index_t key_heads) {
  CausalSelfAttentionConfig c;
  c.hidden_size = 12;
  c.num_attention_heads = heads;
  c.num_key_value_heads = key_heads;
  CausalSelfAttention<double> block(c);
  Generator generator(3);
  block.initialize(generator);
  return block;
}

RotaryTable<double> table_of(index_t first, index_t last, const CausalSelfAttentionConfig& c) {
  Tensor<std::int64_t, 2> positions({1, last - first});
  for (index_t t = first; t < last; ++t) positions(0, t - first) = t;
  return rotary_table<double>(positions, c.head_dim(), 100);
}

}  // namespace

TEST_CASE("CausalSelfAttention: pieces through a cache that grows are the whole, after reset too") {
  for (const index_t key_heads : {1, 3}) {
    const auto block = drawn(3, key_heads);
    const auto x = wavy<double, 3>({2, 17, 12}, 0.3);
    const auto whole = block.forward(x, table_of(0, 17, block.config()));
    auto cache = block.initial_cache(2, 1);
    for (const index_t piece : {1, 2, 5, 16, 17}) {
      cache.reset();
      for (index_t t = 0; t < 17; t += piece) {
        const index_t end = (std::min)(t + piece, index_t{17});
        const auto part =
            block.forward(slice(x, 1, t, end), table_of(t, end, block.config()), {}, &cache);
        CHECK(largest_difference(part, slice(whole, 1, t, end)) < 1e-14);
      }
      CHECK(cache.length() == 17);
    }
  }
}

TEST_CASE("CausalSelfAttention: a step depends on nothing later") {
  const auto block = drawn(2, 1);
  auto x = wavy<double, 3>({1, 9, 12}, 0.3);
  const auto table = table_of(0, 9, block.config());
  const auto before = block.forward(x, table);
  for (index_t d = 0; d < 12; ++d) x(0, 6, d) = 100;
  const auto after = block.forward(x, table);
  CHECK(identical(slice(before, 1, 0, 6), slice(after, 1, 0, 6)));
  CHECK(largest_difference(slice(before, 1, 6, 9), slice(after, 1, 6, 9)) > 1e-3);
}

TEST_CASE("CausalSelfAttention: the gradient is that of finite differences") {
  const auto block = drawn(3, 1);
  const auto result =
      grad_check([&](const auto& x) { return block.forward(x, table_of(0, 5, block.config())); },
                 wavy<double, 3>({2, 5, 12}, 0.3));
  INFO(result.where);
  CHECK(result.ok(1e-7));
}

TEST_CASE("KeyValueCache: a copy is independent and what does not fit is named") {
  KeyValueCache<float> cache(2, 1, 3, 2);
  const auto step = wavy<float, 4>({2, 5, 1, 3}, 0.1);
  cache.append(step, step);
  CHECK(cache.capacity() >= 5);
  auto copy = cache;
  cache.append(step, step);
  CHECK(copy.length() == 5);
  CHECK(cache.length() == 10);
  CHECK(copy.keys()(1, 4, 0, 2) == step(1, 4, 0, 2));
  CHECK(cache.values()(1, 9, 0, 2) == step(1, 4, 0, 2));
  cache.truncate(12);
  CHECK(cache.length() == 10);
  cache.truncate(5);
  CHECK(cache.length() == 5);
  CHECK(cache.keys()(1, 4, 0, 2) == step(1, 4, 0, 2));
  const Tensor<float, 4> other({1, 5, 1, 3});
  CHECK_THROWS_WITH(cache.append(other, other),
                    "KeyValueCache: keys are [1, 5, 1, 3] and values [1, 5, 1, 3], expected [2, 5, "
                    "1, 3]");
}

TEST_CASE("CausalSelfAttention: impossible sizes are refused") {
  CausalSelfAttentionConfig c;
  c.hidden_size = 12;
  c.num_attention_heads = 4;
  CHECK_THROWS_WITH(CausalSelfAttention<float>(c),
                    "CausalSelfAttention: hidden_size is 12, expected an even number of elements "
                    "for each of num_attention_heads = 4");
  c.num_attention_heads = 3;
  c.num_key_value_heads = 2;
  CHECK_THROWS_WITH(CausalSelfAttention<float>(c),
                    "CausalSelfAttention: num_key_value_heads is 2, expected a divisor of "
                    "num_attention_heads = 3");
}
