/// The pass of a transform next to the frequencies where these are those of the complex transform:
/// real values of odd number, whose imaginary parts are 0, and complex values.
#pragma once

#include "sequin/kernels/fft_split.hpp"

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// The plan's frequencies from the working rows before the last pass: all, or the lower half.
template <class T>
void fft_whole_down(const FftBlock<T>& block, const FftSpectrumRef<T>& s,
                    const FftScale<T>& scale) {
  constexpr index_t tile = kFftTile<T>;
  const index_t radix = block.plan.last_radix();
  const index_t parts = block.parts();
  const index_t w = block.width;
  const FftSide<T> to = block.staged(0);
  block.last_pass_down(parts);
  for (index_t first = 0; first < parts; first += tile) {
    const index_t count = (std::min)(tile, parts - first);
    for (index_t i = 0; i < count; ++i) {
      const auto rows = block.z.from(block.plan.row(first + i));
      for (index_t m = 0; m < radix; ++m) {
        const simd::Vec<T> h(first + i + m == 0 ? scale.edge : scale.inner);
        for (index_t c = 0; c < w; c += simd::kLanes<T>) {
          const index_t at = m * to.part + i * w + c;
          simd::store<T>(to.re + at, simd::load<T>(rows.re + m * rows.step + c) * h);
          simd::store<T>(to.im + at, simd::load<T>(rows.im + m * rows.step + c) * h);
        }
      }
    }
    // The first imaginary part of real values is 0 whatever the values are.
    if (first == 0 && !block.plan.is_complex()) std::fill_n(to.im, w, T{0});
    block.store(to, s, first, count);
  }
}

/// The working rows, with the parts exchanged and after the pass next to the frequencies, from the
/// lower half of the frequencies of an odd number of real values; the upper half is its conjugate.
template <class T>
void fft_whole_up(const FftBlock<T>& block, const FftSpectrumRef<const T>& s,
                  const FftScale<T>& scale) {
  constexpr index_t tile = kFftTile<T>;
  const index_t n = block.plan.points();
  const index_t bins = block.plan.bins();
  const index_t radix = block.plan.last_radix();
  const index_t parts = block.parts();
  const index_t w = block.width;
  const FftSide<T> low = block.staged(0), up = block.staged(1);
  for (index_t first = 0; first < parts; first += tile) {
    const index_t count = (std::min)(tile, parts - first);
    for (index_t m = 0; m < radix; ++m) {
      const index_t k = first + m * parts;
      const index_t lower = (std::max)(index_t{0}, (std::min)(count, bins - k));
      fft_load_rows<T>(s.re, k, lower, block.channels, low.re, w, w);
      fft_load_rows<T>(s.im, k, lower, block.channels, low.im, w, w);
      if (k == 0) std::fill_n(low.im, w, T{0});
      // Frequency k + i is the conjugate of n - k - i, that is of row count - 1 - i here.
      const index_t back = n - k - count + 1;
      fft_load_rows<T>(s.re, back, count - lower, block.channels, up.re, w, w);
      fft_load_rows<T>(s.im, back, count - lower, block.channels, up.im, w, w);
      for (index_t i = 0; i < count; ++i) {
        const auto row = block.z.from(block.plan.row(first + i) + m);
        const FftSide<T> from = i < lower ? low.at(i) : up.at(count - 1 - i);
        const T factor = k + i == 0 ? scale.edge : scale.inner;
        const simd::Vec<T> h(factor), g(i < lower ? factor : -factor);
        for (index_t c = 0; c < w; c += simd::kLanes<T>) {
          simd::store<T>(row.im + c, simd::load<T>(from.re + c) * h);
          simd::store<T>(row.re + c, simd::load<T>(from.im + c) * g);
        }
      }
    }
  }
  block.last_pass_up(parts);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: fft.hpp inlines this.
