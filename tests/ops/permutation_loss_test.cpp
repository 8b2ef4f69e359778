#include "sequin/ops/permutation_loss.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

using Order = std::vector<std::int64_t>;

Order row(const Tensor<std::int64_t, 2>& t, index_t b) {
  const std::int64_t* const from = t.data() + b * t.extent(1);
  return {from, from + t.extent(1)};
}

}  // namespace

TEST_CASE("permutation_loss: both orientations of a cyclic permutation", "[permutation_loss]") {
  // Estimate 0 is source 1, 1 is 2, 2 is 0.
  const std::vector<double> cost = {5, 1, 7, 9, 6, 2, 3, 8, 4};
  const Tensor<double, 3> pairwise({1, 3, 3}, cost);
  for (const auto order :
       {PermutationOrder::kSourceOfEstimate, PermutationOrder::kEstimateOfSource}) {
    const auto r = permutation_loss(pairwise, order);
    REQUIRE(r.loss.item() == Approx(2));
    REQUIRE(row(r.source_of_estimate, 0) == Order{1, 2, 0});
    REQUIRE(row(r.estimate_of_source, 0) == Order{2, 0, 1});
  }
}

TEST_CASE("permutation_loss: the first of equal permutations wins in the given order",
          "[permutation_loss]") {
  // The permutations (1, 2, 0) and (2, 0, 1) of the estimates cost 3, all others more.
  const std::vector<float> cost = {9, 1, 1, 1, 9, 1, 1, 1, 9};
  const Tensor<float, 3> pairwise({1, 3, 3}, cost);
  REQUIRE(row(permutation_loss(pairwise).source_of_estimate, 0) == Order{1, 2, 0});
  REQUIRE(row(permutation_loss(pairwise, PermutationOrder::kEstimateOfSource).source_of_estimate,
              0) == Order{2, 0, 1});
  const Tensor<float, 3> equal({1, 2, 2}, 1.0f);
  REQUIRE(row(permutation_loss(equal).source_of_estimate, 0) == Order{0, 1});
}

TEST_CASE("permutation_loss: the optimum of all permutations for one to seven sources",
          "[permutation_loss]") {
  for (index_t C = 1; C <= 7; ++C) {
    const auto pairwise = wavy<double, 3>({5, C, C}, 0.3 + static_cast<double>(C), 10);
    const auto r = permutation_loss(pairwise);
    for (index_t b = 0; b < 5; ++b) {
      std::vector<index_t> p(static_cast<std::size_t>(C));
      std::iota(p.begin(), p.end(), index_t{0});
      double least = std::numeric_limits<double>::infinity();
      do {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += pairwise(b, i, p[static_cast<std::size_t>(i)]);
        least = (std::min)(least, sum / static_cast<double>(C));
      } while (std::next_permutation(p.begin(), p.end()));
      REQUIRE(r.loss.data()[b] == Approx(least).epsilon(1e-12));
      for (index_t i = 0; i < C; ++i)
        REQUIRE(r.estimate_of_source(b, r.source_of_estimate(b, i)) == i);
    }
  }
}

TEST_CASE("permutation_loss: gradients, also through SI-SDR", "[permutation_loss]") {
  for (const index_t C : {2, 3, 4}) {
    const auto plain = grad_check([](auto& x) { return permutation_loss(x).loss; },
                                  wavy<double, 3>({2, C, C}, 0.3, 10));
    INFO(plain.where);
    REQUIRE(plain.ok(1e-6));
  }
  const auto through = grad_check([](auto& e, auto& s) { return si_sdr_loss(e, s).loss; },
                                  wavy<double, 3>({2, 2, 13}, 0.2), wavy<double, 3>({2, 2, 13}, 1));
  INFO(through.where);
  REQUIRE(through.ok(1e-6));
  const Tensor<std::int64_t, 2> order({1, 3}, std::vector<std::int64_t>{2, 0, 1});
  const auto moved = grad_check([&](auto& x) { return reorder_sources(x, order); },
                                wavy<double, 3>({1, 3, 4}, 0.2));
  INFO(moved.where);
  REQUIRE(moved.ok(1e-6));
}

TEST_CASE("permutation_loss: NaN in gives NaN out and ends", "[permutation_loss]") {
  for (const index_t C : {2, 3, 5}) {
    auto pairwise = wavy<float, 3>({2, C, C}, 0.3);
    pairwise(1, 0, 0) = std::numeric_limits<float>::quiet_NaN();
    const auto r = permutation_loss(pairwise);
    REQUIRE(std::isfinite(r.loss.data()[0]));
    REQUIRE(std::isnan(r.loss.data()[1]));
  }
  const Tensor<float, 3> endless({1, 4, 4}, std::numeric_limits<float>::infinity());
  REQUIRE(std::isinf(permutation_loss(endless).loss.item()));
}

TEST_CASE("si_sdr_loss: shuffled sources are found and put in order", "[permutation_loss]") {
  const auto source = wavy<float, 3>({1, 3, 400}, 0.4);
  const Tensor<std::int64_t, 2> shuffle({1, 3}, std::vector<std::int64_t>{1, 2, 0});
  const auto estimate = reorder_sources(source, shuffle);
  const auto r = si_sdr_loss(estimate, source);
  REQUIRE(row(r.source_of_estimate, 0) == Order{1, 2, 0});
  REQUIRE(r.loss.item() < -90);
  REQUIRE(identical(reorder_sources(estimate, r.estimate_of_source), source));
}

TEST_CASE("mean_above: utterances at or below the threshold do not count", "[permutation_loss]") {
  const std::vector<double> values = {-3, 5, -40};
  Tensor<double, 1> loss({3}, values);
  REQUIRE(mean_above(loss, -9999.0).item() == Approx(-38.0 / 3));
  REQUIRE(mean_above(loss, -30.0).item() == Approx(1));
  REQUIRE(mean_above(loss, 5.0).item() == 0);
  loss.set_requires_grad();
  Tape tape;
  const auto g = tape.gradients(mean_above(loss, -30.0)).of(loss);
  REQUIRE(g.data()[0] == 0.5);
  REQUIRE(g.data()[2] == 0);
}

TEST_CASE("permutation_loss: wrong shapes are refused", "[permutation_loss]") {
  REQUIRE_THROWS_AS(permutation_loss(Tensor<float, 3>({1, 2, 3})), ShapeError);
  REQUIRE_THROWS_AS(si_sdr_loss(Tensor<float, 3>({1, 2, 8}), Tensor<float, 3>({1, 3, 8})),
                    ShapeError);
  const Tensor<std::int64_t, 2> far({1, 2}, std::vector<std::int64_t>{0, 2});
  REQUIRE_THROWS_WITH(reorder_sources(Tensor<float, 3>({1, 2, 8}), far),
                      "reorder_sources: row 2 is out of range [0, C=2)");
}
