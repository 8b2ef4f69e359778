#include "sequin/ops/shape.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/ops/elementwise.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

TEST_CASE("reshape: the elements are shared and the gradient keeps its order", "[shape]") {
  const auto x = wavy<double, 3>({2, 3, 5}, 0.2);
  const auto y = reshape(x, Shape<2>{6, 5});
  REQUIRE(y.data() == x.data());
  REQUIRE(y.shape() == Shape<2>{6, 5});
  REQUIRE(grad_check([](const auto& t) { return square(reshape(t, Shape<1>{30})); }, x).ok());
  REQUIRE(reshape(Tensor<float, 2>({0, 3}), Shape<1>{0}).size() == 0);
  REQUIRE_THROWS_WITH(reshape(x, Shape<2>{7, 5}),
                      "reshape: [2, 3, 5] has 30 elements, [7, 5] another number");
}

TEST_CASE("transpose: every pair of axes is exchanged, with its gradient", "[shape]") {
  const auto x = wavy<double, 4>({2, 3, 5, 4}, 0.2);
  for (std::size_t first = 0; first < 4; ++first)
    for (std::size_t second = 0; second < 4; ++second) {
      const auto y = transpose(x, first, second);
      Shape<4> i{};
      for (i[0] = 0; i[0] < 2; ++i[0])
        for (i[1] = 0; i[1] < 3; ++i[1])
          for (i[2] = 0; i[2] < 5; ++i[2])
            for (i[3] = 0; i[3] < 4; ++i[3]) {
              Shape<4> j = i;
              std::swap(j[first], j[second]);
              REQUIRE(y(j[0], j[1], j[2], j[3]) == x(i[0], i[1], i[2], i[3]));
            }
      REQUIRE(
          grad_check([=](const auto& t) { return square(transpose(t, first, second)); }, x).ok());
    }
}

TEST_CASE("transpose: twice is nothing, also beyond the block size and for other elements",
          "[shape]") {
  for (const index_t rows : {0, 1, 15, 16, 17, 70}) {
    const auto x = wavy<float, 2>({rows, 33}, 0.2);
    const auto y = transpose(x, 0, 1);
    REQUIRE(y.shape() == Shape<2>{33, rows});
    for (index_t i = 0; i < rows; ++i) REQUIRE(y(32, i) == x(i, 32));
    REQUIRE(identical(transpose(y, 1, 0), x));
  }
  const Tensor<std::int64_t, 2> ids({2, 3}, {1, 2, 3, 4, 5, 6});
  REQUIRE(transpose(ids, 0, 1)(2, 0) == 3);
}

TEST_CASE("transpose: an axis with itself gives the tensor", "[shape]") {
  const auto x = wavy<double, 2>({3, 5}, 0.2);
  REQUIRE(identical(transpose(x, 0, 0), x));
  REQUIRE(identical(transpose(x, 1, 1), x));
  REQUIRE_THROWS_WITH(transpose(x, 0, 2), "transpose: axes 0 and 2 of [3, 5]");
}

TEST_CASE("slice: entries of each axis are copied, with their gradient", "[shape]") {
  const auto x = wavy<double, 3>({3, 4, 5}, 0.2);
  for (std::size_t axis = 0; axis < 3; ++axis)
    for (index_t begin = 0; begin <= x.extent(axis); ++begin)
      for (index_t end = begin; end <= x.extent(axis); ++end) {
        const auto y = slice(x, axis, begin, end);
        REQUIRE(y.extent(axis) == end - begin);
        Shape<3> i{};
        for (i[0] = 0; i[0] < y.extent(0); ++i[0])
          for (i[1] = 0; i[1] < y.extent(1); ++i[1])
            for (i[2] = 0; i[2] < y.extent(2); ++i[2]) {
              Shape<3> from = i;
              from[axis] += begin;
              REQUIRE(y(i[0], i[1], i[2]) == x(from[0], from[1], from[2]));
            }
        REQUIRE(
            grad_check([=](const auto& t) { return square(slice(t, axis, begin, end)); }, x).ok());
      }
}

TEST_CASE("slice: entries that are not there are named", "[shape]") {
  const Tensor<float, 2> x({3, 5});
  REQUIRE_THROWS_WITH(slice(x, 1, 2, 6), "slice: entries 2 to 6 of axis 1 of [3, 5]");
  REQUIRE_THROWS_AS(slice(x, 0, -1, 2), ShapeError);
  REQUIRE_THROWS_AS(slice(x, 0, 2, 1), ShapeError);
  REQUIRE_THROWS_AS(slice(x, 2, 0, 1), ShapeError);
}

TEST_CASE("concat: slices of a concatenation are its parts, with their gradients", "[shape]") {
  for (std::size_t axis = 0; axis < 3; ++axis)
    for (const index_t other : {0, 1, 3}) {
      const auto a = wavy<double, 3>({3, 2, 5}, 0.2);
      Shape<3> shape = a.shape();
      shape[axis] = other;
      const auto b = wavy<double, 3>(shape, 0.9);
      const auto y = concat(a, b, axis);
      REQUIRE(identical(slice(y, axis, index_t{0}, a.extent(axis)), a));
      REQUIRE(identical(slice(y, axis, a.extent(axis), y.extent(axis)), b));
      REQUIRE(identical(concat(b, a, axis).clone(), concat(b, a, axis)));
      REQUIRE(
          grad_check([=](const auto& s, const auto& t) { return square(concat(s, t, axis)); }, a, b)
              .ok());
      REQUIRE(
          grad_check([=](const auto& s, const auto& t) { return square(concat(t, s, axis)); }, a, b)
              .ok());
    }
  const auto x = wavy<double, 1>({3}, 0.2);
  REQUIRE(grad_check([](const auto& t) { return square(concat(t, t, 0)); }, x).ok());
}

TEST_CASE("concat: extents that differ are named", "[shape]") {
  const Tensor<float, 2> a({3, 5});
  REQUIRE_THROWS_WITH(concat(a, Tensor<float, 2>({2, 4}), 0),
                      "concat: b is [2, 4], expected [2, 5] but for axis 0 (from a)");
  REQUIRE_THROWS_AS(concat(a, a, 2), ShapeError);
}

TEST_CASE("shape operations: NaN moves with its element", "[shape]") {
  auto x = wavy<float, 2>({3, 5}, 0.2);
  x(1, 2) = NAN;
  REQUIRE(std::isnan(transpose(x, 0, 1)(2, 1)));
  REQUIRE(std::isnan(slice(x, 0, 1, 2)(0, 2)));
  REQUIRE(std::isnan(concat(x, x, 1)(1, 7)));
  REQUIRE(std::isnan(reshape(x, Shape<1>{15})(7)));
}
