#include "sequin/core/eigen.hpp"

#include "sequin/core/eigen_tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

TEST_CASE("eigen: matrix() folds the leading axes and shares the elements", "[eigen]") {
  auto t = wavy<float, 3>({2, 3, 5}, 0.2);
  const Tensor<float, 3>& constant = t;
  REQUIRE(constant.matrix().rows() == 6);
  REQUIRE(constant.matrix().cols() == 5);
  REQUIRE(constant.matrix().data() == constant.data());
  REQUIRE(constant.matrix()(4, 3) == constant(1, 1, 3));
  t.matrix().row(4).setConstant(7);
  REQUIRE(constant(1, 1, 0) == 7);
  t.array() = t.array() * 2;
  REQUIRE(constant(1, 1, 4) == 14);
  REQUIRE(Tensor<float, 1>({4}, 2.f).matrix().rows() == 1);
  REQUIRE(Tensor<double, 0>({}, 2.0).matrix()(0, 0) == 2);
}

TEST_CASE("eigen: writing through a map counts as a change, reading does not", "[eigen]") {
  auto t = wavy<float, 2>({2, 3}, 0.2);
  const auto before = t.version();
  static_cast<void>(std::as_const(t).matrix().sum());
  REQUIRE(t.version() == before);
  t.matrix().setZero();
  REQUIRE(t.version() != before);
}

TEST_CASE("eigen: any expression becomes a row-major tensor", "[eigen]") {
  Eigen::MatrixXd column_major(2, 3);
  column_major << 1, 2, 3, 4, 5, 6;
  REQUIRE(identical(to_tensor(column_major), Tensor<double, 2>({2, 3}, {1, 2, 3, 4, 5, 6})));
  REQUIRE(identical(to_tensor(column_major.transpose()),
                    Tensor<double, 2>({3, 2}, {1, 4, 2, 5, 3, 6})));
  REQUIRE(identical(to_tensor(column_major * column_major.transpose()),
                    Tensor<double, 2>({2, 2}, {14, 32, 32, 77})));
  REQUIRE(identical(to_tensor(column_major.array() + 1),
                    Tensor<double, 2>({2, 3}, {2, 3, 4, 5, 6, 7})));
  REQUIRE(identical(to_tensor(column_major.block(0, 1, 2, 2)),
                    Tensor<double, 2>({2, 2}, {2, 3, 5, 6})));
  REQUIRE(to_tensor(Eigen::VectorXf::Zero(4)).shape() == Shape<2>{4, 1});
  REQUIRE(to_tensor(Eigen::MatrixXf(0, 3)).shape() == Shape<2>{0, 3});
  REQUIRE(
      identical(to_tensor(column_major, Shape<1>{6}), Tensor<double, 1>({6}, {1, 2, 3, 4, 5, 6})));
  REQUIRE_THROWS_AS(to_tensor(column_major, Shape<1>{5}), ShapeError);
}

TEST_CASE("eigen: a tensor goes through an expression and back", "[eigen]") {
  const auto a = wavy<double, 2>({3, 4}, 0.2);
  const auto b = wavy<double, 2>({4, 2}, 0.7);
  const auto c = to_tensor(a.matrix() * b.matrix());
  for (index_t i = 0; i < 3; ++i)
    for (index_t j = 0; j < 2; ++j) {
      double sum = 0;
      for (index_t k = 0; k < 4; ++k) sum += a(i, k) * b(k, j);
      REQUIRE(c(i, j) == Approx(sum).epsilon(1e-14));  // four additions in another order
    }
}

TEST_CASE("eigen: a tensor map has the tensor's rank and elements", "[eigen]") {
  auto t = wavy<float, 3>({2, 3, 5}, 0.2);
  const auto copy = t.clone();
  const auto map = tensor_map(copy);
  REQUIRE(map.dimension(1) == 3);
  REQUIRE(map(1, 2, 3) == copy(1, 2, 3));
  tensor_map(t)(1, 2, 3) = 9;
  REQUIRE(std::as_const(t)(1, 2, 3) == 9);
  const auto doubled = to_tensor<float>(map * 2.f, Shape<3>{2, 3, 5});
  for (index_t i = 0; i < copy.size(); ++i) REQUIRE(doubled.data()[i] == 2 * copy.data()[i]);
}
