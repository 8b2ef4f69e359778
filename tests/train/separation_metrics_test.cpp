#include "sequin/train/separation_metrics.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <vector>

using namespace sequin;

namespace {

using Signal = std::vector<float>;
using Signals = std::vector<std::span<const float>>;

Signal tone(double step, double noise = 0) {
  Signal x(1000);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double t = static_cast<double>(i);
    x[i] = static_cast<float>(std::sin(step * t) + noise * std::sin(1.7 * t * t) + 0.1);
  }
  return x;
}

double si_sdr_of(const Signal& e, const Signal& s) {
  return si_sdr_db(std::span<const float>(e), std::span<const float>(s));
}

}  // namespace

TEST_CASE("si_sdr_db: a tenth of noise is 20 dB", "[separation_metrics]") {
  // Orthogonal by construction: cosine and sine over whole periods.
  Signal s, e;
  for (int i = 0; i < 1000; ++i) {
    const double phase = 6.283185307179586 * i / 50;
    s.push_back(static_cast<float>(std::sin(phase)));
    e.push_back(static_cast<float>(3 * (std::sin(phase) + 0.1 * std::cos(phase)) + 7));
  }
  REQUIRE(si_sdr_of(e, s) == Approx(20).epsilon(1e-5));
}

TEST_CASE("si_sdr_db: a constant source is not a number", "[separation_metrics]") {
  REQUIRE(std::isnan(si_sdr_of(tone(0.1), Signal(1000, 0.5f))));
  REQUIRE(si_sdr_of(tone(0.1), tone(0.1)) > 100);
}

TEST_CASE("score_separation: estimates find their sources", "[separation_metrics]") {
  const Signal a = tone(0.11), b = tone(0.23), c = tone(0.31);
  const Signal ha = tone(0.11, 0.1), hb = tone(0.23, 0.05), hc = tone(0.31, 0.2);
  Signal mixture(1000);
  for (std::size_t i = 0; i < mixture.size(); ++i) mixture[i] = a[i] + b[i] + c[i];
  const Signals estimates = {hb, hc, ha}, sources = {a, b, c};
  const auto score = score_separation<float>(estimates, sources, std::span<const float>(mixture));
  REQUIRE(score.estimate_of_source == std::vector<index_t>{2, 0, 1});
  REQUIRE(score.si_sdr[0] == si_sdr_of(ha, a));
  REQUIRE(score.mixture[1] == si_sdr_of(mixture, b));
  REQUIRE(score.mean_si_sdr() == Approx((score.si_sdr[0] + score.si_sdr[1] + score.si_sdr[2]) / 3));
  REQUIRE(score.improvement() == Approx(score.mean_si_sdr() - score.mean_mixture()));
  REQUIRE(score.improvement() > 10);
}

TEST_CASE("score_separation: of two a tie goes to the swapped one", "[separation_metrics]") {
  const Signal a = tone(0.11), h = tone(0.13);
  const Signals estimates = {h, h}, sources = {a, a};
  const auto score = score_separation<float>(estimates, sources);
  REQUIRE(score.estimate_of_source == std::vector<index_t>{1, 0});
  REQUIRE(score.mixture.empty());
}

TEST_CASE("score_separation: other numbers and lengths are refused", "[separation_metrics]") {
  const Signal a = tone(0.1), shorter(999);
  const Signals one = {a}, two = {a, a}, uneven = {a, shorter};
  REQUIRE_THROWS_WITH(score_separation<float>(one, two),
                      "si_sdr: 1 estimates, expected 2 as the sources");
  REQUIRE_THROWS_WITH(score_separation<float>(uneven, two),
                      "si_sdr: estimate 2 has 999 samples, expected 1000");
  REQUIRE_THROWS_AS(score_separation<float>(Signals{}, Signals{}), ShapeError);
}
