#include "sequin/ops/activation.hpp"

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

constexpr Activation kAll[] = {Activation::identity,  Activation::relu,     Activation::gelu,
                               Activation::gelu_tanh, Activation::silu,     Activation::sigmoid,
                               Activation::tanh,      Activation::softplus, Activation::elu};

double plain(Activation activation, double x) {
  switch (activation) {
    case Activation::identity:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::softplus:
      return x > 20 ? x : std::log1p(std::exp(x));
    case Activation::elu:
      return x > 0 ? x : std::expm1(x);
  }
  return NAN;
}

}  // namespace

TEMPLATE_TEST_CASE("activate: every function equals its formula at every length", "[activation]",
                   float, double) {
  // A few ulp of ours, and of the loop those that exp makes of a rounded argument: |argument| ulp,
  // 12 at most. The far tails are in core/vmath_test.cpp.
  const double tolerance = 40 * static_cast<double>(std::numeric_limits<TestType>::epsilon());
  for (const Activation activation : kAll)
    for (const index_t n : {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 100}) {
      const auto x = wavy<TestType, 1>({n}, 0.1, 4);
      const auto y = activate(x, activation);
      for (index_t i = 0; i < n; ++i) {
        const double expected = plain(activation, static_cast<double>(x(i)));
        CAPTURE(static_cast<int>(activation), n, i, x(i));
        REQUIRE(std::abs(static_cast<double>(y(i)) - expected) <= tolerance * std::abs(expected));
      }
    }
}

TEST_CASE("activate: gradients equal finite differences", "[activation]") {
  for (const Activation activation : kAll)
    for (const index_t n : {1, 7, 33}) {
      const auto r = grad_check([=](const auto& t) { return activate(t, activation); },
                                wavy<double, 2>({1, n}, 0.1, 6));
      CAPTURE(static_cast<int>(activation), r.where);
      REQUIRE(r.ok());
    }
}

TEST_CASE("activate: the named functions are the enumerated ones", "[activation]") {
  const auto x = wavy<float, 2>({3, 5}, 0.1, 4);
  REQUIRE(identical(relu(x), activate(x, Activation::relu)));
  REQUIRE(identical(gelu(x), activate(x, Activation::gelu)));
  REQUIRE(identical(gelu_tanh(x), activate(x, Activation::gelu_tanh)));
  REQUIRE(identical(silu(x), activate(x, Activation::silu)));
  REQUIRE(identical(sigmoid(x), activate(x, Activation::sigmoid)));
  REQUIRE(identical(sequin::tanh(x), activate(x, Activation::tanh)));
  REQUIRE(identical(softplus(x), activate(x, Activation::softplus)));
  REQUIRE(identical(elu(x), activate(x, Activation::elu)));
  REQUIRE(activate(x, Activation::identity).data() == std::as_const(x).data());
}

TEST_CASE("activate: NaN stays where it is, forward and backward", "[activation]") {
  for (const Activation activation : kAll)
    for (index_t at = 0; at < 19; at += 3) {
      auto x = wavy<float, 1>({19}, 0.1, 4);
      x(at) = NAN;
      x.set_requires_grad();
      Tape tape;
      const auto y = activate(x, activation);
      const auto dx = tape.gradients(y, wavy<float, 1>({19}, 0.4)).of(x);
      CAPTURE(static_cast<int>(activation), at);
      for (index_t i = 0; i < 19; ++i) {
        REQUIRE(std::isnan(y(i)) == (i == at));
        // The derivatives of identity, relu and of softplus beyond 20 do not depend on x; PyTorch
        // hands the gradient through at NaN, too.
        const bool constant = activation == Activation::identity || activation == Activation::relu;
        REQUIRE(std::isnan(dx(i)) == (i == at && !constant));
      }
      if (activation == Activation::relu) REQUIRE(dx(at) == wavy<float, 1>({19}, 0.4)(at));
    }
}

TEST_CASE("activate: any number of threads gives the same bits", "[activation]") {
  const auto x = wavy<float, 1>({50021}, 0.1, 6);
  for (const Activation activation : kAll) {
    const auto run = [&] {
      auto leaf = x.clone();
      leaf.set_requires_grad();
      Tape tape;
      const auto y = activate(leaf, activation);
      return std::pair(y, tape.gradients(y, x).of(leaf));
    };
    const auto expected = run();
    for (const index_t threads : {2, 3}) {
      ThreadPool pool(threads);
      const ExecutorScope scope(&pool);
      const auto got = run();
      REQUIRE(identical(got.first, expected.first));
      REQUIRE(identical(got.second, expected.second));
    }
  }
}
