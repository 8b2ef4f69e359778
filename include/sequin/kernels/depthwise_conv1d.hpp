/// The depthwise convolution over time with padding on either side, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/column_sum.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Sizes of a depthwise convolution: y[t] = sum_k w[k] x[t + k dilation - padding], steps outside
/// of x being 0. x (length_in, C), y (length_out, C), w (K, C).
struct DepthwiseConv1d {
  index_t length_in = 0, length_out = 0, channels = 0, taps = 0;
  index_t dilation = 1, padding = 0;
  bool accumulate = false;  ///< adds to what y holds
  bool residual = false;    ///< adds x[t] to y[t]; then length_out <= length_in
};

namespace detail {

/// One register of channels, `Steps` steps of y, `channels` apart as those of `start`; all taps are
/// within x, whose steps are `row` apart and whose taps `step`, those of w `w_row`. The sums begin
/// with `start`, unless that is nullptr.
template <class T, int Steps, class LoadIn, class Load, class Store>
SEQUIN_ALWAYS_INLINE void depthwise_tile(index_t taps, const T* start, const T* x, index_t step,
                                         index_t row, const T* w, index_t w_row, T* y,
                                         index_t channels, LoadIn&& load_in, Load&& load,
                                         Store&& store) {
  simd::Vec<T> sum[Steps];
  SEQUIN_UNROLL
  for (int i = 0; i < Steps; ++i)
    sum[i] = start != nullptr ? load(start + i * channels) : simd::Vec<T>(T{0});
  for (index_t k = 0; k < taps; ++k) {
    const simd::Vec<T> wk = load_in(w + k * w_row);
    SEQUIN_UNROLL
    for (int i = 0; i < Steps; ++i)
      sum[i] = simd::fma<T>(load_in(x + k * step + i * row), wk, sum[i]);
  }
  SEQUIN_UNROLL
  for (int i = 0; i < Steps; ++i) store(y + i * channels, sum[i]);
}

/// Steps of y that a call's columns stay in cache for.
inline constexpr index_t kDepthwiseBlock = 64;

/// What lies in columns, a cache line wide, as rows that follow each other: columns that are a
/// power of two apart would drive each other out of the first-level cache.
template <class T>
struct DepthwiseLines {
  static constexpr index_t kWidth = 64 / static_cast<index_t>(sizeof(T));
  static constexpr index_t kRows = 2 * kDepthwiseBlock + 32, kTaps = 64;
  alignas(64) T x[kRows * kWidth];
  alignas(64) T w[kTaps * kWidth];

  /// Whether the taps of a block of steps have room, and whether a copy pays: a few taps do not
  /// meet a value often enough, unless the columns share their places in the cache.
  static bool pays(const DepthwiseConv1d& p) {
    const index_t bytes = p.channels * static_cast<index_t>(sizeof(T));
    return p.taps <= kTaps && kDepthwiseBlock + (p.taps - 1) * p.dilation <= kRows &&
           (p.taps >= 8 || bytes % 512 == 0);
  }

  /// Rows [first, first + count) of `from`, which has `rows`, zeros where it has none.
  static void gather(const T* from, index_t stride, index_t first, index_t count, index_t rows,
                     index_t width, T* to) {
    constexpr index_t lanes = simd::kLanes<T>;
    for (index_t r = first; r < first + count; ++r, to += kWidth)
      for (index_t c = 0; c < kWidth; c += lanes) {
        const index_t n = r < 0 || r >= rows ? 0 : (std::max)(index_t{0}, width - c);
        const T* const at = from + (n == 0 ? 0 : r * stride + c);
        (n >= lanes ? simd::load<T>(at) : simd::load_partial<T>(at, n)).store_aligned(to + c);
      }
  }
};

/// Steps [t0, t1), at most kDepthwiseBlock, of `width` <= DepthwiseLines::kWidth channels.
template <class T>
void depthwise_lines(const DepthwiseConv1d& p, const T* x, const T* w, T* y, index_t width,
                     index_t t0, index_t t1) {
  using Lines = DepthwiseLines<T>;
  constexpr int tile = 8;
  constexpr index_t row = Lines::kWidth, lanes = simd::kLanes<T>;
  Lines lines;
  Lines::gather(w, p.channels, 0, p.taps, p.taps, width, lines.w);
  Lines::gather(x, p.channels, t0 - p.padding, t1 - t0 + (p.taps - 1) * p.dilation, p.length_in,
                width, lines.x);
  const auto whole = [](const T* at) { return simd::load<T>(at); };
  const auto columns = [&]<int Steps>(std::integral_constant<int, Steps>, index_t t, index_t c,
                                      auto&& load, auto&& store) {
    T* const to = y + t * p.channels + c;
    const T* const start = p.accumulate ? to : (p.residual ? x + t * p.channels + c : nullptr);
    depthwise_tile<T, Steps>(p.taps, start, lines.x + (t - t0) * row + c, p.dilation * row, row,
                             lines.w + c, row, to, p.channels, whole, load, store);
  };
  const auto steps = [&](auto count, index_t t) {
    index_t c = 0;
    for (; c + lanes <= width; c += lanes)
      columns(count, t, c, whole, [](T* at, const simd::Vec<T>& v) { simd::store<T>(at, v); });
    const index_t rest = width - c;
    if (rest > 0)
      columns(
          count, t, c, [rest](const T* at) { return simd::load_partial<T>(at, rest); },
          [rest](T* at, const simd::Vec<T>& v) { simd::store_partial<T>(at, v, rest); });
  };
  index_t t = t0;
  for (; t + tile <= t1; t += tile) steps(std::integral_constant<int, tile>(), t);
  for (; t < t1; ++t) steps(std::integral_constant<int, 1>(), t);
}

template <class T, class Load, class Store>
void depthwise_columns(const DepthwiseConv1d& p, const T* x, const T* w, T* y, index_t t0,
                       index_t t1, Load&& load, Store&& store) {
  constexpr int tile = 8;
  const index_t reach = (p.taps - 1) * p.dilation;
  for (index_t t = t0; t < t1;) {
    const index_t first = t - p.padding;
    const T* const start =
        p.accumulate ? y + t * p.channels : (p.residual ? x + t * p.channels : nullptr);
    if (first >= 0 && t + tile <= t1 && first + tile - 1 + reach < p.length_in) {
      depthwise_tile<T, tile>(p.taps, start, x + first * p.channels, p.dilation * p.channels,
                              p.channels, w, p.channels, y + t * p.channels, p.channels, load, load,
                              store);
      t += tile;
      continue;
    }
    // Near an end only some taps meet x.
    const index_t k0 = first >= 0 ? 0 : (-first + p.dilation - 1) / p.dilation;
    const index_t room = p.length_in - first;
    const index_t k1 = room <= 0 ? 0 : (std::min)(p.taps, (room + p.dilation - 1) / p.dilation);
    const index_t met = (std::max)(k1 - k0, index_t{0});
    depthwise_tile<T, 1>(met, start, x + (met == 0 ? 0 : first + k0 * p.dilation) * p.channels,
                         p.dilation * p.channels, p.channels, w + (met == 0 ? 0 : k0) * p.channels,
                         p.channels, y + t * p.channels, p.channels, load, load, store);
    ++t;
  }
}

}  // namespace detail

/// Steps [t0, t1) of y. Each value is one chain of fused multiply-adds over the taps. Real-time
/// safe; 15 KB of stack.
template <class T>
void depthwise_conv1d_forward(const DepthwiseConv1d& p, const T* x, const T* w, T* y, index_t t0,
                              index_t t1) {
  using V = simd::Vec<T>;
  // Rows of a block of channels stay in cache from one tile to the next, and so do its weights.
  constexpr index_t rows = detail::kDepthwiseBlock;
  if (detail::DepthwiseLines<T>::pays(p)) {
    constexpr index_t line = detail::DepthwiseLines<T>::kWidth;
    for (index_t t = t0; t < t1; t += rows)
      for (index_t c = 0; c < p.channels; c += line)
        detail::depthwise_lines(p, x + c, w + c, y + c, (std::min)(line, p.channels - c), t,
                                (std::min)(t + rows, t1));
    return;
  }
  for (index_t t = t0; t < t1; t += rows)
    detail::for_columns<T>(0, p.channels, [&](index_t c, index_t width) {
      const index_t end = (std::min)(t + rows, t1);
      if (width == simd::kLanes<T>) {
        detail::depthwise_columns(
            p, x + c, w + c, y + c, t, end, [](const T* at) { return simd::load<T>(at); },
            [](T* at, const V& v) { simd::store<T>(at, v); });
      } else {
        detail::depthwise_columns(
            p, x + c, w + c, y + c, t, end,
            [width](const T* at) { return simd::load_partial<T>(at, width); },
            [width](T* at, const V& v) { simd::store_partial<T>(at, v, width); });
      }
    });
}

/// dw[k] (K rows of `sums`, of C doubles) += what `batch` sequences of dy (length_out, C) and x
/// give, for channels [c0, c1).
template <class T>
void depthwise_conv1d_backward_weights(const DepthwiseConv1d& p, const T* x, const T* dy,
                                       index_t batch, index_t c0, index_t c1, double* sums) {
  using V = simd::Vec<T>;
  detail::for_columns<T>(c0, c1, [&](index_t c, index_t width) {
    for (index_t b = 0; b < batch; ++b)
      for (index_t k = 0; k < p.taps; ++k) {
        const index_t shift = k * p.dilation - p.padding;
        const index_t begin = (std::max)(index_t{0}, -shift);
        const index_t end = (std::min)(p.length_out, p.length_in - shift);
        if (end <= begin) continue;
        detail::column_sum<T>(
            end - begin, p.channels, width, sums + k * p.channels + c,
            [](const V& d, const V& v) { return d * v; },
            dy + (b * p.length_out + begin) * p.channels + c,
            x + (b * p.length_in + begin + shift) * p.channels + c);
      }
  });
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::depthwise_conv1d_forward);
SEQUIN_INSTANTIATE(kernels::depthwise_conv1d_backward_weights);
