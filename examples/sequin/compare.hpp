/// Recorded tensors against ours: in double, whatever their types.
#pragma once

#include "case_io.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace sequin_cli {

/// The elements as doubles.
std::vector<double> as_doubles(sequin::DType dtype, std::span<const std::byte> bytes);

/// max|v|
double largest(const std::vector<double>& v);

/// Where two tensors of one size differ most.
struct Difference {
  double largest = 0;     ///< max|a - b|; infinite where one is NaN and the other is not
  double relative = 0;    ///< the same over max(max|b|, floor)
  std::size_t place = 0;  ///< of that element
};

/// Of a from b.
Difference difference(const std::vector<double>& a, const std::vector<double>& b, double floor = 0);

/// "[2, 96, 7]"
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace sequin_cli
