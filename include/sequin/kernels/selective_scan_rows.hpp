/// Softplus and silu over the rows of a scan's block, several registers at a time.
#pragma once

#include "sequin/kernels/selective_scan_common.hpp"

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// Registers that go through softplus or silu together. core/vmath.hpp has the same functions for
/// one register; their chains of 100 dependent cycles would cost as much as 16 states do.
inline constexpr index_t kRowVecs = 4;

/// Values from `n` rounded up to kRowVecs registers are computed; a chunk's rows have that room.
template <class T>
constexpr index_t padded_rows(index_t n) noexcept {
  constexpr index_t group = kRowVecs * simd::kLanes<T>;
  return (n + group - 1) / group * group;
}
static_assert(kScanChunk % kRowVecs == 0);

/// e[i] = exp(-|x[i]|); 0 below the normal range. Relative error below 2 ulp: the product with
/// log2 e keeps its rounding error.
template <class T>
SEQUIN_SCAN_INLINE void exp_minus_abs(const simd::Vec<T> (&x)[kRowVecs],
                                      simd::Vec<T> (&e)[kRowVecs]) {
  using V = simd::Vec<T>;
  constexpr T kLowBits = sizeof(T) == 4 ? T(1.9259629911266175e-8) : T(2.0355273740931033e-17);
  constexpr T kNormal = sizeof(T) == 4 ? T(-87.3) : T(-708.3);
  V a[kRowVecs], low[kRowVecs];
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
    a[i] = simd::max<T>(V(kNormal - T{1}), V(T{0}) - simd::abs<T>(x[i]));
    e[i] = a[i] * V(kLog2e<T>);
    low[i] = simd::fma<T>(a[i], V(kLowBits), simd::fma<T>(a[i], V(kLog2e<T>), V(T{0}) - e[i]));
  }
  exp2_inplace<T>(e);
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
    // 2^low = 1 + low ln 2 to far below an ulp.
    const V whole = simd::fma<T>(e[i] * low[i], V(T(0.69314718055994531)), e[i]);
    e[i] = simd::select<T>(a[i] < V(kNormal), V(T{0}), whole);
  }
}

/// log(1 + e) / e' for 0 <= e <= 1 as 2 atanh(s), s = e / (2 + e): sum of s^(2k) / (2k + 1).
template <class T, index_t K>
SEQUIN_SCAN_INLINE void atanh_series(const simd::Vec<T> (&w)[kRowVecs],
                                     simd::Vec<T> (&p)[kRowVecs]) {
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) p[i] =
      simd::fma<T>(p[i], w[i], simd::Vec<T>(T{1} / T(2 * K + 1)));
  if constexpr (K > 0) atanh_series<T, K - 1>(w, p);
}

/// values[i] = log(1 + exp(values[i])), and values[i] itself above 20 as in PyTorch.
template <class T>
void softplus_rows(T* values, index_t n) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  // s^2 <= 1/9: the first omitted term is below 2e-8 and 2e-17.
  constexpr index_t kTerms = sizeof(T) == 4 ? 6 : 15;
  for (index_t at = 0; at < n; at += kRowVecs * lanes) {
    V x[kRowVecs], s[kRowVecs], w[kRowVecs], p[kRowVecs];
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) x[i] =
        V::load_aligned(values + at + i * lanes);
    exp_minus_abs<T>(x, s);
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
      s[i] = s[i] / (V(T{2}) + s[i]);
      w[i] = s[i] * s[i];
      p[i] = V(T{1} / T(2 * kTerms + 1));
    }
    atanh_series<T, kTerms - 1>(w, p);
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
      // x on the right of max: NaN stays NaN.
      const V y = simd::fma<T>(s[i] + s[i], p[i], simd::max<T>(V(T{0}), x[i]));
      simd::select<T>(x[i] > V(T(20)), x[i], y).store_aligned(values + at + i * lanes);
    }
  }
}

/// values[i] = values[i] sigmoid(values[i]).
template <class T>
void silu_rows(T* values, index_t n) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const V one(T{1});
  for (index_t at = 0; at < n; at += kRowVecs * lanes) {
    V x[kRowVecs], e[kRowVecs];
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) x[i] =
        V::load_aligned(values + at + i * lanes);
    exp_minus_abs<T>(x, e);
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
      const V top = simd::select<T>(x[i] < V(T{0}), e[i], one);
      (x[i] * (top / (one + e[i]))).store_aligned(values + at + i * lanes);
    }
  }
}

/// The step sizes of a block: bias, then softplus.
template <class T>
inline void load_step_sizes(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0,
                            index_t steps, T* dt) {
  constexpr index_t block = kScanBlock<T>;
  load_rows(in.delta, at, t0, steps, dt);
  if (in.delta_bias != nullptr) {
    for (index_t lane = 0; lane < block; lane += simd::kLanes<T>) {
      const auto bias = load_lanes(in.delta_bias + at.first, lane, at.width);
      for (index_t i = lane; i < steps * block; i += block)
        (simd::Vec<T>::load_aligned(dt + i) + bias).store_aligned(dt + i);
    }
  }
  if (in.delta_softplus) {
    const index_t n = steps * block;
    std::fill(dt + n, dt + padded_rows<T>(n), T{0});
    softplus_rows(dt, n);
  }
}

/// silu(z) of a block.
template <class T>
inline void load_gates(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0,
                       index_t steps, T* gate) {
  const index_t n = steps * kScanBlock<T>;
  load_rows(in.z, at, t0, steps, gate);
  std::fill(gate + n, gate + padded_rows<T>(n), T{0});
  silu_rows(gate, n);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail
