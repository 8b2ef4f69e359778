#include "sequin/models/time_moe_forecast.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <limits>
#include <vector>

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TimeMoe<double> small_model() {
  TimeMoeConfig c;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.horizon_lengths = {1, 4};
  c.num_hidden_layers = 1;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 2;
  c.num_experts = 3;
  c.initializer_range = 0.3;
  TimeMoe<double> model(c);
  Generator generator(5);
  model.initialize(generator);
  return model;
}

}  // namespace

TEST_CASE("norm_series: unbiased deviation of what is there, gaps filled along the line") {
  const double x[] = {kNan, 2, kNan, kNan, 8, 5, std::numeric_limits<double>::infinity()};
  const NormedSeries s = norm_series(std::span<const double>(x));
  CHECK(s.first == 1);
  CHECK(s.mean == 5);
  CHECK(s.std == Approx(3));
  const double expected[] = {0, -1, -1.0 / 3, 1.0 / 3, 1, 0, 0};
  for (std::size_t t = 0; t < 7; ++t) CHECK(s.value[t] == Approx(expected[t]).margin(1e-15));
}

TEST_CASE("forecast: follows scale and offset of each series, whatever stands beside it") {
  const auto model = small_model();
  const auto x = wavy<double, 2>({5, 14}, 0.2);
  Tensor<double, 2> moved = x.clone();
  for (index_t v = 0; v < 5; ++v)
    for (index_t t = 0; t < 14; ++t)
      moved(v, t) = x(v, t) * static_cast<double>(10 * v + 1) + static_cast<double>(v);
  ForecastOptions pairs;
  pairs.batch = 2;
  const auto a = forecast(model, x, 11, pairs);
  const auto b = forecast(model, moved, 11);
  REQUIRE(a.shape() == Shape<2>{5, 11});
  for (index_t v = 0; v < 5; ++v) {
    for (index_t t = 0; t < 11; ++t)
      CHECK(b(v, t) == Approx(a(v, t) * static_cast<double>(10 * v + 1) + static_cast<double>(v)));
    CHECK(largest_difference(forecast(model, slice(x, 0, v, v + 1), 11), slice(a, 0, v, v + 1)) <
          1e-12);
  }
}

TEST_CASE("forecast: missing values in front are as if the series began later") {
  const auto model = small_model();
  const auto shorter = wavy<double, 2>({1, 9}, 0.2);
  Tensor<double, 2> longer({2, 14}, kNan);
  for (index_t t = 0; t < 9; ++t) longer(0, t + 5) = shorter(0, t);
  for (index_t t = 0; t < 14; ++t) longer(1, t) = static_cast<double>(t % 3);
  const auto a = forecast(model, shorter, 6);
  CHECK(largest_difference(slice(forecast(model, longer, 6), 0, 0, 1), a) < 1e-12);
  ForecastOptions last;
  last.max_context = 9;
  CHECK(largest_difference(slice(forecast(model, longer, 6, last), 0, 0, 1), a) < 1e-12);
}

TEST_CASE("forecast: constants go on, one value goes on, nothing gives 0, none NaN") {
  const auto model = small_model();
  Tensor<double, 2> x({4, 6}, kNan);
  for (index_t t = 0; t < 6; ++t) x(0, t) = 0.1;
  x(1, 3) = -7;
  for (index_t t = 0; t < 6; ++t) x(3, t) = static_cast<double>(t);
  const auto y = forecast(model, x, 5);
  for (index_t t = 0; t < 5; ++t) {
    CHECK(y(0, t) == 0.1);
    CHECK(y(1, t) == -7);
    CHECK(y(2, t) == 0);
    CHECK(std::isfinite(y(3, t)));
  }
}

TEST_CASE("forecast: a horizon of 0 and an empty series are refused") {
  const auto model = small_model();
  CHECK_THROWS_WITH(forecast(model, Tensor<double, 2>({1, 3}), 0),
                    "forecast: horizon is 0, expected >= 1");
  CHECK_THROWS_WITH(forecast(model, Tensor<double, 2>({0, 3}), 1),
                    "forecast: series is [0, 3], expected [V >= 1, T >= 1]");
}

TEST_CASE("forecast: says how many values are done, round by round") {
  const auto model = small_model();
  std::vector<index_t> done;
  ForecastOptions options;
  options.batch = 2;
  options.on_values = [&](index_t values) { done.push_back(values); };
  forecast(model, wavy<double, 2>({3, 6}, 0.3), 6, options);  // rounds of 4, 1 and 1 steps
  CHECK(done == std::vector<index_t>{8, 10, 12, 16, 17, 18});
}
