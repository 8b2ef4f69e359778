// Inputs for tests: tensors without symmetry, and elementwise comparison.
#pragma once

#include "sequin/core/tensor.hpp"

#include <cmath>
#include <cstring>

namespace sequin_test {

using sequin::index_t;
using sequin::Shape;
using sequin::Tensor;

/// sin(0.7 i + phase) * size + offset: no two entries alike, none 0, both signs.
template <class T, std::size_t Rank>
Tensor<T, Rank> wavy(const Shape<Rank>& shape, double phase, double size = 1, double offset = 0) {
  Tensor<T, Rank> t(shape);
  index_t i = 0;
  for (T& v : t.span())
    v = static_cast<T>(std::sin(0.7 * static_cast<double>(i++) + phase) * size + offset);
  return t;
}

/// True when extents and all bytes are equal.
template <class T, std::size_t Rank>
bool identical(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b) {
  return a.shape() == b.shape() &&
         (a.size() == 0 ||
          std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

/// The largest |a - b|, infinity when the extents differ or something is not a number.
template <class T, class U, std::size_t Rank>
double largest_difference(const Tensor<T, Rank>& a, const Tensor<U, Rank>& b) {
  if (a.shape() != b.shape()) return INFINITY;
  double worst = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
    if (std::isnan(error)) return INFINITY;
    worst = (std::max)(worst, error);
  }
  return worst;
}

}  // namespace sequin_test
