#include "sequin/models/itransformer.hpp"

#include "common/allocation_count.hpp"
#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/loss.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <cstdlib>

using namespace sequin;

namespace {

ITransformerConfig small_config() {
  ITransformerConfig c;
  c.seq_len = 11;
  c.pred_len = 5;
  c.d_model = 14;
  c.n_heads = 3;  // does not divide d_model: the inner width is 12
  c.e_layers = 2;
  c.d_ff = 9;
  c.enc_in = 4;
  return c;
}

template <class T>
ITransformer<T> small_model(const ITransformerConfig& config = small_config()) {
  ITransformer<T> model(config);
  Generator generator(3);
  model.initialize(generator);
  return model;
}

template <class T>
Tensor<T, 3> wavy(const Shape<3>& shape, double phase = 0) {
  Tensor<T, 3> t(shape);
  for (index_t i = 0; i < t.size(); ++i)
    t.data()[i] = static_cast<T>(std::sin(0.37 * static_cast<double>(i * i % 101) + phase));
  return t;
}

template <class A, class B>
bool identical(const A& a, const B& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end());
}

}  // namespace

TEST_CASE("itransformer: the order of the variates does not matter", "[itransformer]") {
  const auto model = small_model<double>();
  const auto x = wavy<double>({2, 11, 4});
  Tensor<double, 3> swapped(x.shape());
  for (index_t b = 0; b < 2; ++b)
    for (index_t t = 0; t < 11; ++t)
      for (index_t v = 0; v < 4; ++v) swapped(b, t, v) = x(b, t, 3 - v);
  const auto y = model.forward(x);
  const auto z = model.forward(swapped);
  for (index_t b = 0; b < 2; ++b)
    for (index_t t = 0; t < 5; ++t)
      for (index_t v = 0; v < 4; ++v) REQUIRE(z(b, t, 3 - v) == Approx(y(b, t, v)).epsilon(1e-12));
}

TEST_CASE("itransformer: a shift of the series shifts the forecast", "[itransformer]") {
  const auto model = small_model<double>();
  const auto x = wavy<double>({1, 11, 4});
  const auto y = model.forward(x);
  const auto z = model.forward(add_scalar(x, 100.0));
  for (index_t i = 0; i < y.size(); ++i)
    REQUIRE(z.data()[i] - 100 == Approx(y.data()[i]).margin(1e-10));
}

TEST_CASE("itransformer: any number of variates and marks runs on the same weights",
          "[itransformer]") {
  const auto model = small_model<float>();
  for (const index_t variates : {1, 2, 7, 33})
    for (const index_t marks : {0, 1, 4}) {
      const auto m = marks == 0 ? Tensor<float, 3>{} : wavy<float>({3, 11, marks}, 1);
      REQUIRE(model.forward(wavy<float>({3, 11, variates}), m).shape() == Shape<3>{3, 5, variates});
    }
}

TEST_CASE("itransformer: a window of a batch is what it is alone, bit by bit, on any threads",
          "[itransformer]") {
  auto config = small_config();
  config.d_model = 64;
  config.d_ff = 96;
  auto model = small_model<float>(config);
  const auto x = wavy<float>({37, 11, 5});
  const auto together = model.forward(x);
  for (const index_t b : {0, 17, 36}) {
    const Tensor<float, 3> alone(
        {1, 11, 5}, x.span().subspan(static_cast<std::size_t>(b * 55), std::size_t{55}));
    const auto y = model.forward(alone);
    REQUIRE(std::equal(y.span().begin(), y.span().end(), together.span().begin() + b * 25));
  }
  for (const index_t threads : {2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    REQUIRE(identical(model.forward(x), together));
  }
  prepare(model);
  REQUIRE(identical(model.forward(x), together));
}

TEST_CASE("itransformer: gradients of inputs equal finite differences", "[itransformer]") {
  // With use_norm the official mean is a constant to the gradient: that is no derivative.
  auto config = small_config();
  config.use_norm = false;
  const auto model = small_model<double>(config);
  const auto r = grad_check([&](const auto& x, const auto& m) { return model.forward(x, m); },
                            wavy<double>({2, 11, 3}), wavy<double>({2, 11, 2}, 1));
  INFO(r.where);
  REQUIRE(r.ok());
}

TEST_CASE("itransformer: the gradient of every parameter equals finite differences",
          "[itransformer]") {
  for (const auto activation : {Activation::gelu, Activation::relu}) {
    auto config = small_config();
    config.activation = activation;
    auto model = small_model<double>(config);
    set_requires_grad(model);
    const auto x = wavy<double>({2, 11, 3});
    const auto target = wavy<double>({2, 5, 3}, 2);
    const auto loss = [&] { return mse_loss(model.forward(x), target); };
    Gradients g;
    {
      Tape tape;
      g = tape.gradients(loss());
    }
    for (auto& p : parameters(model).items) {
      const auto analytic = g.of(p.values);
      // A few entries of each tensor are enough: every op has its own full check.
      for (index_t i = 0; i < p.values.size(); i += p.values.size() / 3 + 1) {
        const double keep = std::as_const(p.values).data()[i];
        const double step = 1e-5;
        p.values.data()[i] = keep + step;
        const double up = loss().item();
        p.values.data()[i] = keep - step;
        const double down = loss().item();
        p.values.data()[i] = keep;
        INFO(p.name << " entry " << i);
        REQUIRE(analytic.data()[i] == Approx((up - down) / (2 * step)).margin(1e-8).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("itransformer: attention maps are given on request, their rows sum to 1",
          "[itransformer]") {
  const auto model = small_model<double>();
  std::vector<Tensor<double, 4>> maps;
  ForwardContext<double> context;
  context.attention_maps = &maps;
  const auto x = wavy<double>({2, 11, 4});
  const auto with = model.forward(x, {}, context);
  REQUIRE(identical(with, model.forward(x)));
  REQUIRE(maps.size() == 2);
  for (const auto& map : maps) {
    REQUIRE(map.shape() == Shape<4>{2, 3, 4, 4});
    for (index_t r = 0; r < map.rows(); ++r) {
      double sum = 0;
      for (index_t c = 0; c < 4; ++c) sum += map.data()[r * 4 + c];
      REQUIRE(sum == Approx(1).epsilon(1e-12));
    }
  }
}

TEST_CASE("itransformer: dropout draws from its generator and from nothing else",
          "[itransformer]") {
  const auto model = small_model<float>();
  const auto x = wavy<float>({2, 11, 4});
  const auto run = [&](std::uint64_t seed) {
    Generator generator(seed);
    ForwardContext<float> context;
    context.dropout_generator = &generator;
    return model.forward(x, {}, context);
  };
  REQUIRE(identical(run(1), run(1)));
  REQUIRE_FALSE(identical(run(1), run(2)));
  REQUIRE_FALSE(identical(run(1), model.forward(x)));
}

TEST_CASE("itransformer: a constant series is forecast as a finite value", "[itransformer]") {
  const auto y = small_model<float>().forward(Tensor<float, 3>({1, 11, 3}, 7.0f));
  for (const float v : y.span()) REQUIRE(std::isfinite(v));
}

TEST_CASE("itransformer: NaN in a window stays in the window", "[itransformer]") {
  auto x = wavy<float>({3, 11, 4});
  x(1, 4, 2) = NAN;
  const auto y = small_model<float>().forward(x);
  for (index_t b = 0; b < 3; ++b) REQUIRE(std::isnan(y(b, 0, 2)) == (b == 1));
}

TEST_CASE("itransformer: a forward pass in a fitted arena allocates nothing", "[itransformer]") {
  auto model = small_model<float>();
  prepare(model);
  const auto x = wavy<float>({8, 11, 4});
  Arena arena;
  std::size_t before = 0;
  for (int i = 0; i < 6; ++i) {
    {
      const ArenaScope scope(&arena);
      model.forward(x);
    }
    arena.fit();
    if (i == 1) before = sequin_examples::allocation_count();
  }
  REQUIRE(sequin_examples::allocation_count() == before);
}

TEST_CASE("itransformer: the parameter count is known before a model is made", "[itransformer]") {
  auto config = small_config();
  const auto check = [&] {
    ITransformer<float> model(config);
    REQUIRE(config.parameter_count() == static_cast<double>(parameters(model).count()));
  };
  check();
  config.form = ITransformerConfig::Form::tslib;
  config.task = ITransformerConfig::Task::classification;
  config.num_class = 6;
  check();
}

TEST_CASE("itransformer: wrong inputs and tasks are named", "[itransformer]") {
  const auto model = small_model<float>();
  REQUIRE_THROWS_WITH(
      model.forward(wavy<float>({1, 12, 4})),
      "iTransformer: x_enc is [1, 12, 4], expected [B, S=11, V >= 1] (S from seq_len)");
  REQUIRE_THROWS_AS(model.forward(wavy<float>({1, 11, 0})), ShapeError);
  REQUIRE_THROWS_WITH(model.forward(wavy<float>({1, 11, 4}), wavy<float>({2, 11, 4})),
                      Catch::Contains("x_mark_enc is [2, 11, 4]"));
  REQUIRE_THROWS_AS(model.classify(wavy<float>({1, 11, 4})), ConfigError);
  REQUIRE(model.forward(wavy<float>({0, 11, 4})).shape() == Shape<3>{0, 5, 4});
}
