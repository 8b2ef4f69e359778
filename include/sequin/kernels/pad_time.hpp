/// Longer in time at both ends: what a convolution reads past its input.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI {

/// What a convolution sees before the first step and after the last.
enum class PaddingMode {
  zeros,
  circular,  ///< the series repeats: its last steps stand before its first
};

namespace kernels {

/// The step of T that stands at step `t` of the padded series, -1 for none (zeros). T >= 1.
inline index_t padded_source(index_t t, index_t padding, index_t length,
                             PaddingMode mode) noexcept {
  const index_t at = t - padding;
  if (at >= 0 && at < length) return at;
  if (mode == PaddingMode::zeros) return -1;
  const index_t rest = at % length;
  return rest < 0 ? rest + length : rest;
}

/// x (T, C) -> y (T + 2 padding, C). Real-time safe.
template <class T>
void pad_time_forward(const T* x, index_t length, index_t channels, index_t padding,
                      PaddingMode mode, T* y) {
  for (index_t t = 0; t < length + 2 * padding; ++t) {
    const index_t from = padded_source(t, padding, length, mode);
    if (from < 0)
      std::fill_n(y + t * channels, channels, T{0});
    else
      std::copy_n(x + from * channels, channels, y + t * channels);
  }
}

/// dy (T + 2 padding, C) -> dx (T, C), in which steps that repeat in y get the sum. Real-time safe.
template <class T>
void pad_time_backward(const T* dy, index_t length, index_t channels, index_t padding,
                       PaddingMode mode, T* dx) {
  std::copy_n(dy + padding * channels, length * channels, dx);
  if (mode == PaddingMode::zeros) return;
  for (index_t t = 0; t < length + 2 * padding; ++t) {
    if (t == padding) t = padding + length;  // those are there already
    if (t == length + 2 * padding) return;
    const T* const from = dy + t * channels;
    T* const to = dx + padded_source(t, padding, length, mode) * channels;
    for (index_t c = 0; c < channels; ++c) to[c] += from[c];
  }
}

}  // namespace kernels
}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(kernels::pad_time_forward);
SEQUIN_INSTANTIATE(kernels::pad_time_backward);
