/// Standardises columns, as scikit-learn's StandardScaler.
#pragma once

#include "sequin/core/tensor.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// z = (x - mean) / std for each column, in float64; std is the population's (divided by the number
/// of rows). A column that is constant up to rounding has std 1, as in scikit-learn.
struct StandardScaler {
  std::vector<double> mean;
  std::vector<double> std;

  /// Mean and std of rows [begin, end) of `values` [rows, V].
  /// Throws ShapeError when the range is empty or not within the rows.
  static StandardScaler fit(const Tensor<double, 2>& values, index_t begin, index_t end) {
    if (begin < 0 || end > values.rows() || begin >= end)
      throw ShapeError("StandardScaler: rows " + std::to_string(begin) + " to " +
                       std::to_string(end) + " of " + to_string(values.shape()) +
                       ", expected a range that is not empty");
    const auto columns = static_cast<std::size_t>(values.cols());
    const double n = static_cast<double>(end - begin);
    StandardScaler s{std::vector<double>(columns, 0.0), std::vector<double>(columns, 0.0)};
    std::vector<double> drift(columns, 0.0);
    const double* const x = values.data();
    for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r)
      for (std::size_t c = 0; c < columns; ++c) s.mean[c] += x[r * columns + c];
    for (double& m : s.mean) m /= n;
    for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r)
      for (std::size_t c = 0; c < columns; ++c) {
        const double d = x[r * columns + c] - s.mean[c];
        drift[c] += d;
        // Rounded by itself: fused into the sum it would differ from numpy's in the last digit.
        const volatile double square = d * d;
        s.std[c] += square;
      }
    for (std::size_t c = 0; c < columns; ++c) {
      const double variance = (s.std[c] - drift[c] * drift[c] / n) / n;
      constexpr double eps = std::numeric_limits<double>::epsilon();
      const double rounding = n * s.mean[c] * eps;
      const bool constant = variance <= n * eps * variance + rounding * rounding;
      s.std[c] = constant ? 1.0 : std::sqrt(variance);
    }
    return s;
  }

  /// The scaler that changes nothing.
  static StandardScaler identity(index_t columns) {
    const auto n = static_cast<std::size_t>(columns);
    return {std::vector<double>(n, 0.0), std::vector<double>(n, 1.0)};
  }

  double transform(double x, std::size_t column) const noexcept {
    return (x - mean[column]) / std[column];
  }
  /// Back to the series' own unit.
  double inverse(double z, std::size_t column) const noexcept {
    return z * std[column] + mean[column];
  }
};

}  // namespace sequin::inline SEQUIN_ABI
