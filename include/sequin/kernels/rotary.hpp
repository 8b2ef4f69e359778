/// Turning pairs of elements by angles, whose cosines and sines are given.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI {

/// Which elements of a head make a pair.
enum class RotaryLayout {
  half_split,   ///< i and i + R / 2 (transformers)
  interleaved,  ///< 2 i and 2 i + 1 (the paper)
};

namespace kernels {

/// y = x turned: heads rows of `width` elements, of which the first 2 * pairs turn, pair i by the
/// angle of cos[i] and sin[i]: (a, b) becomes (a cos - b sin, b cos + a sin), or with `back` the
/// other way round. y may be x. Real-time safe.
template <class T>
void rotary_forward(const T* x, const T* cos, const T* sin, index_t heads, index_t width,
                    index_t pairs, RotaryLayout layout, bool back, T* y) {
  const T sign = back ? T{-1} : T{1};
  for (index_t h = 0; h < heads; ++h, x += width, y += width) {
    if (layout == RotaryLayout::half_split) {
      constexpr index_t lanes = simd::kLanes<T>;
      const simd::Vec<T> direction(sign);
      for (index_t i = 0; i < pairs; i += lanes) {
        const index_t n = (std::min)(lanes, pairs - i);
        const auto a = simd::load_partial<T>(x + i, n);
        const auto b = simd::load_partial<T>(x + pairs + i, n);
        const auto c = simd::load_partial<T>(cos + i, n);
        const auto s = simd::load_partial<T>(sin + i, n) * direction;
        simd::store_partial<T>(y + i, a * c - b * s, n);
        simd::store_partial<T>(y + pairs + i, b * c + a * s, n);
      }
    } else {
      for (index_t i = 0; i < pairs; ++i) {
        const T a = x[2 * i];
        const T b = x[2 * i + 1];
        const T s = sin[i] * sign;
        y[2 * i] = a * cos[i] - b * s;
        y[2 * i + 1] = b * cos[i] + a * s;
      }
    }
    if (y != x) std::copy(x + 2 * pairs, x + width, y + 2 * pairs);
  }
}

}  // namespace kernels
}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(kernels::rotary_forward);
