/// Opt-in: tensors as Eigen::TensorMap (the unsupported Tensor module costs seconds to compile).
#pragma once

#include "sequin/core/eigen.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

namespace sequin::inline SEQUIN_ABI {

/// The elements as a row-major Eigen tensor of the same rank; valid as long as `t`'s storage.
template <class T, std::size_t Rank>
auto tensor_map(Tensor<T, Rank>& t) {
  Eigen::array<Eigen::Index, Rank> extents{};
  for (std::size_t i = 0; i < Rank; ++i) extents[i] = t.extent(i);
  return Eigen::TensorMap<Eigen::Tensor<T, static_cast<int>(Rank), Eigen::RowMajor>>(t.data(),
                                                                                     extents);
}
template <class T, std::size_t Rank>
auto tensor_map(const Tensor<T, Rank>& t) {
  Eigen::array<Eigen::Index, Rank> extents{};
  for (std::size_t i = 0; i < Rank; ++i) extents[i] = t.extent(i);
  return Eigen::TensorMap<const Eigen::Tensor<T, static_cast<int>(Rank), Eigen::RowMajor>>(t.data(),
                                                                                           extents);
}

/// A tensor with the values of an Eigen row-major tensor expression of rank `Rank`.
template <class T, std::size_t Rank, class Expression>
Tensor<T, Rank> to_tensor(const Expression& expression, const Shape<Rank>& shape) {
  auto t = Tensor<T, Rank>::empty(shape);
  tensor_map(t) = expression;
  return t;
}

}  // namespace sequin::inline SEQUIN_ABI
