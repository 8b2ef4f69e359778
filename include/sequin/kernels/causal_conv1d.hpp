/// Depthwise causal convolution along time, forward, and its carried state.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/core/view.hpp"
#include "sequin/kernels/lane_transpose.hpp"
#include "sequin/kernels/row_functions.hpp"

#include <algorithm>

namespace sequin::inline SEQUIN_ABI::kernels {

/// Inputs of a depthwise causal convolution, time-major.
template <Scalar T>
struct CausalConv1dInputs {
  View<const T, 3> x;       ///< [B, T, E], channels adjacent
  View<const T, 2> weight;  ///< [E, K], taps adjacent, the last meets the current sample
  const T* bias = nullptr;  ///< [E] or none
  /// [B, S, E], S >= K - 1: samples before x, oldest first; no data means zeros. Channels are
  /// adjacent, or S <= kConvStateRows (a state [B, E, S] seen with its axes swapped).
  View<const T, 3> history;
  bool silu = false;

  index_t batch() const noexcept { return x.extent(0); }
  index_t length() const noexcept { return x.extent(1); }
  index_t channels() const noexcept { return x.extent(2); }
  index_t taps() const noexcept { return weight.extent(1); }
};

/// The longest history that is turned into rows on the stack.
inline constexpr index_t kConvStateRows = 16;

/// Channels and time steps of a piece of work.
template <Scalar T>
inline constexpr index_t kConvStrip = 1024 / static_cast<index_t>(sizeof(T));
inline constexpr index_t kConvSteps = 128;

/// Strips of channels.
template <Scalar T>
constexpr index_t causal_conv1d_strips(index_t channels) noexcept {
  return (channels + kConvStrip<T> - 1) / kConvStrip<T>;
}

/// Number of pieces of work in `causal_conv1d_forward` and `causal_conv1d_backward_input`; they
/// may run in any order or at the same time.
template <Scalar T>
index_t causal_conv1d_items(const CausalConv1dInputs<T>& in) noexcept {
  return in.batch() * causal_conv1d_strips<T>(in.channels()) *
         ((in.length() + kConvSteps - 1) / kConvSteps);
}

namespace detail {

/// Taps that are applied in one pass over a row; more continue from what the row holds, which
/// keeps the order of additions.
inline constexpr index_t kConvTaps = 8;

/// What one piece of work covers.
struct ConvPiece {
  index_t b, first, width, t0, t1;

  template <class T>
  static ConvPiece at(const CausalConv1dInputs<T>& in, index_t item) {
    const index_t strips = causal_conv1d_strips<T>(in.channels());
    const index_t pieces = (in.length() + kConvSteps - 1) / kConvSteps;
    const index_t first = item / pieces % strips * kConvStrip<T>;
    const index_t t0 = item % pieces * kConvSteps;
    return {item / pieces / strips, first, (std::min)(kConvStrip<T>, in.channels() - first), t0,
            (std::min)(t0 + kConvSteps, in.length())};
  }
};

/// Rows of a strip at any time, those before the sequence included.
template <class T>
class ConvRows {
 public:
  ConvRows(const CausalConv1dInputs<T>& in, const ConvPiece& p) noexcept : in_(in), p_(p) {
    if (p.t0 >= in.taps() - 1) return;
    if (in.history.data() == nullptr) {
      std::fill_n(rows_, kConvStrip<T>, T{0});
    } else if (in.history.stride(2) != 1) {
      transpose(&in.history(p.b, 0, p.first), in.history.stride(2), p.width, in.history.extent(1),
                rows_, kConvStrip<T>);
    }
  }

  const T* at(index_t t) const noexcept {
    if (t >= 0) return &in_.x(p_.b, t, p_.first);
    if (in_.history.data() == nullptr) return rows_;
    const index_t row = in_.history.extent(1) + t;
    if (in_.history.stride(2) == 1) return &in_.history(p_.b, row, p_.first);
    return rows_ + row * kConvStrip<T>;
  }

 private:
  const CausalConv1dInputs<T>& in_;
  const ConvPiece& p_;
  alignas(64) T rows_[kConvStateRows * kConvStrip<T>];
};

template <class T>
inline simd::Vec<T> load_strip(const T* row, index_t c, index_t width) {
  return c + simd::kLanes<T> <= width ? simd::load<T>(row + c)
                                      : simd::load_partial<T>(row + c, width - c);
}

template <class T>
inline void store_strip(T* row, index_t c, index_t width, const simd::Vec<T>& v) {
  if (c + simd::kLanes<T> <= width)
    simd::store<T>(row + c, v);
  else
    simd::store_partial<T>(row + c, v, width - c);
}

/// out = start + sum_k w[k] rows[k], taps in ascending order, one fused multiply-add each.
/// `start` null means zeros. Taps is the number of rows, 0 when only known at run time.
template <index_t Taps, class T>
inline void conv_row(const T* start, const T* weight, const T* const* rows, index_t taps,
                     index_t width, T* out) {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t count = Taps > 0 ? Taps : taps;
  index_t c = 0;
  for (; c + lanes <= width; c += lanes) {
    auto sum = start == nullptr ? simd::Vec<T>(T{0}) : simd::load<T>(start + c);
    for (index_t k = 0; k < count; ++k)
      sum = simd::fma<T>(simd::load<T>(weight + k * kConvStrip<T> + c), simd::load<T>(rows[k] + c),
                         sum);
    simd::store<T>(out + c, sum);
  }
  if (c < width) {
    auto sum = start == nullptr ? simd::Vec<T>(T{0}) : simd::load_partial<T>(start + c, width - c);
    for (index_t k = 0; k < count; ++k)
      sum = simd::fma<T>(simd::load_partial<T>(weight + k * kConvStrip<T> + c, width - c),
                         simd::load_partial<T>(rows[k] + c, width - c), sum);
    simd::store_partial<T>(out + c, sum, width - c);
  }
}

template <class T>
inline void conv_row(const T* start, const T* weight, const T* const* rows, index_t taps,
                     index_t width, T* out) {
  switch (taps) {
    case 2:
      return conv_row<2>(start, weight, rows, taps, width, out);
    case 3:
      return conv_row<3>(start, weight, rows, taps, width, out);
    case 4:
      return conv_row<4>(start, weight, rows, taps, width, out);
    default:
      return conv_row<0>(start, weight, rows, taps, width, out);
  }
}

}  // namespace detail

/// y[t] = act(bias + sum_k weight[k] xx[t + k]), xx = history's last K - 1 samples, then x: a
/// correlation, as the official `causal_conv1d_fn`. `y` [B, T, E], channels adjacent, aliases no
/// input. Any K >= 1. Does the pieces of work [begin, end) of `causal_conv1d_items`.
///
/// Values do not depend on position, batch or how a sequence is cut. Real-time safe; 26 KB of
/// stack.
template <Scalar T>
void causal_conv1d_forward(const CausalConv1dInputs<T>& in, View<T, 3> y, index_t begin,
                           index_t end) {
  const index_t taps = in.taps();
  alignas(64) T weight[detail::kConvTaps * kConvStrip<T>];
  alignas(64) T sums[kConvStrip<T>] = {};
  for (index_t item = begin; item < end; ++item) {
    const auto p = detail::ConvPiece::at(in, item);
    const detail::ConvRows<T> rows(in, p);
    for (index_t k0 = 0; k0 < taps; k0 += detail::kConvTaps) {
      const index_t count = (std::min)(detail::kConvTaps, taps - k0);
      transpose(&in.weight(p.first, k0), in.weight.stride(0), p.width, count, weight,
                kConvStrip<T>);
      const T* const bias = in.bias == nullptr ? nullptr : in.bias + p.first;
      for (index_t t = p.t0; t < p.t1; ++t) {
        const T* tap_rows[detail::kConvTaps];
        for (index_t k = 0; k < count; ++k) tap_rows[k] = rows.at(t + k0 + k - (taps - 1));
        T* const out = &y(p.b, t, p.first);
        const T* const start = k0 == 0 ? bias : out;
        if (in.silu && k0 + count == taps) {
          detail::conv_row(start, weight, tap_rows, count, p.width, sums);
          detail::silu_rows(sums, p.width);
          std::copy_n(sums, p.width, out);
        } else {
          detail::conv_row(start, weight, tap_rows, count, p.width, out);
        }
      }
    }
  }
}

/// Moves a state [B, E, S], contiguous, oldest first, on by x [B, T, E]: the last S samples of
/// both, raw. Does the channels [begin, end) of every row of the batch. Real-time safe.
template <Scalar T>
void causal_conv1d_advance(View<const T, 3> x, View<T, 3> state, index_t begin, index_t end) {
  const index_t length = x.extent(1);
  const index_t kept = state.extent(2);
  if (begin >= end || kept == 0 || length == 0) return;
  for (index_t b = 0; b < x.extent(0); ++b) {
    T* const rows = &state(b, begin, 0);
    const index_t fresh = (std::min)(length, kept);
    const index_t old = kept - fresh;
    // A column at a time: calls that move three values each would cost more than the convolution.
    for (index_t j = 0; j < old; ++j)
      for (index_t e = 0; e < end - begin; ++e) rows[e * kept + j] = rows[e * kept + j + fresh];
    transpose(&x(b, length - fresh, begin), x.stride(1), fresh, end - begin, rows + old, kept);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::causal_conv1d_forward);
SEQUIN_INSTANTIATE(kernels::causal_conv1d_advance);
