#include "sequin/blocks/encoder.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"

#include <cmath>

using namespace sequin;

namespace {

Tensor<double, 3> wavy(const Shape<3>& shape, double phase) {
  Tensor<double, 3> t(shape);
  for (index_t i = 0; i < t.size(); ++i)
    t.data()[i] = std::sin(0.9 * static_cast<double>(i) + phase);
  return t;
}

AttentionLayer<double> small_layer(bool causal, bool mix) {
  AttentionLayerConfig config;
  config.d_model = 10;
  config.n_heads = 3;
  config.causal = causal;
  config.mix = mix;
  AttentionLayer<double> layer(config);
  Generator generator(8);
  layer.initialize(generator);
  return layer;
}

}  // namespace

TEST_CASE("attention_layer: gradients of queries, keys and values equal finite differences",
          "[attention_layer]") {
  for (const bool mix : {false, true}) {
    const auto layer = small_layer(false, mix);
    const auto r = grad_check(
        [&](const auto& q, const auto& k, const auto& v) { return layer.forward(q, k, v); },
        wavy({2, 3, 10}, 0), wavy({2, 5, 10}, 1), wavy({2, 5, 10}, 2));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("attention_layer: with a causal mask the past does not see the future",
          "[attention_layer]") {
  const auto layer = small_layer(true, false);
  auto x = wavy({1, 6, 10}, 0);
  const auto before = layer.forward(x, x, x);
  x(0, 5, 3) += 1;
  const auto after = layer.forward(x, x, x);
  for (index_t t = 0; t < 5; ++t) REQUIRE(after(0, t, 0) == before(0, t, 0));
  REQUIRE(after(0, 5, 0) != before(0, 5, 0));
}

TEST_CASE("attention_layer: impossible sizes are named", "[attention_layer]") {
  AttentionLayerConfig config;
  config.d_model = 2;
  config.n_heads = 3;
  REQUIRE_THROWS_WITH(AttentionLayer<float>(config), Catch::Contains("n_heads is 3"));
  config.n_heads = 0;
  REQUIRE_THROWS_AS(AttentionLayer<float>(config), ConfigError);
}

TEST_CASE("encoder: the gradient through two layers equals finite differences", "[encoder]") {
  EncoderLayerConfig config;
  config.attention.d_model = 6;
  config.attention.n_heads = 2;
  config.d_ff = 5;
  Encoder<double> encoder(config, 2);
  Generator generator(8);
  encoder.initialize(generator);
  const auto r = grad_check([&](const auto& x) { return encoder.forward(x); }, wavy({2, 3, 6}, 0));
  INFO(r.where);
  REQUIRE(r.ok());
}
