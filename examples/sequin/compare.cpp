#include "compare.hpp"

#include <algorithm>
#include <cmath>

namespace sequin_cli {

using namespace sequin;

std::vector<double> as_doubles(DType dtype, std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / dtype_size(dtype));
  convert_elements<double>(dtype, bytes, values);
  return values;
}

double largest(const std::vector<double>& v) {
  double top = 0;
  for (const double x : v) top = (std::max)(top, std::abs(x));
  return top;
}

Difference difference(const std::vector<double>& a, const std::vector<double>& b, double floor) {
  Difference worst;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if ((std::isnan(a[i]) && std::isnan(b[i])) || a[i] == b[i]) continue;
    const double d = std::abs(a[i] - b[i]);
    if (std::isnan(d)) return {INFINITY, INFINITY, i};
    if (d > worst.largest) {
      worst.largest = d;
      worst.place = i;
    }
  }
  const double scale = (std::max)(largest(b), floor);
  worst.relative = worst.largest == 0 ? 0 : worst.largest / (scale > 0 ? scale : 1);
  return worst;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  const std::vector<index_t> s(shape.begin(), shape.end());
  return to_string(std::span<const index_t>(s));
}

}  // namespace sequin_cli
