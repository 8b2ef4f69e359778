#include "sequin/train/name_pattern.hpp"
#include "sequin/autograd/tape.hpp"

#include "sequin/blocks/encoder.hpp"
#include "sequin/ops/reduce.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::wavy;

namespace {

Encoder<float> encoder() {
  EncoderLayerConfig c;
  c.attention.d_model = 8;
  c.attention.n_heads = 2;
  c.d_ff = 12;
  Encoder<float> model(c, 2);
  Generator generator(1);
  model.initialize(generator);
  return model;
}

index_t asking(Encoder<float>& model) {
  index_t count = 0;
  for (const auto& p : parameters(model).items) count += p.values.requires_grad() ? 1 : 0;
  return count;
}

std::size_t peak_of_a_step(const Encoder<float>& model) {
  const auto x = wavy<float, 3>({8, 24, 8}, 0.4);
  Arena arena;
  {
    const ArenaScope scope(&arena);
    Tape tape;
    const auto loss = mean(model.forward(x));
    if (loss.requires_grad()) tape.gradients(loss);
  }
  return arena.peak();
}

}  // namespace

TEST_CASE("name_matches: stars, question marks and whole names", "[train]") {
  CHECK(name_matches("encoder.norm.weight", "encoder.*"));
  CHECK(name_matches("encoder.norm.weight", "*norm*"));
  CHECK(name_matches("encoder.norm1.weight", "*.norm?.weight"));
  CHECK(name_matches("encoder.norm.weight", "encoder.norm.weight"));
  CHECK(name_matches("aXbXc", "a*X*c"));
  CHECK(name_matches("abc", "***"));
  CHECK(name_matches("", "*"));
  CHECK(name_matches("", ""));
  CHECK_FALSE(name_matches("encoder.norm.weight", "encoder"));
  CHECK_FALSE(name_matches("my.encoder.norm", "encoder.*"));
  CHECK_FALSE(name_matches("encoder.norm.weight", "*.norm?.weight"));
  CHECK_FALSE(name_matches("abc", "a?"));
  CHECK_FALSE(name_matches("", "?"));
  // A matcher that tries every split would not come back.
  CHECK_FALSE(name_matches(std::string(2000, 'a'), "*a*a*a*a*a*a*a*a*a*a*a*a*b"));
}

TEST_CASE("freeze, train_only: pick by name and name a pattern that fits nothing", "[train]") {
  auto model = encoder();
  freeze(model, {});
  const index_t all = asking(model);
  freeze(model, {"attn_layers.0.*", "norm.bias"});
  CHECK(asking(model) == (all - 2) / 2 + 1);
  train_only(model, {"*norm*"});
  CHECK(asking(model) == 2 * 4 + 2);
  CHECK_THROWS_WITH(freeze(model, {"*norm*", "decoder.*"}),
                    "freeze: 'decoder.*' matches no parameter, expected a pattern of one of the " +
                        std::to_string(all) +
                        " (attn_layers.0.attention.query_projection.weight, "
                        "attn_layers.0.attention.query_projection.bias, "
                        "attn_layers.0.attention.key_projection.weight, "
                        "attn_layers.0.attention.key_projection.bias, ...)");
  CHECK(asking(model) == 2 * 4 + 2);  // nothing has changed
}

TEST_CASE("freeze: frozen weights cost neither gradients nor the activations for them", "[train]") {
  auto model = encoder();
  freeze(model, {});
  const std::size_t full = peak_of_a_step(model);
  train_only(model, {"*norm*"});
  const std::size_t norms = peak_of_a_step(model);
  train_only(model, {"norm.*"});
  const std::size_t last = peak_of_a_step(model);
  freeze(model, {"*"});
  const std::size_t none = peak_of_a_step(model);
  INFO(full << " bytes, norms " << norms << ", last norm " << last << ", nothing " << none);
  CHECK(norms < full);
  CHECK(last < norms / 2);  // the layers below it are not recorded at all
  CHECK(last < none * 3);
}
