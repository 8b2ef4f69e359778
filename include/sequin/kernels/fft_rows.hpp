/// Between matrices of channels over time or frequency and rows that hold one channel a lane.
#pragma once

#include "sequin/core/view.hpp"
#include "sequin/kernels/fft_passes.hpp"
#include "sequin/kernels/lane_transpose.hpp"

#include <algorithm>
#include <utility>

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// Butterflies in a tile: what they read or write of each channel fills some cache lines, as memory
/// likes it.
template <class T>
inline constexpr index_t kFftTile = 256 / static_cast<index_t>(sizeof(T));

/// Rows of a matrix that are on their way to the first cache while one is copied.
inline constexpr index_t kFftRowsAhead = 4;

/// Steps and channels of one matrix: either channels or steps are adjacent.
template <class T>
struct FftMatrix {
  T* data;
  index_t steps;
  index_t step;     ///< elements from one time or frequency to the next
  index_t channel;  ///< elements from one channel to the next

  FftMatrix(View<T, 3> x, index_t b, index_t first_channel) noexcept
      : data(x.data() + b * x.stride(0) + first_channel * x.stride(2)),
        steps(x.extent(1)),
        step(x.stride(1)),
        channel(x.stride(2)) {}

  bool time_major() const noexcept { return channel == 1; }
  T* row(index_t t) const noexcept { return data + t * step; }
};

/// to[c * to_step + r] = from[r * from_step + c], in squares of registers where a side is one; `to`
/// does not overlap `from`.
template <class T>
void fft_transpose(const T* from, index_t from_step, index_t rows, index_t cols, T* to,
                   index_t to_step) {
  if constexpr (simd::kHasTranspose<T>) {
    constexpr index_t lanes = simd::kLanes<T>;
    index_t r = 0, c = 0;
    const auto square = [&] {
      simd::Vec<T> v[lanes];
      const index_t down = simd::opaque(from_step), up = simd::opaque(to_step);
      const T* in = from + r * from_step + c;
      T* out = to + c * to_step + r;
      SEQUIN_UNROLL
      for (index_t i = 0; i < lanes; ++i, in += down) v[i] = simd::load<T>(in);
      simd::transpose(v);
      SEQUIN_UNROLL
      for (index_t i = 0; i < lanes; ++i, out += up) simd::store<T>(out, v[i]);
    };
    // What is left of a square is part of a whole one that ends where the matrix does.
    if (rows == lanes && cols >= lanes) {
      for (; c + lanes <= cols; c += lanes) square();
      if (std::exchange(c, cols - lanes) < cols) square();
      return;
    }
    if (cols == lanes && rows >= lanes) {
      for (; r + lanes <= rows; r += lanes) square();
      if (std::exchange(r, rows - lanes) < rows) square();
      return;
    }
  }
  transpose(from, from_step, rows, cols, to, to_step);
}

/// Rows [at, at + count) of x, `channels` wide, to `rows`, `width` wide, zeros where x has nothing.
template <class T>
void fft_load_rows(const FftMatrix<const T>& x, index_t at, index_t count, index_t channels,
                   T* rows, index_t row_step, index_t width) {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t inside = (std::max)(index_t{0}, (std::min)(count, x.steps - at));
  for (index_t t = inside; t < count; ++t) std::fill_n(rows + t * row_step, width, T{0});
  if (x.time_major()) {
    for (index_t t = 0; t < inside; ++t) {
      const T* const from = x.row(at + t);
      const T* const ahead = x.row(at + (std::min)(t + kFftRowsAhead, inside - 1));
      for (index_t c = 0; c < channels; c += 64 / static_cast<index_t>(sizeof(T)))
        simd::prefetch(ahead + c);
      for (index_t c = 0; c < width; c += lanes)
        simd::store<T>(rows + t * row_step + c,
                       simd::load_partial<T>(from + c, (std::max)(index_t{0}, channels - c)));
    }
    return;
  }
  if (channels < width)
    for (index_t t = 0; t < inside; ++t)
      std::fill(rows + t * row_step + channels, rows + t * row_step + width, T{0});
  fft_transpose(x.row(at), x.channel, channels, inside, rows, row_step);
}

/// `rows` to the rows [at, at + count) of y, as far as y goes.
template <class T>
void fft_store_rows(const T* rows, index_t row_step, const FftMatrix<T>& y, index_t at,
                    index_t count, index_t channels) {
  constexpr index_t lanes = simd::kLanes<T>;
  count = (std::min)(count, y.steps - at);
  if (!y.time_major()) {
    if (count > 0) fft_transpose(rows, row_step, count, channels, y.row(at), y.channel);
    return;
  }
  for (index_t t = 0; t < count; ++t)
    for (index_t c = 0; c < channels; c += lanes)
      simd::store_partial<T>(y.row(at + t) + c, simd::load<T>(rows + t * row_step + c),
                             channels - c);
}

/// Both parts of a spectrum, of which at most `bins` frequencies count.
template <class T>
struct FftSpectrumRef {
  FftMatrix<T> re, im;

  FftSpectrumRef(View<T, 3> real, View<T, 3> imaginary, index_t b, index_t channel,
                 index_t bins) noexcept
      : re(real, b, channel), im(imaginary, b, channel) {
    re.steps = im.steps = (std::min)(re.steps, bins);
  }
};

/// Where a tile of butterflies reads or writes frequencies: output m of butterfly i is at
/// m * part + i * step.
template <class T>
struct FftSide {
  T* re;
  T* im;
  index_t part;
  index_t step;

  /// From column c of butterfly i on.
  FftSide<T> at(index_t i, index_t c = 0) const noexcept {
    return {re + i * step + c, im + i * step + c, part, step};
  }
  /// From the last of `parts` parts on, backwards.
  FftSide<T> last(index_t parts) const noexcept {
    return {re + (parts - 1) * part, im + (parts - 1) * part, -part, step};
  }
  SEQUIN_ALWAYS_INLINE void next_part() noexcept {
    part = simd::opaque(part);
    re += part;
    im += part;
  }
  operator FftSide<const T>() const noexcept  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {re, im, part, step};
  }
};

/// One block of channels on its way through a transform.
template <class T>
struct FftBlock {
  const FftPlan<T>& plan;
  FftRows<T> z;      ///< the working rows
  T* stage;          ///< room for a tile: 4 last_radix() kFftTile rows
  index_t width;     ///< elements of a row, a multiple of the lanes
  index_t channels;  ///< of them in use

  index_t parts() const noexcept { return plan.points() / plan.last_radix(); }
  /// The first `count` butterflies of the pass next to the frequencies, none after a chirp.
  void last_pass_down(index_t count) const noexcept {
    if (!plan.is_chirped())
      fft_pass_down<T>(plan.core(), plan.core().passes.size() - 1, count, z, z, width);
  }
  void last_pass_up(index_t count) const noexcept {
    if (!plan.is_chirped())
      fft_pass_up<T>(plan.core(), plan.core().passes.size() - 1, count, z, z, width);
  }

  /// Side 0 or 1 of the stage.
  FftSide<T> staged(index_t side) const noexcept {
    const index_t size = plan.last_radix() * kFftTile<T> * width;
    T* const at = stage + side * 2 * size;
    return {at, at + size, kFftTile<T> * width, width};
  }
  /// Frequencies in place, where rows are whole.
  template <class U>
  FftSide<U> direct(const FftSpectrumRef<U>& s, index_t k) const noexcept {
    return {s.re.row(k), s.im.row(k), parts() * s.re.step, s.re.step};
  }
  template <class U>
  bool is_direct(const FftSpectrumRef<U>& s) const noexcept {
    return s.re.time_major() && s.im.time_major() && s.re.step == s.im.step && channels == width &&
           s.re.steps >= plan.bins();
  }
  /// Frequencies k, k + 1, ... of all parts between the stage and the spectrum, as far as `limit`.
  void load(const FftSpectrumRef<const T>& s, const FftSide<T>& side, index_t k,
            index_t count) const noexcept {
    for (index_t m = 0; m < plan.last_radix(); ++m) {
      fft_load_rows(s.re, k + m * parts(), count, channels, side.re + m * side.part, width, width);
      fft_load_rows(s.im, k + m * parts(), count, channels, side.im + m * side.part, width, width);
    }
  }
  void store(const FftSide<T>& side, const FftSpectrumRef<T>& s, index_t k,
             index_t count) const noexcept {
    for (index_t m = 0; m < plan.last_radix(); ++m) {
      fft_store_rows(side.re + m * side.part, width, s.re, k + m * parts(), count, channels);
      fft_store_rows(side.im + m * side.part, width, s.im, k + m * parts(), count, channels);
    }
  }
};

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: fft.hpp inlines this.
