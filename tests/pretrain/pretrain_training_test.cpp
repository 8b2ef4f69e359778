// Windows, loss and expert load of examples/pretrain, and a training of seconds.
#include "pretrain/expert_load.hpp"
#include "pretrain/forecast_loss.hpp"
#include "pretrain/synthetic.hpp"

#include "sequin/train/train.hpp"

#include "support/catch.hpp"

#include <limits>

using namespace sequin;
using namespace sequin_pretrain;

namespace {

TimeMoeConfig tiny() {
  TimeMoeConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 16;
  c.horizon_lengths = {1, 8};
  c.num_hidden_layers = 1;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.num_experts = 4;
  c.initializer_range = 0.1;
  return c;
}

std::vector<NamedSeries> waves(int count, index_t length) {
  std::vector<NamedSeries> all;
  for (int i = 0; i < count; ++i) {
    NamedSeries s{"wave", "waves", 8, {}};
    for (index_t t = 0; t < length; ++t)
      s.values.push_back(
          static_cast<float>(5 + i + std::sin(0.785398 * static_cast<double>(t + i))));
    all.push_back(s);
  }
  return all;
}

WindowsOptions of_length(index_t length, double by_beginning = 0.5) {
  WindowsOptions o;
  o.length = length;
  o.by_beginning = by_beginning;
  return o;
}

}  // namespace

TEST_CASE("windows: labels follow inputs, and what is normalised by all of it has mean 0") {
  const SeriesWindows windows({}, synthetic_series_of(2, 30, 100), of_length(40, 0));
  Generator generator(1);
  WindowsBatch batch;
  windows.draw(generator, 20, batch);
  for (index_t b = 0; b < 20; ++b) {
    double sum = batch.input(b, 0, 0), squares = std::pow(batch.input(b, 0, 0), 2);
    for (index_t t = 0; t < 40; ++t) {
      if (t > 0) REQUIRE(batch.input(b, t, 0) == batch.labels(b, t - 1, 0));
      sum += batch.labels(b, t, 0), squares += std::pow(batch.labels(b, t, 0), 2);
      CHECK(batch.loss_masks(b, t, 0) == 1);
    }
    CHECK(sum == Approx(0).margin(1e-3));
    CHECK((squares == Approx(40).epsilon(1e-4) || squares == 0));
  }
}

TEST_CASE("windows: a short series is padded on the right and the padding is masked") {
  const SeriesWindows windows(waves(3, 20), {}, of_length(32));
  Generator generator(1);
  WindowsBatch batch;
  windows.draw(generator, 4, batch);
  for (index_t b = 0; b < 4; ++b)
    for (index_t t = 0; t < 32; ++t) {
      CHECK(batch.is_real(b, t) == (t < 19 ? 1 : 0));
      CHECK(batch.loss_masks(b, t, 0) == (t < 19 ? 1.0f : 0.0f));
      if (t >= 19) CHECK(batch.labels(b, t, 0) == 0);
    }
}

TEST_CASE("windows: a batch drawn in two parts is the same, and gaps are filled") {
  std::vector<NamedSeries> real = waves(3, 90);
  for (NamedSeries& s : real) s.values[40] = std::numeric_limits<float>::quiet_NaN();
  const SeriesWindows windows(real, synthetic_series_of(2, 30, 100), of_length(50));
  Generator one(8), two(8);
  WindowsBatch whole, first, second;
  windows.draw(one, 6, whole);
  windows.draw(two, 2, first);
  windows.draw(two, 4, second);
  for (index_t b = 0; b < 6; ++b)
    for (index_t t = 0; t < 50; ++t) {
      REQUIRE(std::isfinite(whole.input(b, t, 0)));
      REQUIRE(whole.input(b, t, 0) == (b < 2 ? first.input(b, t, 0) : second.input(b - 2, t, 0)));
    }
  CHECK_THROWS_AS(SeriesWindows({}, {}, {}), ConfigError);
}

TEST_CASE("windows: padding changes neither the error nor the balance of a step") {
  TimeMoe<float> model(tiny());
  Generator generator(3);
  model.initialize(generator);
  Generator a(5), b(5);
  WindowsBatch exact, padded;
  SeriesWindows(waves(4, 33), {}, of_length(32)).draw(a, 4, exact);
  SeriesWindows(waves(4, 33), {}, of_length(48)).draw(b, 4, padded);
  const NoGrad no_grad;
  for (const ExpertBalance balance : {ExpertBalance::each_layer, ExpertBalance::together}) {
    const auto x = windows_loss(model, padded, balance);
    const auto y = windows_loss(model, exact, balance);
    CHECK(x.error.item() == Approx(y.error.item()).epsilon(1e-5));
    CHECK(x.aux_loss.item() == Approx(y.aux_loss.item()).epsilon(1e-5));
  }
}

TEST_CASE("expert load: each layer's shares sum to 1, and the busiest is named by its ratio") {
  TimeMoe<float> model(tiny());
  Generator generator(3);
  model.initialize(generator);
  const SeriesWindows windows(waves(4, 33), {}, of_length(48));
  const ExpertLoad load = expert_load(model, windows, 2, 1);
  REQUIRE(load.size() == 1);
  double sum = 0;
  for (const double v : load[0]) sum += v;
  CHECK(sum == Approx(1));
  CHECK(busiest({0.5, 0.25, 0.25, 0}) == Approx(2));
  CHECK(busiest({0.25, 0.25, 0.25, 0.25}) == Approx(1));
  // A router of zeros takes the first k for every token.
  for (auto& p : parameters(model).items)
    if (p.name.ends_with("ffn_layer.gate.weight")) p.values.fill(0);
  const ExpertLoad tied = expert_load(model, windows, 1, 1);
  CHECK(tied[0][0] == Approx(0.5));
  CHECK(tied[0][1] == Approx(0.5));
}

TEST_CASE("pretrain: an embedding that is drawn wide tells a value from its negative") {
  TimeMoe<float> model(tiny());
  const auto likeness = [&](double deviation) {
    Generator generator(2);
    model.initialize(generator);
    widen_embedding(model, deviation, generator);
    Tensor<float, 3> x({2, 1, 1});
    x(0, 0, 0) = 1, x(1, 0, 0) = -1;
    const NoGrad no_grad;
    const Tensor<float, 3> h = model.hidden_states(x);
    double dot = 0;  // both have a root mean square of 1
    for (index_t d = 0; d < 16; ++d)
      dot += static_cast<double>(h(0, 0, d)) * static_cast<double>(h(1, 0, d)) / 16;
    return dot;
  };
  CHECK(likeness(0.02) > 0.95);
  CHECK(likeness(1) < 0.8);
}

TEST_CASE("pretrain: seconds of training teach the waves better than the last value") {
  TimeMoe<float> model(tiny());
  Generator generator(1);
  model.initialize(generator);
  widen_embedding(model, 1, generator);
  const SeriesWindows windows(waves(12, 200), {}, of_length(48));
  TrainOptions options;
  options.epochs = 1;
  options.steps_per_epoch = 150;
  options.batch_size = 4;
  options.schedule = Schedule::warmup_cosine(1e-2, 10, 150);
  options.clip_norm = 1;
  const auto loss = [&](const WindowsBatch& b) {
    return windows_loss(model, b, ExpertBalance::each_layer).loss;
  };
  const auto error = [&](const WindowsBatch& b) { return windows_loss(model, b).error; };
  train(model, windows, loss, validate_on(windows, 8, 2, 4, error), options);
  prepare(model);
  const auto unseen = waves(13, 64).back();
  Tensor<float, 2> past({1, 48});
  std::copy_n(unseen.values.data(), 48, past.data());
  const Tensor<float, 2> next = forecast(model, past, 16);
  double ours = 0, naive = 0;
  for (index_t t = 0; t < 16; ++t) {
    const auto truth = static_cast<double>(unseen.values[static_cast<std::size_t>(48 + t)]);
    ours += std::abs(static_cast<double>(next(0, t)) - truth);
    naive += std::abs(static_cast<double>(unseen.values[47]) - truth);
  }
  CHECK(ours < 0.5 * naive);
}
