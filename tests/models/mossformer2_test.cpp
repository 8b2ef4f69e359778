#include "sequin/models/mossformer2.hpp"

#include "sequin/models/mossformer2_decode.hpp"
#include "sequin/models/separate_long.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

MossFormer2Config small_config() {
  MossFormer2Config c;
  c.in_channels = c.channels = c.out_channels = 8;
  c.num_layers = 1;
  c.encoder_kernel_size = 4;
  c.group_size = 8;
  c.query_key_dim = 6;
  c.inner_channels = 6;
  c.lorder = 3;
  return c;
}

MossFormer2<float> small_model(const MossFormer2Config& config = small_config()) {
  MossFormer2<float> model(config);
  Generator generator(4);
  model.initialize(generator);
  return model;
}

/// Gives back the mixture's odd and even halves of loudness, in an order that flips at each call.
struct FlippingSeparator {
  mutable int calls = 0;
  Tensor<float, 3> separate(const Tensor<float, 2>& mixture) const {
    const index_t n = mixture.extent(1);
    Tensor<float, 3> y({1, n, 2});
    const index_t first = calls++ % 2;
    for (index_t t = 0; t < n; ++t) {
      // Whole numbers hold one speaker, the rest the other.
      const float whole = std::floor(mixture(0, t));
      y(0, t, first) = whole;
      y(0, t, 1 - first) = mixture(0, t) - whole;
    }
    return y;
  }
};

}  // namespace

TEST_CASE("mossformer2: prepared weights, for training or inference, give the same bits",
          "[mossformer2]") {
  const auto model = small_model();
  auto packed = small_model();
  prepare(packed);
  auto light = small_model();
  prepare_for_inference(light);
  const auto x = wavy<float, 2>({2, 71}, 0.2);
  const auto y = model.separate(x);
  REQUIRE(y.shape() == Shape<3>{2, 71, 2});
  REQUIRE(identical(y, packed.separate(x)));
  REQUIRE(identical(y, light.separate(x)));
}

TEST_CASE("mossformer2: an utterance's result does not depend on its place in the batch",
          "[mossformer2]") {
  const auto model = small_model();
  const auto x = wavy<float, 2>({3, 50}, 0.2);
  const auto all = model.separate(x);
  const auto one = model.separate(slice(x, 0, 2, 3));
  REQUIRE(identical(one, slice(all, 0, 2, 3)));
}

TEST_CASE(
    "mossformer2: the parameter count of a configuration is that of its model within a "
    "hundredth",
    "[mossformer2]") {
  for (const auto layout :
       {MossFormer2Config::Layout::clearervoice_ss, MossFormer2Config::Layout::standalone,
        MossFormer2Config::Layout::clearervoice_se48k}) {
    auto c = small_config();
    c.layout = layout;
    c.num_layers = 3;
    MossFormer2<float> model(c);
    double count = 0;
    for (const auto& p : parameters(model).items) count += static_cast<double>(p.values.size());
    REQUIRE(c.parameter_count() == Approx(count).epsilon(0.01));
  }
}

TEST_CASE("mossformer2: too short audio, silence and NaN are handled as stated", "[mossformer2]") {
  const auto model = small_model();
  REQUIRE_THROWS_WITH(model.separate(Tensor<float, 2>({1, 1})),
                      "MossFormer2: mixture is [1, 1], expected [B >= 1, T >= 6] (two frames of "
                      "encoder_kernel_size)");
  const auto silent = model.separate(Tensor<float, 2>({1, 40}));
  for (const float v : silent.span()) REQUIRE(std::isfinite(v));
  auto x = wavy<float, 2>({1, 40}, 0.2);
  x(0, 20) = NAN;
  bool any = false;
  const auto spoilt = model.separate(x);
  for (const float v : spoilt.span()) any = any || std::isnan(v);
  REQUIRE(any);
}

TEST_CASE("separate_long: audio within a segment is separated whole", "[mossformer2]") {
  const auto model = small_model();
  const auto x = wavy<float, 1>({60}, 0.2);
  const auto whole = model.separate(x.reshaped<2>({1, 60}));
  for (const index_t segment : {60, 200}) {
    const auto y = separate_long(model, x, {segment, 16});
    REQUIRE(y.shape() == Shape<2>{2, 60});
    for (index_t s = 0; s < 2; ++s)
      for (index_t t = 0; t < 60; ++t) REQUIRE(y(s, t) == whole(0, t, s));
  }
}

TEST_CASE("separate_long: speakers that the model swaps between segments are put right",
          "[mossformer2]") {
  const index_t n = 1003;
  Tensor<float, 1> x({n});
  for (index_t t = 0; t < n; ++t)
    x(t) = static_cast<float>((t * 7) % 11 - 5) + 0.25F +
           0.2F * std::sin(0.3F * static_cast<float>(t));
  for (const index_t segment : {100, 333, 1002}) {
    const FlippingSeparator model;
    const auto y = separate_long(model, x, {segment, 0});
    // The first call's order holds to the end; fades of equal signals change nothing but rounding.
    double worst = 0;
    for (index_t t = 0; t < n; ++t) {
      const float whole = std::floor(std::as_const(x)(t));
      worst = (std::max)(worst, static_cast<double>(std::abs(y(0, t) - whole)));
      worst =
          (std::max)(worst, static_cast<double>(std::abs(y(1, t) - (std::as_const(x)(t) - whole))));
    }
    REQUIRE(worst < 1e-5);
    REQUIRE(model.calls >= 2);
  }
}

TEST_CASE("decode_official: silence stays silent", "[mossformer2]") {
  auto config = small_config();
  config.sampling_rate = 100;
  const auto model = small_model(config);
  for (const index_t length : {50, 400}) {
    const auto y = decode_official(model, Tensor<float, 1>(Shape<1>{length}));
    for (const float v : std::as_const(y).span()) REQUIRE(v == 0.0F);
  }
}

TEST_CASE("mossformer2: without positions it is the network whose positions are scaled by 0",
          "[mossformer2]") {
  auto config = small_config();
  config.use_global_pos_enc = false;
  auto without = small_model(config);
  auto with = small_model();
  for (auto& p : parameters(with).items) {
    const bool position = p.name.find("pos_enc") != std::string::npos;
    REQUIRE_FALSE((position && p.name.ends_with("scale") && p.values.size() != 1));
    if (position && p.name.ends_with("scale")) p.values.fill(0.0F);
  }
  for (const auto& p : parameters(without).items)
    REQUIRE(p.name.find("pos_enc") == std::string::npos);
  const auto x = wavy<float, 2>({2, 71}, 0.2);
  REQUIRE(identical(without.separate(x), with.separate(x)));
}

TEST_CASE("separate_long: wrong sizes are named and progress can stop it", "[mossformer2]") {
  const auto model = small_model();
  const auto x = wavy<float, 1>({100}, 0.2);
  REQUIRE_THROWS_AS(separate_long(model, x, {8, 8}), ConfigError);
  REQUIRE_THROWS_AS(separate_long(model, Tensor<float, 1>(Shape<1>{0}), {8, 2}), ShapeError);
  const auto cut = separate_long(model, x, {32, 8}, [](index_t, index_t) { return false; });
  REQUIRE(cut.shape() == Shape<2>{2, 32});
}
