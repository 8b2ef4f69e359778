/// Extents of tensors, their products and how messages print them.
#pragma once

#include "sequin/core/compiler.hpp"
#include "sequin/core/error.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Signed type of every extent, stride and index.
using index_t = std::ptrdiff_t;

/// What the differentiable operations compute in.
template <class T>
concept Scalar = std::same_as<T, float> || std::same_as<T, double>;

/// Extents of a tensor, outermost axis first.
template <std::size_t Rank>
using Shape = std::array<index_t, Rank>;

/// "[1, 96, 128]"; "[]" for a scalar.
SEQUIN_COLD inline std::string to_string(std::span<const index_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

/// "[1, 96, 128]"; "[]" for a scalar.
template <std::size_t Rank>
std::string to_string(const Shape<Rank>& shape) {
  return to_string(std::span<const index_t>(shape.data(), Rank));
}

namespace detail {
[[noreturn]] SEQUIN_COLD inline void impossible_shape(std::span<const index_t> shape,
                                                      const char* why) {
  throw ShapeError("shape " + to_string(shape) + why);
}
}  // namespace detail

/// Number of elements: the product of the extents, 1 for rank 0.
/// Throws ShapeError when an extent is negative or the product of those above 0 (which bounds every
/// stride) does not fit in memory.
template <std::size_t Rank>
index_t element_count(const Shape<Rank>& shape) {
  // What two factors below this give is in range: as a rule nothing has to be divided.
  constexpr index_t small = index_t{1} << (std::numeric_limits<index_t>::digits / 2 - 3);
  index_t count = 1;
  bool zero = false;
  for (const index_t extent : shape) {
    if (extent < 0) detail::impossible_shape(shape, " has a negative extent");
    if (extent == 0) {
      zero = true;
      continue;
    }
    if ((extent >= small || count >= small) &&
        extent > (std::numeric_limits<index_t>::max)() / 64 / count)
      detail::impossible_shape(shape, " has more elements than memory can hold");
    count *= extent;
  }
  return zero ? 0 : count;
}

/// Steps, in elements, of a contiguous row-major layout.
template <std::size_t Rank>
Shape<Rank> row_major_strides(const Shape<Rank>& shape) noexcept {
  Shape<Rank> strides{};
  index_t step = 1;
  for (std::size_t i = Rank; i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

}  // namespace sequin::inline SEQUIN_ABI
