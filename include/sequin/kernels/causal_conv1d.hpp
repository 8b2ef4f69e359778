/// Depthwise causal convolution along time, forward, and its carried state.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/view.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/lane_transpose.hpp"

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

/// Steps that go through the taps together: a row of x that two of them meet is read once.
inline constexpr index_t kConvTile = 4;

/// `Steps` rows of y over one register of channels: out[i] = start[i] + sum_k w[k] rows[k + i],
/// taps in ascending order, one fused multiply-add each, then silu where it is asked for. Taps is
/// the number of taps, 0 when only known at run time. out[i] may be start[i].
template <index_t Steps, index_t Taps, class T, class Load, class Store>
SEQUIN_ALWAYS_INLINE void conv_tile(const T* const (&start)[kConvTile], const T* weight,
                                    const T* const* rows, index_t taps, bool silu,
                                    T* const (&out)[kConvTile], index_t c, Load&& load,
                                    Store&& store) {
  using V = simd::Vec<T>;
  V sum[Steps];
  SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) sum[i] = load(start[i] + c);
  if constexpr (Taps > 0) {
    V x[Steps + Taps - 1];
    SEQUIN_UNROLL for (index_t i = 0; i < Steps + Taps - 1; ++i) x[i] =
        simd::hold(load(rows[i] + c));
    SEQUIN_UNROLL for (index_t k = 0; k < Taps; ++k) {
      const V w = load(weight + k * kConvStrip<T> + c);
      SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) sum[i] = simd::fma<T>(w, x[k + i], sum[i]);
    }
  } else {
    for (index_t k = 0; k < taps; ++k) {
      const V w = load(weight + k * kConvStrip<T> + c);
      SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) sum[i] =
          simd::fma<T>(w, load(rows[k + i] + c), sum[i]);
    }
  }
  if (silu) {
    SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) sum[i] = simd::silu<T>(sum[i]);
  }
  SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) store(out[i] + c, sum[i]);
}

/// `Steps` rows of y over a strip of x; the samples that lie `ahead` of the newest are next.
template <index_t Steps, index_t Taps, class T>
SEQUIN_NO_INLINE void conv_rows(const T* const (&start)[kConvTile], const T* weight,
                                const T* const* rows, index_t taps, bool silu, index_t width,
                                index_t ahead, T* const (&out)[kConvTile]) {
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t met = Taps > 0 ? Steps + Taps - 1 : Steps + kConvTaps - 1;
  // Copies that nothing points to stay in registers.
  const T* from[kConvTile];
  const T* row[met];
  T* to[kConvTile];
  SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) from[i] = start[i], to[i] = out[i];
  if constexpr (Taps > 0) {
    simd::unrolled<met>([&](auto i) { row[i] = rows[i]; });
  } else {
    for (index_t i = 0; i < Steps + taps - 1; ++i) row[i] = rows[i];
  }
  index_t c = 0;
  for (; c + lanes <= width; c += lanes) {
    if constexpr (Steps == kConvTile) {
      const index_t newest = (Taps > 0 ? Taps : taps) - 1;
      SEQUIN_UNROLL for (index_t i = 0; i < Steps; ++i) simd::prefetch(row[newest + i] + ahead + c);
    }
    conv_tile<Steps, Taps>(
        from, weight, row, taps, silu, to, c, [](const T* at) { return simd::load<T>(at); },
        [](T* at, const simd::Vec<T>& v) { simd::store<T>(at, v); });
  }
  const index_t rest = width - c;
  if (rest > 0)
    conv_tile<Steps, Taps>(
        from, weight, row, taps, silu, to, c,
        [rest](const T* at) { return simd::load_partial<T>(at, rest); },
        [rest](T* at, const simd::Vec<T>& v) { simd::store_partial<T>(at, v, rest); });
}

/// The same for any number of steps and taps. Four taps, which nearly every model has, are compiled
/// apart: a row that several steps meet is then read once.
template <class T>
void conv_rows(bool one, bool silu, const T* const (&start)[kConvTile], const T* weight,
               const T* const* rows, index_t taps, index_t width, index_t ahead,
               T* const (&out)[kConvTile]) {
  if (taps == 4)
    one ? conv_rows<1, 4>(start, weight, rows, taps, silu, width, ahead, out)
        : conv_rows<kConvTile, 4>(start, weight, rows, taps, silu, width, ahead, out);
  else
    one ? conv_rows<1, 0>(start, weight, rows, taps, silu, width, ahead, out)
        : conv_rows<kConvTile, 0>(start, weight, rows, taps, silu, width, ahead, out);
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
  constexpr index_t tile = detail::kConvTile;
  const index_t taps = in.taps();
  const index_t ahead = tile * in.x.stride(1);
  alignas(64) T weight[detail::kConvTaps * kConvStrip<T>];
  alignas(64) const T zeros[kConvStrip<T>] = {};
  for (index_t item = begin; item < end; ++item) {
    const auto p = detail::ConvPiece::at(in, item);
    const detail::ConvRows<T> rows(in, p);
    const T* const bias = in.bias == nullptr ? zeros : in.bias + p.first;
    for (index_t k0 = 0; k0 < taps; k0 += detail::kConvTaps) {
      const index_t count = (std::min)(detail::kConvTaps, taps - k0);
      const bool silu = in.silu && k0 + count == taps;
      transpose(&in.weight(p.first, k0), in.weight.stride(0), p.width, count, weight,
                kConvStrip<T>);
      for (index_t t = p.t0; t < p.t1;) {
        const index_t steps = t + tile <= p.t1 ? tile : 1;
        const T* met[detail::kConvTaps + tile - 1];
        const T* start[tile] = {};
        T* out[tile] = {};
        for (index_t i = 0; i < steps + count - 1; ++i) met[i] = rows.at(t + k0 + i - (taps - 1));
        for (index_t i = 0; i < steps; ++i) {
          out[i] = &y(p.b, t + i, p.first);
          start[i] = k0 == 0 ? bias : out[i];
        }
        detail::conv_rows(steps < tile, silu, start, weight, met, count, p.width, ahead, out);
        t += steps;
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
