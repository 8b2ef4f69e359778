// Scores of examples/pretrain against plain loops.
#include "pretrain/score.hpp"
#include "support/catch.hpp"

#include <limits>

using namespace sequin_pretrain;

namespace {

constexpr float kGap = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("score: MASE divides by the past's seasonal differences") {
  const std::vector<float> past{1, 5, 2, 7, 4, 6};
  const std::vector<float> said{5, 5, 5}, truth{4, 8, 5};
  const Scales scales = scales_of(past, 2);
  // |2-1|, |7-5|, |4-2|, |6-7|; mean of past 25/6.
  CHECK(scales.seasonal == Approx((1 + 2 + 2 + 1) / 4.0));
  double squares = 0;
  for (const double v : {1.0, 5.0, 2.0, 7.0, 4.0, 6.0}) squares += (v - 25.0 / 6) * (v - 25.0 / 6);
  const double deviation = std::sqrt(squares / 5);
  CHECK(scales.deviation == Approx(deviation));
  const Errors errors = errors_of(said, truth, scales);
  CHECK(errors.mase == Approx((1 + 3 + 0) / 3.0 / 1.5));
  CHECK(errors.mae == Approx((1 + 3 + 0) / 3.0 / deviation));
  CHECK(errors.mse == Approx((1 + 9 + 0) / 3.0 / (deviation * deviation)));
}

TEST_CASE("score: gaps do not count, and a past within a season is compared with neighbours") {
  const Scales scales = scales_of(std::vector<float>{1, kGap, 3, 4}, 2);
  CHECK(scales.seasonal == Approx(2));  // 3 - 1 alone
  CHECK(scales_of(std::vector<float>{1, 4, 2}, 3).seasonal == Approx((3 + 2) / 2.0));
  CHECK(scales_of(std::vector<float>{2, 2, 2}, 1).seasonal == 0);
  const Errors errors =
      errors_of(std::vector<float>{1, 1, 1}, std::vector<float>{kGap, 3, 1}, {1, 1});
  CHECK(errors.mase == Approx(1));
}

TEST_CASE("score: naive forecasts repeat the last value and the last season") {
  const std::vector<float> past{1, 2, 3, 4, kGap, 6};
  CHECK(naive(past, 2) == std::vector<float>{6, 6});
  CHECK(naive(std::vector<float>{1, 2, kGap}, 1) == std::vector<float>{2});
  // Season of 3: 4, a gap (from the season before: 2), 6, and again.
  CHECK(seasonal_naive(past, 3, 5) == std::vector<float>{4, 2, 6, 4, 2});
  CHECK(seasonal_naive(past, 1, 2) == std::vector<float>{6, 6});
  CHECK(seasonal_naive(past, 6, 2) == std::vector<float>{6, 6});
}

TEST_CASE("score: the seasonal naive forecast of a pure season has no error") {
  NamedSeries s{"s", "d", 4, {}};
  for (int t = 0; t < 80; ++t) s.values.push_back(static_cast<float>(t % 4 + 0.01 * (t % 3)));
  for (const Task& task : tasks_of(s, 8, 3)) {
    const Errors own = errors_of(std::vector<float>(task.truth().begin(), task.truth().end()),
                                 task.truth(), task.scales);
    CHECK(own.mase == 0);
    CHECK(errors_of(seasonal_naive(task.past(), 4, 8), task.truth(), task.scales).mase <
          errors_of(naive(task.past(), 8), task.truth(), task.scales).mase);
  }
}

TEST_CASE("score: forecasts lie one after the other, and the first knows enough") {
  NamedSeries s{"s", "d", 12, {}};
  for (int t = 0; t < 100; ++t) s.values.push_back(static_cast<float>(t * t % 17));
  const auto tasks = tasks_of(s, 18, 10);
  REQUIRE(tasks.size() == 3);  // 82, 64, 46 known; 28 would be fewer than two horizons
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    CHECK(tasks[i].known == 82 - 18 * static_cast<index_t>(i));
    CHECK(tasks[i].truth().front() == s.values[static_cast<std::size_t>(tasks[i].known)]);
    CHECK(tasks[i].past().back() == s.values[static_cast<std::size_t>(tasks[i].known - 1)]);
  }
  CHECK(tasks_of(s, 18, 2).size() == 2);
  s.values.assign(100, 3.0f);
  CHECK(tasks_of(s, 18, 10).empty());  // no scale
}

TEST_CASE("score: a group's mean is over series, not over forecasts") {
  Table table;
  table.add("g", "a", {1, 1, 1});
  table.add("g", "a", {3, 3, 3});
  table.add("g", "b", {6, 4, 2});
  const auto rows = table.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].series == 2);
  CHECK(rows[0].forecasts == 3);
  CHECK(rows[0].mean.mase == Approx((2.0 + 6.0) / 2));
  CHECK(rows[0].mean.mse == Approx((2.0 + 2.0) / 2));
  CHECK(rows[0].mase_error == Approx(std::sqrt((4.0 + 4.0) / 1 / 2)));
}
