/// The largest value of a window of steps, and which step had it.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"

#include <algorithm>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI::kernels {

/// x (T, C) -> steps [begin, end) of y (T', C) and of `which`, the step of x that gave it: the
/// first of equal ones, the last NaN if there is one. Every window has a step of x. Real-time safe.
template <class T>
void max_pool1d_forward(const T* x, index_t length, index_t channels, index_t kernel,
                        index_t stride, index_t padding, index_t begin, index_t end, T* y,
                        std::int32_t* which) {
  for (index_t t = begin; t < end; ++t) {
    const index_t first = (std::max)(t * stride - padding, index_t{0});
    const index_t last = (std::min)(t * stride - padding + kernel, length);
    T* const best = y + t * channels;
    std::int32_t* const at = which + t * channels;
    std::copy_n(x + first * channels, channels, best);
    std::fill_n(at, channels, static_cast<std::int32_t>(first));
    for (index_t s = first + 1; s < last; ++s) {
      const T* const row = x + s * channels;
      for (index_t c = 0; c < channels; ++c) {
        const bool better = row[c] > best[c] || row[c] != row[c];
        best[c] = better ? row[c] : best[c];
        at[c] = better ? static_cast<std::int32_t>(s) : at[c];
      }
    }
  }
}

/// Adds dy (T', C) to the steps of dx (T, C) that gave the maxima. Real-time safe.
template <class T>
void max_pool1d_backward(const T* dy, const std::int32_t* which, index_t steps, index_t channels,
                         T* dx) {
  for (index_t t = 0; t < steps; ++t)
    for (index_t c = 0; c < channels; ++c)
      dx[static_cast<index_t>(which[t * channels + c]) * channels + c] += dy[t * channels + c];
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::max_pool1d_forward);
SEQUIN_INSTANTIATE(kernels::max_pool1d_backward);
