#include "sequin/train/schedule.hpp"

#include "sequin/train/early_stopping.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;

namespace {

std::vector<double> epochs(const Schedule& s, index_t n) {
  std::vector<double> rates;
  for (index_t e = 1; e <= n; ++e) rates.push_back(s.rate(e, 100 * e));
  return rates;
}

}  // namespace

TEST_CASE("Schedule: type1 halves from the third epoch on", "[train]") {
  CHECK(epochs(Schedule::type1(8.0), 5) == std::vector<double>{8, 8, 4, 2, 1});
  CHECK(epochs(Schedule::constant(8.0), 2) == std::vector<double>{8, 8});
}

TEST_CASE("Schedule: type2 takes its table's rate after each named epoch", "[train]") {
  CHECK(epochs(Schedule::type2(1e-4), 12) == std::vector<double>{1e-4, 1e-4, 5e-5, 5e-5, 1e-5, 1e-5,
                                                                 5e-6, 5e-6, 1e-6, 1e-6, 5e-7,
                                                                 5e-7});
  CHECK(Schedule::type2(1e-4).rate(21, 0) == 5e-8);
}

TEST_CASE("Schedule: type3 and cosine over epochs follow the official code", "[train]") {
  const auto r = epochs(Schedule::type3(1.0), 6);
  CHECK(std::vector<double>(r.begin(), r.begin() + 4) == std::vector<double>{1, 1, 1, 1});
  CHECK(r[4] == Approx(0.9));
  CHECK(r[5] == Approx(0.81));
  const auto c = epochs(Schedule::cosine_epochs(1.0, 4), 5);
  CHECK(c[0] == 1.0);
  CHECK(c[1] == Approx(0.5 * (1 + std::sqrt(0.5))));
  CHECK(c[2] == Approx(0.5));
  CHECK(c[4] == Approx(0.0).margin(1e-15));
}

TEST_CASE("Schedule: warm-up is linear, then half a cosine to the floor", "[train]") {
  const auto s = Schedule::warmup_cosine(1.0, 4, 12, 0.1);
  CHECK(s.rate(1, 0) == 0.25);
  CHECK(s.rate(1, 3) == 1.0);
  CHECK(s.rate(1, 4) == 1.0);
  CHECK(s.rate(1, 8) == Approx(0.55));
  CHECK(s.rate(9, 12) == Approx(0.1));
  CHECK(s.rate(9, 1000) == Approx(0.1));
  CHECK_THROWS_AS(Schedule::warmup_cosine(1.0, 5, 5), ConfigError);
  CHECK_THROWS_AS(Schedule::warmup_cosine(1.0, 1, 5, 2.0), ConfigError);
  CHECK_THROWS_AS(Schedule::constant(-1.0), ConfigError);
  CHECK_THROWS_WITH(Schedule::named("type9", 1.0, 2),
                    "lradj is \"type9\", expected constant, type1, type2, type3 or cosine");
  CHECK(Schedule::named("cosine", 1.0, 2).description() !=
        Schedule::named("cosine", 1.0, 3).description());
}

TEST_CASE("EarlyStopping: an equal loss is better, NaN never is, patience counts in a row",
          "[train]") {
  EarlyStopping stopping(2);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(stopping.update(nan));
  CHECK(stopping.update(1.0));
  CHECK(stopping.update(1.0));
  CHECK(stopping.best_epoch() == 3);
  CHECK_FALSE(stopping.update(1.5));
  CHECK_FALSE(stopping.stop());
  CHECK(stopping.update(0.5));
  CHECK_FALSE(stopping.update(nan));
  CHECK_FALSE(stopping.update(0.75));
  CHECK(stopping.stop());
  CHECK(stopping.best() == 0.5);

  EarlyStopping strict(1, 0.25);
  CHECK(strict.update(1.0));
  CHECK_FALSE(strict.update(0.875));
  CHECK(strict.stop());
  EarlyStopping endless(0);
  for (int i = 0; i < 9; ++i) endless.update(i);
  CHECK_FALSE(endless.stop());
  CHECK_THROWS_AS(EarlyStopping(-1), ConfigError);
}
