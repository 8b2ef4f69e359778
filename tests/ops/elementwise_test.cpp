#include "sequin/ops/elementwise.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <string>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

/// The four operations under one name; `which` is 0 to 3.
template <class T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> apply(int which, const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  switch (which) {
    case 0:
      return a + b;
    case 1:
      return a - b;
    case 2:
      return a * b;
    default:
      return a / b;
  }
}

double apply(int which, double a, double b) {
  return which == 0 ? a + b : which == 1 ? a - b : which == 2 ? a * b : a / b;
}

/// The operand's element under the common index, by counting.
template <class T, std::size_t RankX, std::size_t Rank>
T at(const Tensor<T, RankX>& x, const Shape<Rank>& index) {
  index_t offset = 0;
  for (std::size_t i = 0; i < RankX; ++i) {
    const index_t k = x.extent(i) == 1 ? 0 : index[Rank - RankX + i];
    offset = offset * x.extent(i) + k;
  }
  return x.data()[offset];
}

/// Values against a plain loop (each is one rounded operation: equal) and gradients.
template <std::size_t RankA, std::size_t RankB>
void check(const Shape<RankA>& shape_a, const Shape<RankB>& shape_b, const Shape<RankA>& common) {
  CAPTURE(to_string(shape_a), to_string(shape_b));
  const auto a = wavy<double>(shape_a, 0.4);
  const auto b = wavy<double>(shape_b, 1.1, 0.5, 1.5);  // away from 0: it divides
  for (int which = 0; which < 4; ++which) {
    const auto y = apply(which, a, b);
    const auto y_float = apply(which, a.template cast<float>(), b.template cast<float>());
    REQUIRE(y.shape() == common);
    Shape<RankA> index{};
    for (index_t i = 0; i < y.size(); ++i) {
      index_t rest = i;
      for (std::size_t axis = RankA; axis-- > 0; rest /= common[axis])
        index[axis] = rest % common[axis];
      REQUIRE(y.data()[i] == apply(which, at(a, index), at(b, index)));
      // The operation on two floats, exact to double's precision, rounded once.
      REQUIRE(y_float.data()[i] ==
              static_cast<float>(apply(which, static_cast<double>(static_cast<float>(at(a, index))),
                                       static_cast<double>(static_cast<float>(at(b, index))))));
    }
    const auto r =
        grad_check([=](const auto& u, const auto& v) { return apply(which, u, v); }, a, b);
    INFO(which << ": " << r.where);
    REQUIRE(r.ok());
  }
}

}  // namespace

TEST_CASE("elementwise: every pattern of broadcasting equals a loop, with its gradients",
          "[elementwise]") {
  check<1, 1>({1}, {1}, {1});
  check<1, 1>({17}, {17}, {17});
  check<1, 1>({9}, {1}, {9});
  check<1, 1>({1}, {9}, {9});
  check<0, 0>({}, {}, {});
  check<2, 0>({3, 5}, {}, {3, 5});
  check<3, 3>({2, 3, 5}, {2, 3, 5}, {2, 3, 5});
  check<3, 3>({3, 1, 5}, {1, 4, 5}, {3, 4, 5});
  check<3, 3>({1, 4, 5}, {3, 1, 5}, {3, 4, 5});
  check<3, 3>({3, 4, 1}, {1, 4, 9}, {3, 4, 9});
  check<3, 3>({3, 4, 1}, {3, 1, 9}, {3, 4, 9});
  check<3, 3>({1, 1, 7}, {3, 4, 1}, {3, 4, 7});
  check<3, 3>({3, 4, 7}, {1, 1, 1}, {3, 4, 7});
  check<3, 3>({1, 1, 1}, {3, 4, 7}, {3, 4, 7});
  check<3, 2>({2, 3, 9}, {3, 9}, {2, 3, 9});
  check<3, 2>({2, 3, 9}, {3, 1}, {2, 3, 9});
  check<3, 2>({2, 1, 9}, {3, 1}, {2, 3, 9});
  check<3, 1>({2, 3, 9}, {9}, {2, 3, 9});
  check<3, 1>({2, 3, 1}, {9}, {2, 3, 9});
  check<3, 1>({2, 3, 9}, {1}, {2, 3, 9});
  check<4, 4>({2, 1, 3, 1}, {1, 5, 1, 4}, {2, 5, 3, 4});
  check<4, 2>({2, 5, 1, 4}, {3, 1}, {2, 5, 3, 4});
  check<5, 3>({2, 1, 2, 3, 1}, {2, 1, 3}, {2, 1, 2, 3, 3});
}

TEST_CASE("elementwise: an operand used twice collects both gradients", "[elementwise]") {
  const auto x = wavy<double, 2>({3, 5}, 0.4, 0.5, 1.5);
  for (int which = 0; which < 4; ++which) {
    const auto r = grad_check([=](const auto& u) { return apply(which, u, u); }, x);
    INFO(which << ": " << r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("elementwise: extents of 0 give no elements and zero gradients", "[elementwise]") {
  const Tensor<double, 2> none({0, 5});
  REQUIRE((none + Tensor<double, 1>({5}, 1.0)).shape() == Shape<2>{0, 5});
  REQUIRE((Tensor<double, 2>({1, 5}) * none).shape() == Shape<2>{0, 5});
  REQUIRE((Tensor<double, 2>({3, 1}) / Tensor<double, 2>({3, 0})).shape() == Shape<2>{3, 0});
  Tensor<double, 1> b({5}, 1.0);
  b.set_requires_grad();
  Tape tape;
  const auto y = none * b;
  const auto g = tape.gradients(y, y.detach());
  REQUIRE(identical(g.of(b), Tensor<double, 1>({5})));
  REQUIRE(exp(Tensor<float, 1>({0})).size() == 0);
}

TEST_CASE("elementwise: operands that do not broadcast are named", "[elementwise]") {
  const Tensor<float, 3> a({3, 1, 5});
  REQUIRE_THROWS_WITH(add(a, Tensor<float, 3>({2, 4, 5})),
                      "add: right operand is [2, 4, 5], expected extents of 1 or those of the left "
                      "operand [3, 1, 5]");
  REQUIRE_THROWS_WITH(sub(a, Tensor<float, 1>({4})),
                      "sub: right operand is [4], expected extents of 1 or those of the left "
                      "operand [3, 1, 5]");
  REQUIRE_THROWS_AS(mul(a, Tensor<float, 1>({0})), ShapeError);
  REQUIRE_THROWS_AS(div(Tensor<float, 1>({0}), Tensor<float, 1>({2})), ShapeError);
}

TEST_CASE("elementwise: functions of one tensor equal the C library, with their gradients",
          "[elementwise]") {
  for (const index_t n : {1, 3, 4, 5, 8, 9, 33}) {
    const auto x = wavy<double, 1>({n}, 0.3, 0.9, 1.2);  // 0.3 to 2.1: roots, logarithms
    const auto near = [&](const auto& y, auto f) {
      for (index_t i = 0; i < n; ++i) REQUIRE(y(i) == Approx(f(x(i))).epsilon(1e-14));  // few ulp
    };
    near(scale(x, 3), [](double v) { return 3 * v; });
    near(add_scalar(x, 3), [](double v) { return 3 + v; });
    near(neg(x), [](double v) { return -v; });
    near(square(x), [](double v) { return v * v; });
    near(sequin::sqrt(x), [](double v) { return std::sqrt(v); });
    near(sequin::exp(x), [](double v) { return std::exp(v); });
    near(sequin::log(x), [](double v) { return std::log(v); });
    near(sequin::abs(neg(x)), [](double v) { return v; });
    const auto gradient = [&](auto f) {
      const auto r = grad_check(f, x);
      INFO(r.where);
      REQUIRE(r.ok());
    };
    gradient([](const auto& t) { return scale(t, 3); });
    gradient([](const auto& t) { return add_scalar(t, 3); });
    gradient([](const auto& t) { return neg(t); });
    gradient([](const auto& t) { return square(t); });
    gradient([](const auto& t) { return sequin::sqrt(t); });
    gradient([](const auto& t) { return sequin::exp(t); });
    gradient([](const auto& t) { return sequin::log(t); });
    gradient([](const auto& t) { return sequin::abs(sub(t, Tensor<double, 0>({}, 1.21))); });
  }
}

TEST_CASE("elementwise: gradients at the corners are PyTorch's", "[elementwise]") {
  Tensor<double, 1> x({3}, {0.0, -2.0, NAN});
  x.set_requires_grad();
  Tape tape;
  const auto y = sequin::abs(x);
  const auto g = tape.gradients(y, Tensor<double, 1>({3}, 1.0)).of(x);
  REQUIRE(g(0) == 0);
  REQUIRE(g(1) == -1);
  REQUIRE(std::isnan(g(2)));
  Tape second;
  const auto root = sequin::sqrt(x);
  REQUIRE(std::isinf(second.gradients(root, Tensor<double, 1>({3}, 1.0)).of(x)(0)));
}

TEST_CASE("elementwise: NaN stays where it is and spoils nothing else", "[elementwise]") {
  for (index_t at = 0; at < 19; ++at) {
    auto x = wavy<float, 1>({19}, 0.3, 0.9, 1.2);
    x(at) = NAN;
    const auto b = wavy<float, 1>({19}, 0.3, 0.9, 1.2);
    for (const auto& y :
         {x + b, b - x, x * b, b / x, scale(x, 2), add_scalar(x, 1), neg(x), square(x),
          sequin::sqrt(x), sequin::exp(x), sequin::log(x), sequin::abs(x)})
      for (index_t i = 0; i < 19; ++i) REQUIRE(std::isnan(y(i)) == (i == at));
  }
}

TEST_CASE("elementwise: any number of threads gives the same bits", "[elementwise]") {
  const auto a = wavy<float, 3>({7, 61, 133}, 0.1);
  const auto row = wavy<float, 1>({133}, 0.2, 0.5, 1.5);
  const auto column = wavy<float, 3>({7, 1, 1}, 0.2, 0.5, 1.5);
  const auto flat = wavy<float, 1>({100003}, 0.3);
  const auto run = [&] {
    auto x = a.clone();
    auto r = row.clone();
    auto c = column.clone();
    x.set_requires_grad();
    r.set_requires_grad();
    c.set_requires_grad();
    Tape tape;
    const auto y = exp((x * r) / c) + r;
    const auto g = tape.gradients(y, a);
    return std::tuple(y, g.of(x), g.of(r), g.of(c), flat * flat, flat + Tensor<float, 1>({1}, 2.f));
  };
  const auto expected = run();
  for (const index_t threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    const auto got = run();
    REQUIRE(identical(std::get<0>(got), std::get<0>(expected)));
    REQUIRE(identical(std::get<1>(got), std::get<1>(expected)));
    REQUIRE(identical(std::get<2>(got), std::get<2>(expected)));
    REQUIRE(identical(std::get<3>(got), std::get<3>(expected)));
    REQUIRE(identical(std::get<4>(got), std::get<4>(expected)));
    REQUIRE(identical(std::get<5>(got), std::get<5>(expected)));
  }
}

TEST_CASE("elementwise: the gradient of a broadcast float operand is summed without drift",
          "[elementwise]") {
  // 0.1 in float, 200000 times: a plain float sum is off by 1e-3 of the total.
  const Tensor<float, 2> x({200000, 3});
  Tensor<float, 1> bias({3});
  bias.set_requires_grad();
  Tape tape;
  const auto y = x + bias;
  const auto g = tape.gradients(y, Tensor<float, 2>(y.shape(), 0.1f)).of(bias);
  // One rounding to float.
  for (index_t i = 0; i < 3; ++i) REQUIRE(g(i) == static_cast<float>(200000 * double{0.1f}));
}
