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

/// One register of channels, `Steps` steps of y, all taps within x; the sums begin with `start`,
/// unless that is nullptr.
template <class T, int Steps, class Load, class Store>
SEQUIN_ALWAYS_INLINE void depthwise_tile(const DepthwiseConv1d& p, const T* start, const T* x,
                                         const T* w, T* y, Load&& load, Store&& store) {
  simd::Vec<T> sum[Steps];
  SEQUIN_UNROLL
  for (int i = 0; i < Steps; ++i)
    sum[i] = start != nullptr ? load(start + i * p.channels) : simd::Vec<T>(T{0});
  const index_t step = p.dilation * p.channels;
  for (index_t k = 0; k < p.taps; ++k) {
    const simd::Vec<T> wk = load(w + k * p.channels);
    SEQUIN_UNROLL
    for (int i = 0; i < Steps; ++i)
      sum[i] = simd::fma<T>(load(x + k * step + i * p.channels), wk, sum[i]);
  }
  SEQUIN_UNROLL
  for (int i = 0; i < Steps; ++i) store(y + i * p.channels, sum[i]);
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
      depthwise_tile<T, tile>(p, start, x + first * p.channels, w, y + t * p.channels, load, store);
      t += tile;
      continue;
    }
    // Near an end only some taps meet x.
    const index_t k0 = first >= 0 ? 0 : (-first + p.dilation - 1) / p.dilation;
    const index_t room = p.length_in - first;
    const index_t k1 = room <= 0 ? 0 : (std::min)(p.taps, (room + p.dilation - 1) / p.dilation);
    DepthwiseConv1d part = p;
    part.taps = (std::max)(k1 - k0, index_t{0});
    depthwise_tile<T, 1>(
        part, start, x + (part.taps == 0 ? 0 : first + k0 * p.dilation) * p.channels,
        w + (part.taps == 0 ? 0 : k0) * p.channels, y + t * p.channels, load, store);
    ++t;
  }
}

}  // namespace detail

/// Steps [t0, t1) of y. Each value is one chain of fused multiply-adds over the taps. Real-time
/// safe.
template <class T>
void depthwise_conv1d_forward(const DepthwiseConv1d& p, const T* x, const T* w, T* y, index_t t0,
                              index_t t1) {
  using V = simd::Vec<T>;
  // Rows of a block of channels stay in cache from one tile to the next, and so do its weights.
  constexpr index_t rows = 64;
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
