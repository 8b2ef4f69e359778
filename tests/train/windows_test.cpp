#include "sequin/train/forecast_data.hpp"

#include "sequin/core/random.hpp"
#include "sequin/train/batch_order.hpp"
#include "sequin/train/metrics.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <numeric>

using namespace sequin;

namespace {

constexpr std::int64_t kFriday = 1467331200;  // 2016-07-01 00:00:00

// Column a is 0, 1, 2, ...; OT is 10 times its square; every hour from kFriday.
Series ramp(index_t rows) {
  Series s{{"OT", "a"}, Tensor<double, 2>({rows, 2}), {}};
  for (index_t r = 0; r < rows; ++r) {
    s.values(r, 0) = 10.0 * static_cast<double>(r * r);
    s.values(r, 1) = static_cast<double>(r);
    s.times.push_back(kFriday + 3600 * r);
  }
  return s;
}

WindowOptions small() {
  WindowOptions o;
  o.seq_len = 3;
  o.label_len = 1;
  o.pred_len = 2;
  return o;
}

std::vector<float> marks_of(std::int64_t time, TimeEncoding encoding, char freq,
                            bool quarters = false) {
  const auto m = time_marks<float>(std::vector{time}, encoding, freq, quarters);
  return {m.span().begin(), m.span().end()};
}

}  // namespace

TEST_CASE("time_marks: timeF has the official columns for every frequency", "[train]") {
  using enum TimeEncoding;
  // Friday, day 183 of a leap year, ISO week 26.
  const float day_of_year = static_cast<float>(182 / 365.0 - 0.5);
  const float friday = static_cast<float>(4 / 6.0 - 0.5);
  CHECK(marks_of(kFriday, kTimeF, 'h') == std::vector<float>{-0.5f, friday, -0.5f, day_of_year});
  const std::int64_t later = kFriday + 13 * 3600 + 37 * 60 + 59;
  const float hour = static_cast<float>(13 / 23.0 - 0.5);
  const float minute = static_cast<float>(37 / 59.0 - 0.5);
  CHECK(marks_of(later, kTimeF, 't') ==
        std::vector<float>{minute, hour, friday, -0.5f, day_of_year});
  CHECK(marks_of(later, kTimeF, 's') ==
        std::vector<float>{0.5f, minute, hour, friday, -0.5f, day_of_year});
  CHECK(marks_of(later, kTimeF, 'd') == std::vector<float>{friday, -0.5f, day_of_year});
  CHECK(marks_of(later, kTimeF, 'b') == std::vector<float>{friday, -0.5f, day_of_year});
  CHECK(marks_of(later, kTimeF, 'w') ==
        std::vector<float>{-0.5f, static_cast<float>(25 / 52.0 - 0.5)});
  CHECK(marks_of(later, kTimeF, 'm') == std::vector<float>{static_cast<float>(6 / 11.0 - 0.5)});
  CHECK_THROWS_WITH(marks_of(later, kTimeF, 'x'), "freq is \"x\", expected s, t, h, d, b, w or m");
  CHECK_THROWS_AS(marks_of(std::int64_t{1} << 60, kTimeF, 'h'), ConfigError);
}

TEST_CASE("time_marks: fixed gives month, day, weekday, hour and quarter of an hour", "[train]") {
  using enum TimeEncoding;
  const std::int64_t later = kFriday + 86400 * 2 + 13 * 3600 + 37 * 60;
  CHECK(marks_of(later, kFixed, 't', true) == std::vector<float>{7, 3, 6, 13, 2});
  CHECK(marks_of(later, kFixed, 't') == std::vector<float>{7, 3, 6, 13});
  // A moment before 1970: Wednesday 1969-12-31 23:45.
  CHECK(marks_of(-900, kFixed, 'h', true) == std::vector<float>{12, 31, 2, 23, 3});
}

TEST_CASE("time_marks: ISO weeks at the turn of a year belong to the Thursday's year", "[train]") {
  const auto week = [](std::int64_t time) { return detail::CalendarFields(time).week; };
  CHECK(week(1609459200) == 53);                                 // Friday 2021-01-01
  CHECK(week(1609459200 + 3 * 86400) == 1);                      // Monday 2021-01-04
  CHECK(week(1546214400) == 1);                                  // Monday 2018-12-31
  CHECK(week(1483228800) == 52);                                 // Sunday 2017-01-01
  CHECK(detail::CalendarFields(1483142400).day_of_year == 366);  // 2016-12-31
}

TEST_CASE("split_rows: the official borders", "[train]") {
  const auto check = [](SplitRule rule, index_t rows, index_t s, std::vector<index_t> want) {
    const auto parts = split_rows(rule, rows, s);
    std::vector<index_t> found;
    for (const RowRange& p : parts) {
      found.push_back(p.begin);
      found.push_back(p.end);
    }
    CHECK(found == want);
  };
  check(SplitRule::kEttHour, 17420, 96, {0, 8640, 8544, 11520, 11424, 14400});
  check(SplitRule::kEttMinute, 69680, 96, {0, 34560, 34464, 46080, 45984, 57600});
  // 0.7 * 52696 = 36887.2, 0.2 * 52696 = 10539.2
  check(SplitRule::kCustom, 52696, 96, {0, 36887, 36791, 42157, 42061, 52696});
  CHECK_THROWS_WITH(split_rows(SplitRule::kEttHour, 14399, 96),
                    "split: the series has 14399 rows, expected at least 14400 for an ETT split");
  CHECK_THROWS_WITH(split_rows(SplitRule::kCustom, 100, 96),
                    "split: 100 rows leave 70 for training, expected at least seq_len = 96");
}

TEST_CASE("ForecastData: custom data is scaled by the training rows and the target comes last",
          "[train]") {
  const ForecastData<float> data(ramp(20), small());
  CHECK(data.columns() == std::vector<std::string>{"a", "OT"});
  // Training rows are 0 to 13: mean 6.5, variance (14^2 - 1) / 12.
  CHECK(data.scaler().mean[0] == 6.5);
  CHECK(data.scaler().std[0] == Approx(std::sqrt(195.0 / 12.0)).epsilon(1e-15));
  CHECK(data.scaler().mean[1] == Approx(10 * 58.5).epsilon(1e-15));
  CHECK(data.part(Part::kTrain).count() == 14 - 3 - 2 + 1);
  CHECK(data.part(Part::kVal).count() == 2 + 3 - 3 - 2 + 1);
  CHECK(data.part(Part::kTest).count() == 4 + 3 - 3 - 2 + 1);

  WindowBatch<float> batch;
  data.part(Part::kTest).fetch(std::vector<index_t>{2, 0}, batch);
  const auto z = [&](double r) { return static_cast<float>((r - 6.5) / data.scaler().std[0]); };
  // The test part begins at row 16 - 3: window 2 sees rows 15 to 17 and forecasts 18 and 19.
  CHECK(batch.x.shape() == Shape<3>{2, 3, 2});
  CHECK(batch.x(0, 0, 0) == z(15));
  CHECK(batch.x(0, 2, 0) == z(17));
  CHECK(batch.x(1, 0, 0) == z(13));
  CHECK(batch.y.shape() == Shape<3>{2, 3, 2});
  CHECK(batch.y(0, 0, 0) == z(17));
  CHECK(batch.y(0, 2, 0) == z(19));
  CHECK(batch.target.shape() == Shape<3>{2, 2, 2});
  CHECK(batch.target(0, 0, 0) == z(18));
  CHECK(batch.target(0, 1, 1) == batch.y(0, 2, 1));
  CHECK(batch.x_mark(0, 0, 0) == static_cast<float>(15 / 23.0 - 0.5));
  CHECK(batch.y_mark(1, 2, 0) == static_cast<float>(17 / 23.0 - 0.5));
}

TEST_CASE("ForecastData: double sees the values rounded to float32", "[train]") {
  const ForecastData<float> f(ramp(20), small());
  const ForecastData<double> d(ramp(20), small());
  for (index_t i = 0; i < f.values().size(); ++i)
    CHECK(d.values().data()[i] == static_cast<double>(f.values().data()[i]));
  for (index_t i = 0; i < f.marks().size(); ++i)
    CHECK(d.marks().data()[i] == static_cast<double>(f.marks().data()[i]));
}

TEST_CASE("ForecastData: S keeps the target alone, MS forecasts it alone", "[train]") {
  WindowOptions o = small();
  o.features = Features::kS;
  const ForecastData<float> s(ramp(20), o);
  CHECK(s.columns() == std::vector<std::string>{"OT"});
  o.features = Features::kMS;
  o.scale = false;
  const ForecastData<float> ms(ramp(20), o);
  WindowBatch<float> batch;
  ms.part(Part::kTrain).fetch(std::vector<index_t>{1}, batch);
  CHECK(batch.x.extent(2) == 2);
  CHECK(batch.target.shape() == Shape<3>{1, 2, 1});
  CHECK(batch.target(0, 0, 0) == 160.0f);
  CHECK(batch.target(0, 1, 0) == 250.0f);
}

TEST_CASE("ForecastData: constant columns are scaled by 1", "[train]") {
  Series s = ramp(20);
  for (index_t r = 0; r < 20; ++r) s.values(r, 1) = 0.1;
  const ForecastData<float> data(s, small());
  CHECK(data.scaler().std[0] == 1.0);
  CHECK(std::abs(data.values()(19, 0)) < 1e-15f);
}

TEST_CASE("ForecastData: mistakes are named", "[train]") {
  WindowOptions o = small();
  o.target = "b";
  CHECK_THROWS_WITH(ForecastData<float>(ramp(20), o),
                    "target is \"b\", expected one of the columns OT, a");
  o = small();
  o.pred_len = 3;
  const ForecastData<float> data(ramp(20), o);
  CHECK_THROWS_WITH(data.part(Part::kVal),
                    "windows: the validation part has 5 rows, expected at least 6 (seq_len + "
                    "pred_len)");
  o.label_len = 4;
  CHECK_THROWS_AS(ForecastData<float>(ramp(20), o), ConfigError);
  Series s = ramp(20);
  s.times.pop_back();
  CHECK_THROWS_AS(ForecastData<float>(s, small()), ShapeError);
  WindowBatch<float> batch;
  CHECK_THROWS_WITH(data.part(Part::kTrain).fetch(std::vector<index_t>{0, 9}, batch),
                    "fetch: window 9, expected 0 to 8");
  o = small();
  o.split = SplitRule::kEttHour;
  o.features = Features::kMS;
  CHECK_THROWS_AS(ForecastData<float>(ramp(14400), o), ConfigError);
}

TEST_CASE("WindowSet: a smaller batch reuses the memory of a larger one", "[train]") {
  const ForecastData<float> data(ramp(20), small());
  const auto set = data.part(Part::kTrain);
  WindowBatch<float> batch;
  set.fetch(std::vector<index_t>{0, 1, 2, 3}, batch);
  const float* const memory = std::as_const(batch.x).data();
  set.fetch(std::vector<index_t>{5, 6}, batch);
  CHECK(std::as_const(batch.x).data() == memory);
  CHECK(batch.size() == 2);
  set.fetch(std::vector<index_t>{5, 6, 7, 8}, batch);
  CHECK(std::as_const(batch.x).data() == memory);
  CHECK(batch.size() == 4);
}

TEST_CASE("BatchOrder: an epoch can be repeated and continued", "[train]") {
  Generator generator(7);
  BatchOrder order(10, 3, true, false);
  CHECK(order.batches() == 4);
  order.start(generator);
  const auto at_start = generator.state();
  order.start(generator);
  std::vector<index_t> all;
  std::vector<std::size_t> sizes;
  for (auto b = order.next(); !b.empty(); b = order.next()) {
    all.insert(all.end(), b.begin(), b.end());
    sizes.push_back(b.size());
  }
  CHECK(sizes == std::vector<std::size_t>{3, 3, 3, 1});
  Generator again(at_start);
  BatchOrder resumed(10, 3, true, false);
  resumed.start(again);
  resumed.seek(2);
  const auto b = resumed.next();
  CHECK(std::equal(b.begin(), b.end(), all.begin() + 6));
  CHECK(again.state() == generator.state());
  std::sort(all.begin(), all.end());
  std::vector<index_t> expected(10);
  std::iota(expected.begin(), expected.end(), index_t{0});
  CHECK(all == expected);

  CHECK(BatchOrder(10, 3, false, true).batches() == 3);
  CHECK_THROWS_AS(BatchOrder(2, 3, false, true), ConfigError);
  CHECK_THROWS_AS(BatchOrder(0, 3, false, false), ConfigError);
  CHECK_THROWS_AS(BatchOrder(2, 0, false, false), ConfigError);
}

TEST_CASE("ForecastScore: means over all values, the last channels when there are more",
          "[train]") {
  ForecastScore score;
  CHECK(std::isnan(score.mse()));
  score.add(Tensor<float, 3>({1, 2, 2}, {9, 1, 9, 2}), Tensor<float, 3>({1, 2, 1}, {3, 2}));
  score.add(Tensor<float, 3>({1, 1, 1}, {1}), Tensor<float, 3>({1, 1, 1}, {0}));
  CHECK(score.count() == 3);
  CHECK(score.mse() == Approx(5.0 / 3));
  CHECK(score.mae() == Approx(1.0));
  CHECK_THROWS_AS(score.add(Tensor<float, 3>({1, 2, 1}), Tensor<float, 3>({1, 2, 2})), ShapeError);
}

TEST_CASE("baselines: repeat_last, repeat_mean and seasonal_naive by hand", "[train]") {
  const Tensor<double, 3> x({2, 3, 1}, {1, 2, 6, 10, 20, 60});
  const auto is = [](const Tensor<double, 3>& y, std::vector<double> want) {
    return std::equal(want.begin(), want.end(), y.span().begin(), y.span().end());
  };
  CHECK(is(repeat_last(x, 2), {6, 6, 60, 60}));
  CHECK(is(repeat_mean(x, 2), {3, 3, 30, 30}));
  CHECK(is(seasonal_naive(x, 3, 2), {2, 6, 2, 20, 60, 20}));
  CHECK_THROWS_AS(seasonal_naive(x, 3, 4), ConfigError);
  CHECK_THROWS_AS(repeat_last(Tensor<double, 3>({1, 0, 1}), 2), ShapeError);
}
