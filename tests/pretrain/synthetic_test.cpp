// Synthetic series of examples/pretrain.
#include "pretrain/synthetic.hpp"
#include "support/catch.hpp"

#include <set>

using namespace sequin_pretrain;

TEST_CASE("synthetic series: a seed and a number give the same values, others give others") {
  for (std::uint64_t i = 0; i < 20; ++i) {
    INFO("series " << i);
    const NamedSeries first = synthetic_series(3, i, 200);
    CHECK(first.values == synthetic_series(3, i, 200).values);
    CHECK(first.values != synthetic_series(4, i, 200).values);
    CHECK(first.values != synthetic_series(3, i + 10, 200).values);
  }
}

TEST_CASE("synthetic series: a set is its numbered series") {
  const auto set = synthetic_series_of(9, 25, 64);
  REQUIRE(set.size() == 25);
  for (std::size_t i = 0; i < set.size(); ++i) {
    CHECK(set[i].name == synthetic_series(9, i, 64).name);
    CHECK(set[i].values == synthetic_series(9, i, 64).values);
  }
}

TEST_CASE("synthetic series: all families give finite values that move, and seasons that fit") {
  std::set<std::string> families;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const NamedSeries s = synthetic_series(1, i, 384);
    INFO(s.name);
    REQUIRE(s.values.size() == 384);
    const bool finite =
        std::all_of(s.values.begin(), s.values.end(), [](float v) { return std::isfinite(v); });
    CHECK(finite);
    CHECK(std::set<float>(s.values.begin(), s.values.end()).size() > 1);
    CHECK(s.period >= 1);
    CHECK(s.period <= 96);
    const std::size_t begin = s.name.find('/') + 1;
    families.insert(s.name.substr(begin, s.name.rfind('/') - begin));
  }
  CHECK(families.size() == 10);
}

TEST_CASE("synthetic series: the named period is one of the series") {
  // Of the seasonal family: the autocorrelation at the period beats that at half of it mostly.
  int more = 0, all = 0;
  for (std::uint64_t i = 0; i < 2000; i += 10) {
    const NamedSeries s = synthetic_series(5, i, 768);
    if (s.period < 12) continue;
    const auto difference = [&](std::size_t lag) {
      double sum = 0;
      for (std::size_t t = lag; t < s.values.size(); ++t)
        sum += std::abs(static_cast<double>(s.values[t]) - static_cast<double>(s.values[t - lag]));
      return sum / static_cast<double>(s.values.size() - lag);
    };
    const auto period = static_cast<std::size_t>(s.period);
    more += difference(period) < difference(period / 2) ? 1 : 0;
    ++all;
  }
  REQUIRE(all > 50);
  CHECK(more > 3 * all / 4);
}
