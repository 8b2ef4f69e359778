#include "sequin/ops/si_sdr.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <limits>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

constexpr double kEps = 1e-8;

/// The formula with plain loops; the estimate is cut at `length`, the source only after its mean.
double reference(const Tensor<double, 3>& e, const Tensor<double, 3>& s, index_t b, index_t i,
                 index_t j, index_t length) {
  const index_t n = e.extent(2);
  double e_mean = 0, s_mean = 0;
  for (index_t t = 0; t < n; ++t) {
    if (t < length) e_mean += e(b, i, t);
    s_mean += s(b, j, t);
  }
  e_mean /= static_cast<double>(length);
  s_mean /= static_cast<double>(length);
  double dot = 0, energy = 0;
  for (index_t t = 0; t < length; ++t) {
    dot += (e(b, i, t) - e_mean) * (s(b, j, t) - s_mean);
    energy += (s(b, j, t) - s_mean) * (s(b, j, t) - s_mean);
  }
  double projected = 0, noise = 0;
  for (index_t t = 0; t < length; ++t) {
    const double p = dot * (s(b, j, t) - s_mean) / (energy + kEps);
    projected += p * p;
    noise += (e(b, i, t) - e_mean - p) * (e(b, i, t) - e_mean - p);
  }
  return 10 * std::log10(projected / (noise + kEps) + kEps);
}

}  // namespace

TEST_CASE("si_sdr_pairwise: every estimate against every source as the formula", "[si_sdr]") {
  for (const index_t n : {1, 2, 7, 8, 9, 31, 1025, 2500}) {
    const auto e = wavy<double, 3>({2, 3, n}, 0.2, 1, 0.4);
    const auto s = wavy<double, 3>({2, 2, n}, 1.1, 0.5, -0.2);
    const std::int64_t cut[] = {n, (n + 1) / 2};
    for (const bool with_lengths : {false, true}) {
      const auto y = si_sdr_pairwise(
          e, s,
          with_lengths ? std::span<const std::int64_t>(cut) : std::span<const std::int64_t>{});
      REQUIRE(y.shape() == Shape<3>{2, 3, 2});
      for (index_t b = 0; b < 2; ++b)
        for (index_t i = 0; i < 3; ++i)
          for (index_t j = 0; j < 2; ++j) {
            const double expected = reference(e, s, b, i, j, with_lengths ? cut[b] : n);
            // Sums of some thousand terms in another order; -80 dB is all epsilon.
            REQUIRE(y(b, i, j) == Approx(expected).epsilon(1e-9).margin(1e-9));
          }
    }
  }
}

TEST_CASE("si_sdr_pairwise: float agrees with double", "[si_sdr]") {
  const auto e = wavy<float, 3>({1, 2, 8000}, 0.2, 1, 0.4);
  const auto s = wavy<float, 3>({1, 2, 8000}, 0.5, 0.5, -0.2);
  const auto y = si_sdr_pairwise(e, s);
  const auto wide = si_sdr_pairwise(e.cast<double>(), s.cast<double>());
  for (index_t i = 0; i < y.size(); ++i)
    REQUIRE(static_cast<double>(y.data()[i]) == Approx(wide.data()[i]).epsilon(1e-5));
}

TEST_CASE("si_sdr: gradients with respect to estimate and source", "[si_sdr]") {
  const auto e = wavy<double, 3>({2, 2, 11}, 0.2, 1, 0.4);
  const auto s = wavy<double, 3>({2, 3, 11}, 1.1, 0.5, -0.2);
  const auto whole = grad_check([](auto& x, auto& y) { return si_sdr_pairwise(x, y); }, e, s);
  INFO(whole.where);
  REQUIRE(whole.ok(1e-6));
  const std::int64_t cut[] = {11, 5};
  const auto masked =
      grad_check([&](auto& x, auto& y) { return si_sdr_pairwise(x, y, cut); }, e, s);
  INFO(masked.where);
  REQUIRE(masked.ok(1e-6));
  const auto rows = grad_check([](auto& x, auto& y) { return si_sdr(x, y); },
                               wavy<double, 2>({3, 9}, 0.2), wavy<double, 2>({3, 9}, 0.9));
  INFO(rows.where);
  REQUIRE(rows.ok(1e-6));
}

TEST_CASE("si_sdr: a silent source is -80 dB and a perfect estimate is finite", "[si_sdr]") {
  const auto e = wavy<float, 2>({1, 100}, 0.2);
  auto silence = Tensor<float, 2>({1, 100});
  REQUIRE(si_sdr(e, silence).item() == Approx(-80));
  REQUIRE(std::isfinite(si_sdr(e, e).item()));
  REQUIRE(si_sdr(e, e).item() > 90);
  // One sample is its own mean: nothing is left.
  REQUIRE(si_sdr(wavy<float, 2>({1, 1}, 0.2), wavy<float, 2>({1, 1}, 0.9)).item() == Approx(-80));

  auto x = e.clone(), y = silence.clone();
  x.set_requires_grad(), y.set_requires_grad();
  Tape tape;
  const auto g = tape.gradients(si_sdr(x, y));
  for (const float d : g.of(x).span()) REQUIRE(d == 0);
  for (const float d : g.of(y).span()) REQUIRE(std::isfinite(d));
}

TEST_CASE("si_sdr: neither scale nor offset of the estimate matters", "[si_sdr]") {
  const auto e = wavy<double, 2>({1, 500}, 0.2), s = wavy<double, 2>({1, 500}, 0.6);
  auto louder = e.clone();
  for (double& v : louder.span()) v = 30 * v + 2;
  REQUIRE(si_sdr(louder, s).item() == Approx(si_sdr(e, s).item()).epsilon(1e-9));
}

TEST_CASE("si_sdr: NaN in gives NaN out, in that item alone", "[si_sdr]") {
  auto e = wavy<float, 2>({2, 50}, 0.2);
  const auto s = wavy<float, 2>({2, 50}, 0.6);
  e(1, 7) = std::numeric_limits<float>::quiet_NaN();
  const auto y = si_sdr(e, s);
  REQUIRE(std::isfinite(y.data()[0]));
  REQUIRE(std::isnan(y.data()[1]));
}

TEST_CASE("si_sdr: results do not depend on threads or on the batch", "[si_sdr]") {
  const auto e = wavy<float, 3>({3, 2, 3001}, 0.2), s = wavy<float, 3>({3, 2, 3001}, 0.6);
  const auto alone = si_sdr_pairwise(e, s);
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  REQUIRE(identical(si_sdr_pairwise(e, s), alone));
  const auto last = si_sdr_pairwise(slice(e, 0, 2, 3), slice(s, 0, 2, 3));
  REQUIRE(identical(last, slice(alone, 0, 2, 3)));
}

TEST_CASE("si_sdr: wrong shapes and lengths are refused", "[si_sdr]") {
  const Tensor<float, 3> e({2, 2, 8});
  const auto message = [&](const Tensor<float, 3>& s, std::vector<std::int64_t> lengths) {
    try {
      si_sdr_pairwise(e, s, lengths);
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  REQUIRE(message(Tensor<float, 3>({2, 2, 7}), {}) ==
          "si_sdr: source is [2, 2, 7], expected [B=2, S, T=8] with T >= 1 (from estimate [2, 2, "
          "8])");
  REQUIRE(message(e, {8}) == "si_sdr: 1 lengths, expected B=2");
  REQUIRE(message(e, {8, 9}) == "si_sdr: length 9 is out of range [1, T=8]");
  REQUIRE(message(e, {0, 8}) == "si_sdr: length 0 is out of range [1, T=8]");
  REQUIRE_THROWS_AS(si_sdr_pairwise(Tensor<float, 3>({1, 1, 0}), Tensor<float, 3>({1, 1, 0})),
                    ShapeError);
}
