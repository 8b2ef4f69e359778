/// 2^x, softplus and silu for several registers at a time, where throughput decides.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <concepts>

namespace sequin::inline SEQUIN_ABI::kernels::detail {

template <class T>
inline constexpr T kLog2e = static_cast<T>(1.4426950408889634073599246810019);

/// p[i] = p[i] r[i] + c, step by step over the coefficients.
template <class T, index_t Count, std::same_as<T>... C>
SEQUIN_ALWAYS_INLINE void horner(simd::Vec<T> (&p)[Count], const simd::Vec<T> (&r)[Count], T c,
                                 C... rest) {
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) p[i] =
      simd::fma<T>(p[i], r[i], simd::Vec<T>(c));
  if constexpr (sizeof...(rest) > 0) horner<T, Count>(p, r, rest...);
}

/// v[i] = 2^v[i] for any value. The scan takes exp(dt * A) as 2^(dt * (A log2 e)), with A log2 e
/// made once, as the official GPU kernel does. Relative error below 1.5 ulp; below the normal range
/// the result falls to 0, above it is infinity, NaN stays NaN. (x - round(x)) is exact and the
/// polynomial is 1 + r q(r), so 2^0 is 1.
///
/// Several registers go through each stage together: one chain of dependent operations alone
/// leaves the multipliers idle for most of its 40 cycles.
template <class T, index_t Count>
SEQUIN_ALWAYS_INLINE void exp2_inplace(simd::Vec<T> (&v)[Count]) {
  using V = simd::Vec<T>;
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr T kHigh = sizeof(T) == 4 ? T(128) : T(1024);
  // At 1 - kHigh the exponent field becomes 0 with mantissa 0: exactly zero.
  constexpr T kLow = T(1) - kHigh;
  // Adding it rounds to an integer that then sits in the low bits, the exponent's bias included.
  constexpr T kRound = sizeof(T) == 4 ? T(12582912 + 127) : T(6755399441055744 + 1023);
  // The operands' order in min and max lets NaN through.
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) v[i] =
      simd::min<T>(V(kHigh), simd::max<T>(V(kLow), v[i]));
  V shifted[Count], p[Count];
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) shifted[i] = v[i] + V(kRound);
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) v[i] = v[i] - (shifted[i] - V(kRound));
  // (2^r - 1) / r interpolated at Chebyshev nodes: relative error 9.2e-9 and 2.0e-17.
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) p[i] =
      V(sizeof(T) == 4 ? T(0x1.44138ap-13) : T(0x1.e9d3fe3952179p-32));
  if constexpr (sizeof(T) == 4) {
    horner<T, Count>(p, v, 0x1.5f0890p-10f, 0x1.3b2a54p-7f, 0x1.c6af6cp-5f, 0x1.ebfbe0p-3f,
                     0x1.62e430p-1f, 1.0f);
  } else {
    horner<T, Count>(p, v, 0x1.e6063f7217bc6p-28, 0x1.b524fae627834p-24, 0x1.62bfd47773353p-20,
                     0x1.ffcbfc670dcd4p-17, 0x1.430913096fd9fp-13, 0x1.5d87fe78a5276p-10,
                     0x1.3b2ab6fba1ddap-7, 0x1.c6b08d704a0c2p-5, 0x1.ebfbdff82c598p-3,
                     0x1.62e42fefa39efp-1, 1.0);
  }
  SEQUIN_UNROLL for (index_t i = 0; i < Count; ++i) {
    // A product, not a sum of bit patterns: NaN stays NaN whatever its payload.
    v[i] = p[i] * simd::from_bits<T>(simd::to_bits<T>(shifted[i]) << kMantissa);
  }
}

/// Registers that go through softplus or silu together. core/vmath.hpp has the same functions for
/// one register; their chains of 100 dependent cycles would cost as much as 16 states do.
inline constexpr index_t kRowVecs = 4;

/// `n` rounded up to kRowVecs registers: what the functions below compute. A value then does not
/// depend on its position; arrays have that room.
template <class T>
constexpr index_t padded_rows(index_t n) noexcept {
  constexpr index_t group = kRowVecs * simd::kLanes<T>;
  return (n + group - 1) / group * group;
}

/// e[i] = exp(-|x[i]|); 0 below the normal range. Relative error below 2 ulp, as the product
/// with log2 e keeps its rounding error; |x| / 2 ulp on machines without fused multiply-add.
template <class T>
SEQUIN_ALWAYS_INLINE void exp_minus_abs(const simd::Vec<T> (&x)[kRowVecs],
                                        simd::Vec<T> (&e)[kRowVecs]) {
  using V = simd::Vec<T>;
  constexpr T kLowBits = sizeof(T) == 4 ? T(1.9259629911266175e-8) : T(2.0355273740931033e-17);
  constexpr T kNormal = sizeof(T) == 4 ? T(-87.3) : T(-708.3);
  V a[kRowVecs], low[kRowVecs];
  SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
    a[i] = simd::max<T>(V(kNormal - T{1}), V(T{0}) - simd::abs<T>(x[i]));
    e[i] = a[i] * V(kLog2e<T>);
    low[i] = simd::fma<T>(a[i], V(kLowBits), simd::fma<T>(a[i], V(kLog2e<T>), V(T{0}) - e[i]));
  }
  exp2_inplace<T>(e);
  SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
    // 2^low = 1 + low ln 2 to far below an ulp.
    const V whole = simd::fma<T>(e[i] * low[i], V(T(0.69314718055994531)), e[i]);
    e[i] = simd::select<T>(a[i] < V(kNormal), V(T{0}), whole);
  }
}

/// log(1 + e) / e' for 0 <= e <= 1 as 2 atanh(s), s = e / (2 + e): sum of s^(2k) / (2k + 1).
template <class T, index_t K>
SEQUIN_ALWAYS_INLINE void atanh_series(const simd::Vec<T> (&w)[kRowVecs],
                                       simd::Vec<T> (&p)[kRowVecs]) {
  SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) p[i] =
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
    SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) x[i] =
        V::load_aligned(values + at + i * lanes);
    exp_minus_abs<T>(x, s);
    SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
      s[i] = simd::div<T>(s[i], V(T{2}) + s[i]);
      w[i] = s[i] * s[i];
      p[i] = V(T{1} / T(2 * kTerms + 1));
    }
    atanh_series<T, kTerms - 1>(w, p);
    SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
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
    SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) x[i] =
        V::load_aligned(values + at + i * lanes);
    exp_minus_abs<T>(x, e);
    SEQUIN_UNROLL for (index_t i = 0; i < kRowVecs; ++i) {
      const V top = simd::select<T>(x[i] < V(T{0}), e[i], one);
      (x[i] * simd::div<T>(top, one + e[i])).store_aligned(values + at + i * lanes);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: other kernels inline this.
