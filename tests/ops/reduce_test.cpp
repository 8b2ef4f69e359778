#include "sequin/ops/reduce.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

TEST_CASE("reduce: sums and means over each axis equal a loop, with their gradients", "[reduce]") {
  const auto x = wavy<double, 3>({3, 4, 5}, 0.2);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto s = sum(x, axis);
    const auto m = mean(x, axis);
    const auto kept = sum(x, axis, keep_axis);
    Shape<3> shape = x.shape();
    shape[axis] = 1;
    REQUIRE(kept.shape() == shape);
    REQUIRE(mean(x, axis, keep_axis).shape() == shape);
    REQUIRE(s.size() * x.extent(axis) == x.size());
    Tensor<double, 3> expected(shape);
    Shape<3> i{};
    for (i[0] = 0; i[0] < 3; ++i[0])
      for (i[1] = 0; i[1] < 4; ++i[1])
        for (i[2] = 0; i[2] < 5; ++i[2]) {
          Shape<3> to = i;
          to[axis] = 0;
          expected(to[0], to[1], to[2]) += x(i[0], i[1], i[2]);
        }
    const double n = static_cast<double>(x.extent(axis));
    for (index_t k = 0; k < s.size(); ++k) {
      REQUIRE(s.data()[k] == expected.data()[k]);  // the same additions in the same order
      REQUIRE(kept.data()[k] == s.data()[k]);
      REQUIRE(m.data()[k] == Approx(s.data()[k] / n).epsilon(1e-15));
    }
    REQUIRE(grad_check([=](const auto& t) { return square(sum(t, axis)); }, x).ok());
    REQUIRE(grad_check([=](const auto& t) { return square(mean(t, axis)); }, x).ok());
    REQUIRE(grad_check([=](const auto& t) { return square(sum(t, axis, keep_axis)); }, x).ok());
    REQUIRE(grad_check([=](const auto& t) { return square(mean(t, axis, keep_axis)); }, x).ok());
  }
}

TEST_CASE("reduce: sums and means of everything, with their gradients", "[reduce]") {
  for (const index_t n : {1, 2, 65, 131}) {
    const auto x = wavy<double, 2>({n, 3}, 0.2);
    double total = 0;
    for (const double v : x.span()) total += v;
    REQUIRE(sum(x).item() == Approx(total).epsilon(1e-13));  // another order of 400 additions
    REQUIRE(mean(x).item() == Approx(total / static_cast<double>(3 * n)).epsilon(1e-13));
    REQUIRE(grad_check([](const auto& t) { return sum(square(t)); }, x).ok());
    REQUIRE(grad_check([](const auto& t) { return mean(square(t)); }, x).ok());
  }
  REQUIRE(sum(wavy<float, 1>({7}, 0.1), 0).shape() == Shape<0>{});
  REQUIRE(grad_check([](const auto& t) { return sum(t, 0); }, wavy<double, 1>({7}, 0.1)).ok());
}

TEST_CASE("reduce: a long float sum does not drift", "[reduce]") {
  const Tensor<float, 1> x({1 << 20}, 0.1f);
  const double exact = static_cast<double>(1 << 20) * double{0.1f};
  REQUIRE(sum(x).item() == static_cast<float>(exact));
  REQUIRE(sum(x, 0).item() == static_cast<float>(exact));
  REQUIRE(mean(x).item() == 0.1f);
  // In double, pairwise: 20 levels of rounding at most.
  REQUIRE(sum(Tensor<double, 1>({1 << 20}, 0.1)).item() == Approx(0.1 * (1 << 20)).epsilon(5e-15));
}

TEST_CASE("reduce: nothing sums to 0, and its mean is NaN", "[reduce]") {
  const Tensor<double, 2> none({0, 3});
  REQUIRE(sum(none).item() == 0);
  REQUIRE(std::isnan(mean(none).item()));
  REQUIRE(identical(sum(none, 0), Tensor<double, 1>({3})));
  REQUIRE(std::isnan(mean(none, 0)(1)));
  REQUIRE(sum(none, 1).shape() == Shape<1>{0});
  auto x = none.clone();
  x.set_requires_grad();
  Tape tape;
  const auto s = sum(x, 0);
  REQUIRE(tape.gradients(s, s.detach()).of(x).shape() == Shape<2>{0, 3});
}

TEST_CASE("reduce: NaN and infinity reach the sums that they are part of", "[reduce]") {
  auto x = wavy<float, 2>({3, 5}, 0.2);
  x(1, 2) = NAN;
  const auto columns = sum(x, 0);
  for (index_t i = 0; i < 5; ++i) REQUIRE(std::isnan(columns(i)) == (i == 2));
  const auto rows = mean(x, 1);
  for (index_t i = 0; i < 3; ++i) REQUIRE(std::isnan(rows(i)) == (i == 1));
  REQUIRE(std::isnan(mean(x).item()));
  x(1, 2) = INFINITY;
  REQUIRE(std::isinf(sum(x).item()));
}

TEST_CASE("reduce: an axis that is not there is named", "[reduce]") {
  REQUIRE_THROWS_WITH(sum(Tensor<float, 2>({3, 5}), 2), "sum: axis 2 of [3, 5]");
  REQUIRE_THROWS_WITH(mean(Tensor<float, 2>({3, 5}), 2, keep_axis), "mean: axis 2 of [3, 5]");
}

TEST_CASE("reduce: any number of threads gives the same bits", "[reduce]") {
  const auto x = wavy<float, 3>({11, 203, 77}, 0.2);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const auto alone = sum(x, axis);
    for (const index_t threads : {2, 3}) {
      ThreadPool pool(threads);
      const ExecutorScope scope(&pool);
      REQUIRE(identical(sum(x, axis), alone));
    }
  }
}
