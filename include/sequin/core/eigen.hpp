/// Opt-in: tensors as Eigen maps and Eigen expressions as tensors, without a copy where there need
/// be none.
#pragma once

#include "sequin/core/tensor.hpp"

#include <Eigen/Core>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T>
using RowMajorMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using RowMajorArray = Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace detail

template <class T, std::size_t Rank>
auto Tensor<T, Rank>::matrix() const {
  return Eigen::Map<const detail::RowMajorMatrix<T>>(data_, rows(), cols());
}
template <class T, std::size_t Rank>
auto Tensor<T, Rank>::matrix() {
  return Eigen::Map<detail::RowMajorMatrix<T>>(data(), rows(), cols());
}
template <class T, std::size_t Rank>
auto Tensor<T, Rank>::array() const {
  return Eigen::Map<const detail::RowMajorArray<T>>(data_, rows(), cols());
}
template <class T, std::size_t Rank>
auto Tensor<T, Rank>::array() {
  return Eigen::Map<detail::RowMajorArray<T>>(data(), rows(), cols());
}

/// A tensor with the values of any Eigen matrix or array expression: (rows, cols), row-major
/// whatever the storage order of the expression.
template <class Derived>
Tensor<typename Derived::Scalar, 2> to_tensor(const Eigen::DenseBase<Derived>& expression) {
  using T = typename Derived::Scalar;
  auto t = Tensor<T, 2>::empty({expression.rows(), expression.cols()});
  t.array() = expression.derived().array();
  return t;
}

/// The same with given extents: the expression's (row-major) elements, `shape` in all.
/// Throws ShapeError when the number of elements differs.
template <class Derived, std::size_t Rank>
Tensor<typename Derived::Scalar, Rank> to_tensor(const Eigen::DenseBase<Derived>& expression,
                                                 const Shape<Rank>& shape) {
  return to_tensor(expression).reshaped(shape);
}

}  // namespace sequin::inline SEQUIN_ABI
