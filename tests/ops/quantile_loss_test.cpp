#include "sequin/ops/quantile_loss.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace sequin;
using sequin_test::wavy;

namespace {

double pinball(double prediction, double target, double q) {
  return target > prediction ? q * (target - prediction) : (1 - q) * (prediction - target);
}

}  // namespace

TEST_CASE("quantile_loss: is the mean of the pinball function at any size", "[loss]") {
  for (const index_t n : {1, 3, 4, 5, 8, 9, 31})
    for (const double q : {0.1, 0.5, 0.93}) {
      const auto p = wavy<double, 2>({2, n}, 0.3), t = wavy<double, 2>({2, n}, 1.1);
      double expected = 0;
      for (index_t i = 0; i < 2 * n; ++i) expected += pinball(p.data()[i], t.data()[i], q);
      CHECK(quantile_loss(p, t, q).item() == Approx(expected / static_cast<double>(2 * n)));
    }
  const auto p = wavy<double, 2>({3, 5}, 0.3), t = wavy<double, 2>({3, 5}, 1.1);
  CHECK(quantile_loss(p, t, 0.5).item() == Approx(mae_loss(p, t).item() / 2));
}

TEST_CASE("quantile_loss: is smallest at the quantile of the targets", "[loss]") {
  Tensor<double, 1> t({100});
  for (index_t i = 0; i < 100; ++i) t(i) = static_cast<double>(i) + 0.5;
  const auto at = [&](double level) {
    return quantile_loss(Tensor<double, 1>({100}, level), t, 0.8).item();
  };
  CHECK(at(80) < at(76));
  CHECK(at(80) < at(84));
}

TEST_CASE("quantile_loss: gradients agree with finite differences and are 0 at equality",
          "[loss]") {
  const auto r = grad_check([](const auto& p, const auto& t) { return quantile_loss(p, t, 0.3); },
                            wavy<double, 2>({3, 5}, 0.2), wavy<double, 2>({3, 5}, 1.0));
  INFO(r.where);
  CHECK(r.ok());
  auto x = wavy<double, 1>({3}, 0.2);
  x.set_requires_grad();
  Tape tape;
  const auto g = tape.gradients(quantile_loss(x, x.detach(), 0.3));
  for (const double v : g.of(x).span()) CHECK(v == 0);
}

TEST_CASE("quantile_losses: is the mean over the quantiles, with gradients", "[loss]") {
  const std::vector<double> q{0.1, 0.5, 0.9};
  const auto p = wavy<double, 3>({2, 5, 3}, 0.3);
  const auto t = wavy<double, 2>({2, 5}, 1.1);
  double expected = 0;
  for (index_t r = 0; r < 10; ++r)
    for (index_t k = 0; k < 3; ++k)
      expected += pinball(p.data()[r * 3 + k], t.data()[r], q[static_cast<std::size_t>(k)]) / 30;
  CHECK(quantile_losses(p, t, q).item() == Approx(expected));
  const auto r =
      grad_check([&](const auto& a, const auto& b) { return quantile_losses(a, b, q); }, p, t);
  INFO(r.where);
  CHECK(r.ok());
}

TEST_CASE("quantile_loss: mistakes are named", "[loss]") {
  const Tensor<float, 2> p({2, 3});
  CHECK_THROWS_WITH(quantile_loss(p, Tensor<float, 2>({2, 4}), 0.5),
                    "quantile_loss: target is [2, 4], expected [2, 3] as the prediction");
  CHECK_THROWS_WITH(quantile_loss(p, p, 1.0),
                    "quantile_loss: quantile is 1.000000, expected above 0 and below 1");
  CHECK_THROWS_AS(quantile_loss(p, p, std::nan("")), ConfigError);
  const std::vector<double> two{0.1, 0.9};
  CHECK_THROWS_WITH(quantile_losses(p, Tensor<float, 1>({2}), two),
                    "quantile_losses: prediction is [2, 3], expected [2, 2] (target [2], Q=2 "
                    "quantiles)");
}
