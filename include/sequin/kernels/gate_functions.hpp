/// Sigmoid and tanh for the gates of recurrent cells, where one chain of operations waits for
/// another.
#pragma once

#include "sequin/core/vmath.hpp"

// A step of a small GRU does not end before a product, a sigmoid, a tanh and the next state have
// followed each other: the number of cycles from operand to result decides, not that of operations.
// So e^x is taken of x with its sign, which saves the way through |x| and back, and its polynomial
// is evaluated as a tree.

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// e^(kScale x) for float, |kScale x| bounded to where the result is normal; NaN stays NaN. Error
/// at most 1 ulp + |x| / 8 ulp (the last bits of log2 e).
template <int kScale>
SEQUIN_ALWAYS_INLINE simd::Vec<float> gate_exp(const simd::Vec<float>& x) {
  using V = simd::Vec<float>;
  constexpr float kBound = 87.0f / static_cast<float>(kScale < 0 ? -kScale : kScale);
  const V log2e(static_cast<float>(kScale) * 1.44269504088896341f);
  const V round(12582912.0f + 127.0f);  // as in exp2_inplace of row_functions.hpp
  const V v = simd::max<float>(V(-kBound), simd::min<float>(V(kBound), x));
  const V shifted = simd::fma<float>(v, log2e, round);
  const V r = simd::fma<float>(v, log2e, round - shifted);
  const V power = simd::from_bits<float>(simd::to_bits<float>(shifted) << 23);
  // 2^r = 1 + r q(r), the coefficients of exp2_inplace.
  const V r2 = r * r;
  const V r4 = r2 * r2;
  const V c01 = simd::fma<float>(r, V(0x1.62e430p-1f), V(1.0f));
  const V c23 = simd::fma<float>(r, V(0x1.c6af6cp-5f), V(0x1.ebfbe0p-3f));
  const V c45 = simd::fma<float>(r, V(0x1.5f0890p-10f), V(0x1.3b2a54p-7f));
  const V high = simd::fma<float>(r2, V(0x1.44138ap-13f), c45);
  const V p = simd::fma<float>(r4, high, simd::fma<float>(r2, c23, c01));
  return p * power;
}

/// 1 / (1 + e^-x).
template <class T>
SEQUIN_ALWAYS_INLINE simd::Vec<T> gate_sigmoid(const simd::Vec<T>& x) {
  if constexpr (sizeof(T) == 4) {
    const simd::Vec<T> one(T{1});
    return simd::div<T>(one, one + gate_exp<-1>(x));
  } else {
    return simd::sigmoid<T>(x);
  }
}

template <class T>
SEQUIN_ALWAYS_INLINE simd::Vec<T> gate_tanh(const simd::Vec<T>& x) {
  if constexpr (sizeof(T) == 4) {
    using V = simd::Vec<T>;
    const V one(T{1});
    const V square = x * x;
    const V p = simd::detail::polynomial<T>(square, simd::detail::TanhConstants<T>::kPolynomial);
    const V small = simd::fma<T>(x * square, p, x);
    const V large = simd::fnma<T>(V(T{2}), simd::div<T>(one, one + gate_exp<2>(x)), one);
    return simd::select<T>(simd::abs<T>(x) < V(T(0.625)), small, large);
  } else {
    return simd::tanh<T>(x);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: other kernels inline this.
