/// Rows that are taken several at a time, and the writing of one of them.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// The most rows whose sums are made before the first of them is written: a sum ends in a chain of
/// additions, often a root and a division, which the other rows' sums hide.
inline constexpr index_t kRowGroup = 16;

/// Rows of `n` values that go together; the first-level cache holds them, what is written of them
/// and the rows that come.
inline index_t row_group(index_t n) {
  return (std::max)(index_t{1}, (std::min)(kRowGroup, 2048 / (n + 1)));
}

/// The row to ask for while the one at `row` is written, `group` rows on. Where memory decides long
/// rows come by themselves: asked for they drive out what is at work.
template <class T>
const T* row_ahead(const T* row, index_t group, index_t n) {
  return n > 1024 ? row : row + group * n;
}

/// out[i] = f(in[i]...) as simd::transform, while the row at `next`, which need not be readable,
/// comes near.
template <class T, class F, class... In>
void write_row(index_t n, const T* next, T* out, F f, const In*... in) {
  constexpr index_t lanes = simd::kLanes<T>;
  index_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    simd::prefetch(next + i);
    if constexpr (simd::Vec<T>::size * sizeof(T) > 32) simd::prefetch(next + i + lanes);
    const simd::Vec<T> a = f(simd::load<T>(in + i)...);
    const simd::Vec<T> b = f(simd::load<T>(in + i + lanes)...);
    simd::store<T>(out + i, a);
    simd::store<T>(out + i + lanes, b);
  }
  if (i < n) simd::transform<T>(n - i, out + i, f, (in + i)...);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: other kernels inline this.
