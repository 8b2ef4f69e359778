/// Depthwise causal convolution along time, backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/causal_conv1d.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// Steps whose products are summed before they join the sum over time.
inline constexpr index_t kConvSumSteps = 32;

}  // namespace detail

/// da = dy silu'(a) for n values, `a` being the convolution before its activation. `da` may alias
/// either. Real-time safe.
template <Scalar T>
void causal_conv1d_backward_silu(const T* a, const T* dy, index_t n, T* da) {
  const simd::Vec<T> one(T{1});
  simd::transform(
      n, da,
      [&](const simd::Vec<T>& v, const simd::Vec<T>& d) {
        const simd::Vec<T> sigmoid = simd::sigmoid(v);
        return d * (sigmoid * simd::fma<T>(v, one - sigmoid, one));
      },
      a, dy);
}

/// dx[t] = sum_k weight[k] da[t + K - 1 - k], `da` [B, T, E] being the gradient before the
/// activation. `dx` [B, T, E] aliases nothing. Does the pieces of work [begin, end) of
/// `causal_conv1d_items`. No allocation.
template <Scalar T>
void causal_conv1d_backward_input(const CausalConv1dInputs<T>& in, View<const T, 3> da,
                                  View<T, 3> dx, index_t begin, index_t end) {
  constexpr index_t tile = detail::kConvTile;
  const index_t taps = in.taps();
  const index_t ahead = tile * da.stride(1);
  alignas(64) T weight[detail::kConvTaps * kConvStrip<T>];
  alignas(64) const T zeros[kConvStrip<T>] = {};
  for (index_t item = begin; item < end; ++item) {
    const auto p = detail::ConvPiece::at(in, item);
    for (index_t k0 = 0; k0 < taps; k0 += detail::kConvTaps) {
      const index_t count = (std::min)(detail::kConvTaps, taps - k0);
      transpose(&in.weight(p.first, k0), in.weight.stride(0), p.width, count, weight,
                kConvStrip<T>);
      for (index_t t = p.t0; t < p.t1;) {
        index_t latest = t + taps - 1 - k0;
        // Outputs after the end do not exist.
        const bool whole = t + tile <= p.t1 && latest + tile <= in.length();
        const index_t steps = whole ? tile : 1;
        const index_t skip =
            whole ? 0 : (std::min)(count, (std::max)(index_t{0}, latest - in.length() + 1));
        // Rows run against time, and so do the steps.
        latest += steps - 1;
        const T* met[detail::kConvTaps + tile - 1];
        const T* start[tile] = {};
        T* out[tile] = {};
        for (index_t i = skip; i < steps + count - 1; ++i) met[i] = &da(p.b, latest - i, p.first);
        for (index_t i = 0; i < steps; ++i) {
          out[i] = &dx(p.b, t + steps - 1 - i, p.first);
          start[i] = k0 == 0 ? zeros : out[i];
        }
        detail::conv_rows(!whole, false, start, weight + skip * kConvStrip<T>, met + skip,
                          count - skip, p.width, ahead, out);
        t += steps;
      }
    }
  }
}

/// The gradient of the samples before x: `dhistory` [B, S, E], overwritten. Does the channels
/// [begin, end). No allocation.
template <Scalar T>
void causal_conv1d_backward_history(const CausalConv1dInputs<T>& in, View<const T, 3> da,
                                    View<T, 3> dhistory, index_t begin, index_t end) {
  const index_t taps = in.taps();
  const index_t rows = dhistory.extent(1);
  for (index_t b = 0; b < in.batch(); ++b) {
    for (index_t row = 0; row < rows; ++row) {
      // Row `rows - 1` is one step before x.
      const index_t latest = row - rows + taps - 1;
      for (index_t e = begin; e < end; ++e) {
        T sum = 0;
        for (index_t k = (std::max)(index_t{0}, latest - in.length() + 1); k <= latest; ++k)
          sum += in.weight(e, k) * da(b, latest - k, e);
        dhistory(b, row, e) = sum;
      }
    }
  }
}

/// dweight[k] = sum over batch and time of da[t] xx[t + k], dbias = sum of da; each channel's sums
/// run in one order whatever the number of threads. `dweight` [E, K] and `dbias` [E] (or null) are
/// overwritten. History's channels must be adjacent. Does the strips [begin, end) of
/// `causal_conv1d_strips`. No allocation.
template <Scalar T>
void causal_conv1d_backward_weight(const CausalConv1dInputs<T>& in, View<const T, 3> da, T* dweight,
                                   T* dbias, index_t begin, index_t end) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t tile = detail::kConvTaps;
  constexpr index_t steps = detail::kConvSumSteps;
  const index_t taps = in.taps();
  alignas(64) T sums[(tile + 1) * kConvStrip<T>];
  for (index_t strip = begin; strip < end; ++strip) {
    const index_t first = strip * kConvStrip<T>;
    const index_t width = (std::min)(kConvStrip<T>, in.channels() - first);
    for (index_t k0 = 0; k0 < taps; k0 += tile) {
      const index_t count = (std::min)(tile, taps - k0);
      std::fill_n(sums, (tile + 1) * kConvStrip<T>, T{0});
      for (index_t b = 0; b < in.batch(); ++b) {
        const detail::ConvPiece p{b, first, width, 0, in.length()};
        const detail::ConvRows<T> rows(in, p);
        for (index_t t0 = 0; t0 < in.length(); t0 += steps) {
          const index_t t1 = (std::min)(t0 + steps, in.length());
          const T* xx[steps + tile];
          const index_t earliest = t0 + k0 - (taps - 1);
          for (index_t i = 0; i < t1 - t0 + count - 1; ++i) xx[i] = rows.at(earliest + i);
          for (index_t c = 0; c < width; c += lanes) {
            V sum[tile];
            for (index_t k = 0; k < count; ++k) sum[k] = V(T{0});
            V total(T{0});
            for (index_t t = t0; t < t1; ++t) {
              const V d = detail::load_strip(&da(b, t, first), c, width);
              total = total + d;
              for (index_t k = 0; k < count; ++k)
                sum[k] = simd::fma<T>(d, detail::load_strip(xx[t - t0 + k], c, width), sum[k]);
            }
            for (index_t k = 0; k < count; ++k) {
              T* const at = sums + k * kConvStrip<T> + c;
              (V::load_aligned(at) + sum[k]).store_aligned(at);
            }
            T* const at = sums + tile * kConvStrip<T> + c;
            (V::load_aligned(at) + total).store_aligned(at);
          }
        }
      }
      transpose(static_cast<const T*>(sums), kConvStrip<T>, count, width,
                dweight + first * taps + k0, taps);
      if (dbias != nullptr) std::copy_n(sums + tile * kConvStrip<T>, width, dbias + first);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::causal_conv1d_backward_silu);
SEQUIN_INSTANTIATE(kernels::causal_conv1d_backward_input);
SEQUIN_INSTANTIATE(kernels::causal_conv1d_backward_history);
SEQUIN_INSTANTIATE(kernels::causal_conv1d_backward_weight);
