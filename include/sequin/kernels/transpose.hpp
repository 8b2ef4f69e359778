/// Exchanging two axes of an array.
#pragma once

#include "sequin/core/shape.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI::kernels {

/// (outer, a, middle, b, inner) -> (outer, b, middle, a, inner), both contiguous, `x` and `y` not
/// the same. In blocks, so that neither side strides through memory alone. Real-time safe.
template <class T>
void transpose(const T* x, T* y, index_t outer, index_t a, index_t middle, index_t b,
               index_t inner) {
  constexpr index_t block = 16;
  const index_t x_step_a = middle * b * inner;
  const index_t y_step_b = middle * a * inner;
  for (index_t o = 0; o < outer; ++o)
    for (index_t m = 0; m < middle; ++m) {
      const T* const from = x + o * a * x_step_a + m * b * inner;
      T* const to = y + o * b * y_step_b + m * a * inner;
      for (index_t i0 = 0; i0 < a; i0 += block)
        for (index_t j0 = 0; j0 < b; j0 += block) {
          const index_t i1 = (std::min)(i0 + block, a);
          const index_t j1 = (std::min)(j0 + block, b);
          for (index_t j = j0; j < j1; ++j)
            for (index_t i = i0; i < i1; ++i) {
              const T* const source = from + i * x_step_a + j * inner;
              T* const target = to + j * y_step_b + i * inner;
              if (inner == 1) {
                *target = *source;
              } else {
                std::copy_n(source, inner, target);
              }
            }
        }
    }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: the name is overloaded; ops/shape.hpp lists what calls it.
