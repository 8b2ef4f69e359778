#include "sequin/models/causal_mossformer2.hpp"

#include "common/allocation_count.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/stream/block_stream.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

CausalMossFormer2Config small_config() {
  CausalMossFormer2Config c;
  c.encoder_kernel_size = 6;
  c.in_channels = 7;
  c.channels = 6;
  c.num_layers = 2;
  c.group_size = 4;
  c.query_key_dim = 5;
  c.inner_channels = 5;
  c.lorder = 3;
  c.taps = 4;
  c.memory_decay = 0.8;
  return c;
}

template <class T>
CausalMossFormer2<T> small_model(const CausalMossFormer2Config& config = small_config()) {
  CausalMossFormer2<T> model(config);
  Generator generator(4);
  model.initialize(generator);
  // Gates and heads as after some training: the drawn ones would let little through.
  for (auto& p : parameters(model).items)
    for (T& v : p.values.span()) v += static_cast<T>(0.1) * generator.normal<T>();
  return model;
}

}  // namespace

TEST_CASE("causal_mossformer2: any chunking equals the batch result bit for bit",
          "[causal_mossformer2]") {
  auto model = small_model<float>();
  prepare(model);
  const auto x = wavy<float, 2>({2, 99}, 0.2);
  const auto whole = model.forward(x);
  for (const index_t chunk : {3, 6, 33, 99}) {
    auto state = model.initial_state(2);
    for (int round = 0; round < 2; ++round) {
      Tensor<float, 3> y({2, 0, 2});
      for (index_t t = 0; t < 99; t += chunk)
        y = concat(y, model.forward(slice(x, 1, t, (std::min)(t + chunk, index_t{99})), &state), 1);
      REQUIRE(identical(y, whole));
      state.reset();
    }
  }
}

TEST_CASE("causal_mossformer2: separate is forward without its lateness, for any length",
          "[causal_mossformer2]") {
  const auto model = small_model<float>();
  const auto x = wavy<float, 2>({2, 34}, 0.2);
  for (const index_t length : {1, 2, 3, 33, 34}) {
    const auto y = model.separate(slice(x, 1, 0, length));
    REQUIRE(y.shape() == Shape<3>{2, length, 2});
    const auto late =
        model.forward(concat(slice(x, 1, 0, length), Tensor<float, 2>({2, 39 - length}), 1));
    REQUIRE(identical(y, slice(late, 1, 3, 3 + length)));
  }
}

TEST_CASE("causal_mossformer2: no output depends on samples later than its own frame",
          "[causal_mossformer2]") {
  const auto model = small_model<float>();
  auto x = wavy<float, 2>({1, 60}, 0.2);
  const auto before = model.separate(x);
  x(0, 30) += 1;  // the first sample of a hop of 3
  const auto after = model.separate(x);
  // Frames of 6 samples each 3: what ends with sample 26 has no frame that reaches sample 30.
  REQUIRE(identical(slice(before, 1, 0, 27), slice(after, 1, 0, 27)));
  REQUIRE_FALSE(identical(slice(before, 1, 27, 30), slice(after, 1, 27, 30)));
}

TEST_CASE("causal_mossformer2: prepared weights, for training or inference, give the same bits",
          "[causal_mossformer2]") {
  const auto model = small_model<float>();
  auto packed = small_model<float>();
  prepare(packed);
  auto light = small_model<float>();
  prepare_for_inference(light);
  const auto x = wavy<float, 2>({2, 71}, 0.2);
  const auto y = model.separate(x);
  REQUIRE(identical(y, packed.separate(x)));
  REQUIRE(identical(y, light.separate(x)));
  REQUIRE(identical(slice(y, 0, 1, 2), model.separate(slice(x, 0, 1, 2))));
  // Against double: two layers of some 50 roundings each.
  const auto wide = small_model<double>();
  REQUIRE(largest_difference(y, wide.separate(x.cast<double>())) < 1e-2);
}

TEST_CASE("causal_mossformer2: blocks of any size give one pass and allocate nothing",
          "[causal_mossformer2]") {
  auto model = small_model<float>();
  prepare(model);
  const auto x = wavy<float, 2>({1, 300}, 0.2);
  const auto whole = model.forward(x);
  for (const std::size_t block : {1u, 3u, 32u, 37u, 64u, 128u}) {
    BlockStream stream(model);
    CHECK(stream.channels() == 2);
    CHECK(stream.timing() == StreamTiming{std::nullopt, 5, 5});
    std::vector<float> y(600);
    const std::size_t count = sequin_examples::allocation_count();
    for (std::size_t at = 0; at < 300; at += block) {
      const std::size_t n = (std::min)(block, 300 - at);
      REQUIRE(stream.process(x.span().subspan(at, n), std::span(y).subspan(2 * at, 2 * n)));
    }
    REQUIRE(sequin_examples::allocation_count() == count);
    for (std::size_t i = 0; i < 600; ++i) REQUIRE(y[i] == (i < 4 ? 0 : whole.span()[i - 4]));
  }
}

TEST_CASE("causal_mossformer2: a state that was copied goes on by itself", "[causal_mossformer2]") {
  const auto model = small_model<float>();
  const auto x = wavy<float, 2>({1, 60}, 0.2);
  const auto whole = model.forward(x);
  auto state = model.initial_state(1);
  model.forward(slice(x, 1, 0, 30), &state);
  const auto kept = state;
  for (int round = 0; round < 2; ++round) {
    REQUIRE(identical(model.forward(slice(x, 1, 30, 60), &state), slice(whole, 1, 30, 60)));
    state.assign(kept);
  }
}

TEST_CASE("causal_mossformer2: the parameter count of a configuration is that of its model",
          "[causal_mossformer2]") {
  for (const auto& c : {small_config(), CausalMossFormer2Config{}}) {
    const CausalMossFormer2<float> model(c);
    REQUIRE(c.parameter_count() == static_cast<double>(parameter_count(model)));
  }
}

TEST_CASE("causal_mossformer2: gradients of all parameters equal finite differences",
          "[causal_mossformer2]") {
  auto model = small_model<double>();
  set_requires_grad(model);
  const auto x = wavy<double, 2>({2, 40}, 0.1);
  const auto target = wavy<double, 3>({2, 2, 40}, 1.1);
  const auto loss = [&] { return mean(square(transpose(model.separate(x), 1, 2) - target)); };
  Tape tape;
  const Gradients gradients = tape.gradients(loss());
  const NoGrad no_grad;
  for (auto& p : parameters(model).items) {
    const auto analytic = gradients.of(p.values);
    INFO(p.name);
    for (index_t i = 0; i < p.values.size(); i += 1 + p.values.size() / 4) {
      const double keep = std::as_const(p.values)(i);
      p.values(i) = keep + 1e-5;
      const double up = *loss().span().data();
      p.values(i) = keep - 1e-5;
      const double down = *loss().span().data();
      p.values(i) = keep;
      REQUIRE(analytic(i) == Approx((up - down) / 2e-5).margin(1e-8).epsilon(1e-6));
    }
  }
}

TEST_CASE("causal_mossformer2: what does not fit is named", "[causal_mossformer2]") {
  const auto model = small_model<float>();
  auto state = model.initial_state(2);
  CHECK_THROWS_WITH(model.forward(Tensor<float, 2>({2, 7})),
                    "CausalMossFormer2: the samples are [2, 7], expected [B >= 1, a multiple of "
                    "the hop = 3]");
  CHECK_THROWS_WITH(model.forward(Tensor<float, 2>({1, 6}), &state),
                    "CausalMossFormer2: the state is not of this model and batch 1; make it with "
                    "initial_state");
  CHECK_THROWS_WITH(model.separate(Tensor<float, 2>({1, 0})),
                    "CausalMossFormer2: mixture is [1, 0], expected [B >= 1, T >= 1]");
  auto c = small_config();
  c.encoder_kernel_size = 5;
  CHECK_THROWS_WITH(CausalMossFormer2<float>(c),
                    "CausalMossFormer2: encoder_kernel_size is 5, num_spks 2, num_layers 2 and "
                    "in_channels 7, expected an even number >= 2 and the others >= 1");
  CHECK_FALSE(model.accepts(std::vector<float>{0, NAN, 0}));
  auto trained = small_model<float>();
  set_requires_grad(trained);
  const Tape tape;
  CHECK_THROWS_WITH(trained.forward(Tensor<float, 2>({2, 6}), &state),
                    "CausalMossFormer2: a state cannot be recorded; use it under NoGrad");
}
