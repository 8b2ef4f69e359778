#include "sequin/ops/student_t_loss.hpp"

#include "sequin/autograd/grad_check.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>

using namespace sequin;
using sequin_test::wavy;

namespace {

Tensor<double, 1> one(double v) { return Tensor<double, 1>({1}, v); }

double loss(double m, double s, double nu, double y) {
  return student_t_loss(one(m), one(s), one(nu), one(y)).item();
}

}  // namespace

TEST_CASE("student_t_loss: known densities", "[loss]") {
  const double pi = std::acos(-1.0);
  // nu = 1 is Cauchy's: 1 / (pi s (1 + z^2)).
  CHECK(loss(0.5, 2, 1, 3.5) == Approx(std::log(pi * 2 * (1 + 2.25))));
  // nu = 2: 1 / (2 sqrt(2) (1 + z^2 / 2)^1.5).
  CHECK(loss(0, 1, 2, 1) == Approx(std::log(2 * std::sqrt(2.0)) + 1.5 * std::log(1.5)));
  // Many degrees of freedom: the normal distribution, to 1/nu.
  CHECK(loss(1, 0.5, 1e6, 1.7) ==
        Approx(0.5 * std::log(2 * pi) + std::log(0.5) + 0.5 * 1.4 * 1.4).epsilon(1e-5));
}

TEST_CASE("student_t_loss: integrates to one", "[loss]") {
  double sum = 0;
  for (int i = -40000; i <= 40000; ++i) sum += std::exp(-loss(0.3, 0.7, 4.5, 0.01 * i)) * 0.01;
  CHECK(sum == Approx(1).epsilon(1e-6));
}

TEST_CASE("student_t_loss: gradients agree with finite differences in all four inputs", "[loss]") {
  const auto r =
      grad_check([](const auto& m, const auto& s, const auto& nu,
                    const auto& y) { return student_t_loss(m, s, nu, y); },
                 wavy<double, 2>({3, 5}, 0.2), wavy<double, 2>({3, 5}, 0.9, 0.4, 1.0),
                 wavy<double, 2>({3, 5}, 1.7, 4.0, 6.0), wavy<double, 2>({3, 5}, 2.1, 3.0));
  INFO(r.where);
  // The mean over 15 elements makes gradients small: relative to 1 the bound is tight.
  CHECK(r.ok(1e-9));
}

TEST_CASE("student_t_loss: digamma at known arguments", "[loss]") {
  const double euler = 0.57721566490153286;
  CHECK(detail::digamma(1) == Approx(-euler).epsilon(1e-13));
  CHECK(detail::digamma(0.5) == Approx(-euler - 2 * std::log(2.0)).epsilon(1e-13));
  CHECK(detail::digamma(10) == Approx(2.2517525890667211).epsilon(1e-13));
  CHECK(detail::digamma(1e-3) == Approx(-1000.5755719318103).epsilon(1e-13));
  CHECK(std::isnan(detail::digamma(-1)));
}

TEST_CASE("student_t_loss: an impossible scale gives NaN, wrong shapes are named", "[loss]") {
  CHECK(std::isnan(loss(0, -1, 3, 0)));
  CHECK(std::isnan(loss(0, 1, 0, 0)));
  CHECK(std::isnan(loss(0, 1, 3, std::nan(""))));
  const Tensor<float, 2> a({2, 3}), b({2, 4});
  CHECK_THROWS_WITH(student_t_loss(a, b, a, a),
                    "student_t_loss: scale is [2, 4], expected [2, 3] as location");
}
