#include "sequin/ops/recompute.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/encoder.hpp"
#include "sequin/ops/dropout.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/linear.hpp"
#include "sequin/ops/reduce.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <tuple>
#include <vector>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

// Encoder layers with dropout, each recomputed or not.
struct Deep {
  std::vector<EncoderLayer<float>> layers;
  Generator generator{3};

  explicit Deep(int count) {
    EncoderLayerConfig c;
    c.attention.d_model = 16;
    c.attention.n_heads = 2;
    c.attention.dropout = 0.1;
    c.d_ff = 32;
    c.dropout = 0.2;
    Generator weights(1);
    for (int i = 0; i < count; ++i) {
      layers.emplace_back(c);
      layers.back().initialize(weights);
      set_requires_grad(layers.back());
    }
  }

  Tensor<float, 3> forward(Tensor<float, 3> x, bool again) {
    ForwardContext<float> context;
    context.dropout_generator = &generator;
    for (const auto& layer : layers) {
      // A residual connection around the layer: x collects a gradient from two sides.
      if (again)
        x = add(x, recompute([&layer, context](const auto& h) { return layer.forward(h, context); },
                             {&generator}, x));
      else
        x = add(x, layer.forward(x, context));
    }
    return x;
  }
};

struct Step {
  Tensor<float, 3> y, dx;
  std::vector<Tensor<float, 1>> gradients;
  Generator::State drawn;
  std::size_t peak = 0;
};

Step step(bool again, int count = 4) {
  Deep model(count);
  auto x = wavy<float, 3>({3, 17, 16}, 0.3);
  x.set_requires_grad();
  const auto weight = wavy<float, 3>({3, 17, 16}, 0.9);
  Step s;
  Arena arena;
  {
    const ArenaScope scope(&arena);
    Tape tape;
    const auto y = model.forward(x, again);
    const Gradients g = tape.gradients(y, weight);
    const ArenaScope heap(nullptr);
    s.y = y.clone();
    s.dx = g.of(x).clone();
    for (auto& layer : model.layers)
      for (const auto& p : parameters(layer).items) s.gradients.push_back(g.of(p.values).clone());
  }
  s.drawn = model.generator.state();
  s.peak = arena.peak();
  return s;
}

}  // namespace

TEST_CASE("recompute: values and gradients are the same bits, dropout included", "[tape]") {
  const Step plain = step(false), again = step(true);
  CHECK(identical(plain.y, again.y));
  CHECK(identical(plain.dx, again.dx));
  REQUIRE(plain.gradients.size() == again.gradients.size());
  REQUIRE(plain.gradients.size() == 4 * 16);
  for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
    INFO("parameter " << i);
    CHECK(identical(plain.gradients[i], again.gradients[i]));
  }
  CHECK(plain.drawn == again.drawn);
}

TEST_CASE("recompute: a step of many layers needs a fraction of the memory", "[tape]") {
  const std::size_t plain = step(false, 16).peak, again = step(true, 16).peak;
  INFO("16 layers: " << plain << " bytes, recomputed " << again);
  CHECK(again * 2 < plain);
  // Another layer costs its input and output, not its activations; both grow by the gradients of
  // its parameters.
  const std::size_t more = step(false, 17).peak - plain, more_again = step(true, 17).peak - again;
  INFO("a layer more: " << more << " bytes, recomputed " << more_again);
  CHECK(more_again * 2 < more);
}

TEST_CASE("recompute: gradients agree with finite differences, several inputs and outputs",
          "[tape]") {
  const auto result = grad_check(
      [](const auto& x, const auto& w) {
        const auto [a, b] = recompute(
            [](const auto& u, const auto& v) {
              const auto h = linear(u, v);
              return std::make_tuple(square(h), exp(scale(h, 0.1)));
            },
            square(x), w);
        return mul(a, b);
      },
      wavy<double, 2>({3, 4}, 0.2), wavy<double, 2>({5, 4}, 0.7));
  INFO(result.where);
  CHECK(result.ok());
}

TEST_CASE("recompute: nothing is recorded where nothing asks for a gradient", "[tape]") {
  int calls = 0;
  const auto twice = [&calls](const Tensor<double, 1>& x) {
    ++calls;
    return scale(x, 2);
  };
  const auto constant = wavy<double, 1>({3}, 0.1);
  auto x = wavy<double, 1>({3}, 0.4);
  CHECK(identical(recompute(twice, x), scale(x, 2)));
  x.set_requires_grad();
  CHECK(calls == 1);
  Tape tape;
  CHECK_FALSE(recompute(twice, constant).requires_grad());
  const auto y = recompute(twice, x);
  CHECK(y.requires_grad());
  CHECK(calls == 3);
  const auto unused = recompute(twice, x);  // no gradient arrives there
  const auto g = tape.gradients(sum(y));
  CHECK(calls == 5);
  CHECK(identical(g.of(x), Tensor<double, 1>({3}, 2.0)));
  CHECK(unused.requires_grad());
}

TEST_CASE("recompute: parameters that are captured get their gradients, nested too", "[tape]") {
  auto w = wavy<double, 1>({3}, 0.5);
  w.set_requires_grad();
  const auto constant = wavy<double, 1>({3}, 0.1);
  const auto run = [&](bool again) {
    const auto inner = [&w](const Tensor<double, 1>& x) { return mul(square(w), x); };
    const auto outer = [&w, inner, again](const Tensor<double, 1>& x) {
      return mul(w, again ? recompute(inner, x) : inner(x));
    };
    Tape tape;
    const auto y = again ? recompute(outer, constant) : outer(constant);
    return tape.gradients(sum(add(y, w))).of(w);
  };
  CHECK(identical(run(true), run(false)));
}
