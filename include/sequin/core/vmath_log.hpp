/// The natural logarithm, of x and of 1 + x.
#pragma once

#include "sequin/core/vmath_exp.hpp"

#include <limits>

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  static constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;
  static constexpr std::uint32_t kMantissaBits = 0x007fffffu;
  static constexpr float kScale = 8388608.0f;  // 2^23
  static constexpr float kScaleLog = 23.0f;
  static constexpr float kBias = 127.0f;
  // log(1+f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f).
  static constexpr float kPolynomial[] = {0.66666662693f, 0.40000972152f, 0.28498786688f,
                                          0.24279078841f};
};

template <>
struct LogConstants<double> {
  static constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdu;
  static constexpr std::uint64_t kMantissaBits = 0x000fffffffffffffu;
  static constexpr double kScale = 4503599627370496.0;  // 2^52
  static constexpr double kScaleLog = 52.0;
  static constexpr double kBias = 1023.0;
  static constexpr double kPolynomial[] = {6.666666666666735130e-01, 3.999999999940941908e-01,
                                           2.857142874366239149e-01, 2.222219843214978396e-01,
                                           1.818357216161805012e-01, 1.531383769920937332e-01,
                                           1.479819860511658591e-01};
};

/// log(v) + correction for a normal v > 0, the correction being far below one; `bias` is what v's
/// exponent field holds above its exponent, more where v was scaled up.
template <class T>
inline Vec<T> log_normal(const Vec<T>& v, const Vec<T>& bias, const Vec<T>& correction) {
  using C = LogConstants<T>;
  using E = ExpConstants<T>;
  // The exponent e such that v / 2^e lies in [sqrt(1/2), sqrt(2)).
  const Bits<T> shifted = simd::to_bits<T>(v) + Bits<T>(E::kOne - C::kSqrtHalf);
  const Vec<T> m =
      simd::from_bits<T>((shifted & Bits<T>(C::kMantissaBits)) + Bits<T>(C::kSqrtHalf));
  // A small non-negative integer or-ed into the mantissa of 2^kMantissa is a number.
  const Vec<T> base(C::kScale);
  const Vec<T> e =
      simd::from_bits<T>((shifted >> E::kMantissa) | simd::to_bits<T>(base)) - base - bias;
  const Vec<T> f = m - Vec<T>(T{1});
  const Vec<T> s = simd::div<T>(f, f + Vec<T>(T{2}));
  const Vec<T> z = s * s;
  const Vec<T> r = z * polynomial<T>(z, C::kPolynomial);
  const Vec<T> half_square = Vec<T>(T(0.5)) * f * f;
  const Vec<T> low =
      simd::fma<T>(s, half_square + r, simd::fma<T>(e, Vec<T>(E::kLn2Low), correction));
  return simd::fma<T>(e, Vec<T>(E::kLn2High), f - (half_square - low));
}

/// `y` where x lies between `pole` and infinity; else x for inf, -inf at the pole, NaN.
template <class T>
inline Vec<T> log_edges(const Vec<T>& x, const Vec<T>& pole, const Vec<T>& y) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  const Vec<T> outside =
      simd::select<T>(x == pole, Vec<T>(-inf), Vec<T>(std::numeric_limits<T>::quiet_NaN()));
  return simd::select<T>(x > pole, simd::select<T>(x < Vec<T>(inf), y, x), outside);
}

}  // namespace detail

/// The natural logarithm: -inf for 0, NaN below, inf for inf; subnormal numbers included.
/// Error at most 0.9 ulp.
template <class T>
inline Vec<T> log(const Vec<T>& x) {
  using C = detail::LogConstants<T>;
  const Mask<T> subnormal = x < Vec<T>((std::numeric_limits<T>::min)());
  const Vec<T> v = simd::select<T>(subnormal, x * Vec<T>(C::kScale), x);
  const Vec<T> bias = simd::select<T>(subnormal, Vec<T>(C::kBias + C::kScaleLog), Vec<T>(C::kBias));
  return detail::log_edges<T>(x, simd::zero<T>(), detail::log_normal<T>(v, bias, simd::zero<T>()));
}

/// log(1 + x) without cancellation: -inf for -1, NaN below, inf for inf. Error at most
/// 0.8 ulp.
template <class T>
inline Vec<T> log1p(const Vec<T>& x) {
  const Vec<T> one(T{1});
  const Vec<T> u = one + x;
  // What rounding lost of x or of 1.
  const Vec<T> lost = simd::select<T>(x < one, x - (u - one), one - (u - x));
  Vec<T> y =
      detail::log_normal<T>(u, Vec<T>(detail::LogConstants<T>::kBias), simd::div<T>(lost, u));
  // Keeps -0 and subnormals.
  y = simd::select<T>(simd::abs<T>(x) < Vec<T>(std::numeric_limits<T>::epsilon() / 4), x, y);
  return detail::log_edges<T>(x, Vec<T>(T{-1}), y);
}

}  // namespace sequin::inline SEQUIN_ABI::simd
