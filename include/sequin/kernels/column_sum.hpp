/// Sums over time of what lies in columns.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// sums[j] += sum over t < steps of f(p[t * stride + j]...), j < width <= kLanes<T>; the sum of 64
/// steps at a time is added in double. Lanes beyond `width` get zeros. Real-time safe.
template <class T, class F, class... P>
void column_sum(index_t steps, index_t stride, index_t width, double* sums, F&& f, const P*... p) {
  using V = simd::Vec<T>;
  constexpr index_t run = 64;
  alignas(64) T part[simd::kLanes<T>];
  for (index_t t = 0; t < steps; t += run) {
    V sum(T{0});
    const index_t end = (std::min)(t + run, steps);
    if (width == simd::kLanes<T>) {
      for (index_t i = t; i < end; ++i) sum = sum + f(simd::load<T>(p + i * stride)...);
    } else {
      for (index_t i = t; i < end; ++i)
        sum = sum + f(simd::load_partial<T>(p + i * stride, width)...);
    }
    simd::store<T>(part, sum);
    for (index_t j = 0; j < width; ++j) sums[j] += static_cast<double>(part[j]);
  }
}

/// f(first column, width) for columns [begin, end) in registers' width.
template <class T, class F>
void for_columns(index_t begin, index_t end, F&& f) {
  for (index_t c = begin; c < end; c += simd::kLanes<T>) f(c, (std::min)(simd::kLanes<T>, end - c));
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: other kernels inline this.
