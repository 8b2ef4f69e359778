/// Vector mathematics: exp, log and their kin, the same polynomial in every lane and every tail.
#pragma once

#include "sequin/core/simd.hpp"

#include <limits>

// Largest errors seen over dense sweeps against long double (AVX2 with FMA; SSE2 without), in ulp:
// tests/core/vmath_test.cpp states and holds them. NaN gives NaN everywhere.

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

/// c[0] + c[1] x + c[2] x^2 + ..., by Horner.
template <class T, std::size_t N>
inline Vec<T> polynomial(const Vec<T>& x, const T (&c)[N]) {
  Vec<T> y(c[N - 1]);
  for (std::size_t i = N - 1; i-- > 0;) y = simd::fma<T>(y, x, Vec<T>(c[i]));
  return y;
}

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr int kMantissa = 23;
  static constexpr std::uint32_t kOne = 0x3f800000u;
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440e-4f;
  static constexpr float kLowest = -104.0f;     // exp is 0 below
  static constexpr float kHighest = 88.8f;      // exp is infinite above
  static constexpr float kNormal = -87.33654f;  // exp is a normal number above
  // (exp(r) - 1 - r) / r^2 on |r| <= ln2 / 2, relative error of exp 8e-9.
  static constexpr float kPolynomial[] = {0.5f, 0.16666576266288757f, 0.04166655242443085f,
                                          0.00836323294788599f, 0.0013926250394433737f};
};

template <>
struct ExpConstants<double> {
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int kMantissa = 52;
  static constexpr std::uint64_t kOne = 0x3ff0000000000000u;
  static constexpr double kLn2High = 0.693145751953125;
  static constexpr double kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kLowest = -746.0;
  static constexpr double kHighest = 709.9;
  static constexpr double kNormal = -708.39;
  // Relative error of exp 2e-19.
  static constexpr double kPolynomial[] = {0.5,
                                           0.1666666666666667,
                                           0.04166666666666667,
                                           0.008333333333326084,
                                           0.0013888888888883711,
                                           0.0001984126987500228,
                                           2.480158732567746e-05,
                                           2.755725517000089e-06,
                                           2.755727347871858e-07,
                                           2.5105312729622103e-08,
                                           2.09147553258932e-09};
};

/// x = n ln2 + r with |r| <= ln2 / 2; `biased` is n + kRound.
template <class T>
struct Reduced {
  Vec<T> biased, n, r;
  explicit Reduced(const Vec<T>& x) {
    using C = ExpConstants<T>;
    biased = simd::fma<T>(x, Vec<T>(T(1.4426950408889634)), Vec<T>(C::kRound));
    n = biased - Vec<T>(C::kRound);
    r = simd::fnma<T>(n, Vec<T>(C::kLn2High), x);
    r = simd::fnma<T>(n, Vec<T>(C::kLn2Low), r);
  }
};

/// 2^n for an integer n in the normal range, given n + kRound.
template <class T>
inline Vec<T> power_of_two(const Vec<T>& biased) {
  using C = ExpConstants<T>;
  return simd::from_bits<T>((simd::to_bits<T>(biased) << C::kMantissa) + Bits<T>(C::kOne));
}

/// exp(r) - 1 for a reduced r.
template <class T>
inline Vec<T> expm1_reduced(const Vec<T>& r) {
  const Vec<T> p = polynomial<T>(r, ExpConstants<T>::kPolynomial);
  return simd::fma<T>(r * r, p, r);
}

template <class T>
inline Vec<T> copy_sign(const Vec<T>& magnitude, const Vec<T>& sign) {
  const Vec<T> minus_zero(T(-0.0));
  return magnitude | (sign & minus_zero);
}

}  // namespace detail

/// e^x for x <= 0 (NaN gives NaN): what softmax and scans need. 0 where e^x is below the smallest
/// normal number. Accuracy 1 ulp.
template <class T>
inline Vec<T> exp_nonpositive(const Vec<T>& x) {
  const detail::Reduced<T> a(x);
  const Vec<T> p = Vec<T>(T{1}) + detail::expm1_reduced<T>(a.r);
  const Vec<T> y = p * detail::power_of_two<T>(a.biased);
  return simd::select<T>(x < Vec<T>(detail::ExpConstants<T>::kNormal), Vec<T>(T{0}), y);
}

/// e^x: 0 for -inf, inf above the range, subnormal results included. Accuracy 1 ulp.
template <class T>
inline Vec<T> exp(const Vec<T>& x) {
  using C = detail::ExpConstants<T>;
  // Bounds are tested with x on the right of min and max so that NaN stays NaN.
  const Vec<T> bounded = simd::max<T>(Vec<T>(C::kLowest), simd::min<T>(Vec<T>(C::kHighest), x));
  const detail::Reduced<T> a(bounded);
  const Vec<T> p = Vec<T>(T{1}) + detail::expm1_reduced<T>(a.r);
  // In two steps, as 2^n alone may be out of range where the result is not.
  const Vec<T> half = simd::fma<T>(a.n, Vec<T>(T(0.5)), Vec<T>(C::kRound));
  const Vec<T> rest = a.n - (half - Vec<T>(C::kRound)) + Vec<T>(C::kRound);
  const Vec<T> y = p * detail::power_of_two<T>(half) * detail::power_of_two<T>(rest);
  return y;
}

/// e^x - 1 without cancellation. Accuracy 2 ulp.
template <class T>
inline Vec<T> expm1(const Vec<T>& x) {
  using C = detail::ExpConstants<T>;
  const Vec<T> bounded = simd::max<T>(Vec<T>(T(-60)), simd::min<T>(Vec<T>(C::kHighest), x));
  const detail::Reduced<T> a(bounded);
  const Vec<T> p = detail::expm1_reduced<T>(a.r);
  // 2^n (p + 1) - 1 = 2 (2^(n-1) p + (2^(n-1) - 1/2)): 2^(n-1) is in range.
  const Vec<T> s = detail::power_of_two<T>(a.biased - Vec<T>(T{1}));
  const Vec<T> y = simd::fma<T>(s, p, s - Vec<T>(T(0.5)));
  const Vec<T> result = y + y;
  // Keeps -0 and subnormals.
  return simd::select<T>(simd::abs<T>(x) < Vec<T>(std::numeric_limits<T>::epsilon() / 4), x,
                         result);
}

namespace detail {

template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  static constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;
  static constexpr std::uint32_t kMantissaBits = 0x007fffffu;
  static constexpr float kTiny = 1.17549435e-38f;
  static constexpr float kScale = 8388608.0f;  // 2^23
  static constexpr float kScaleLog = -23.0f;
  // log(1+f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f).
  static constexpr float kPolynomial[] = {0.66666662693f, 0.40000972152f, 0.28498786688f,
                                          0.24279078841f};
};

template <>
struct LogConstants<double> {
  static constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdu;
  static constexpr std::uint64_t kMantissaBits = 0x000fffffffffffffu;
  static constexpr double kTiny = 2.2250738585072014e-308;
  static constexpr double kScale = 4503599627370496.0;  // 2^52
  static constexpr double kScaleLog = -52.0;
  static constexpr double kPolynomial[] = {6.666666666666735130e-01, 3.999999999940941908e-01,
                                           2.857142874366239149e-01, 2.222219843214978396e-01,
                                           1.818357216161805012e-01, 1.531383769920937332e-01,
                                           1.479819860511658591e-01};
};

/// log(x) + correction for x > 0 and finite; the correction is far below one.
template <class T>
inline Vec<T> log_positive(const Vec<T>& x, const Vec<T>& correction) {
  using C = LogConstants<T>;
  using E = ExpConstants<T>;
  const Mask<T> subnormal = x < Vec<T>(C::kTiny);
  const Vec<T> v = simd::select<T>(subnormal, x * Vec<T>(C::kScale), x);
  // The exponent e such that v / 2^e lies in [sqrt(1/2), sqrt(2)).
  const Bits<T> shifted = simd::to_bits<T>(v) + Bits<T>(E::kOne - C::kSqrtHalf);
  const Bits<T> biased = shifted >> E::kMantissa;
  const Vec<T> m =
      simd::from_bits<T>((shifted & Bits<T>(C::kMantissaBits)) + Bits<T>(C::kSqrtHalf));
  // `biased` is a small non-negative integer: or-ed into the mantissa of 2^kMantissa it is a
  // number.
  const Vec<T> base = Vec<T>(C::kScale);
  Vec<T> e = simd::from_bits<T>(biased | simd::to_bits<T>(base)) - base;
  e = e - Vec<T>(sizeof(T) == 4 ? T(127) : T(1023));
  e = e + simd::select<T>(subnormal, Vec<T>(C::kScaleLog), Vec<T>(T{0}));
  const Vec<T> f = m - Vec<T>(T{1});
  const Vec<T> s = f / (f + Vec<T>(T{2}));
  const Vec<T> z = s * s;
  const Vec<T> r = z * polynomial<T>(z, C::kPolynomial);
  const Vec<T> half_square = Vec<T>(T(0.5)) * f * f;
  const Vec<T> low =
      simd::fma<T>(s, half_square + r, simd::fma<T>(e, Vec<T>(E::kLn2Low), correction));
  return simd::fma<T>(e, Vec<T>(E::kLn2High), f - (half_square - low));
}

}  // namespace detail

/// The natural logarithm: -inf for 0, NaN below, inf for inf. Accuracy 1 ulp.
template <class T>
inline Vec<T> log(const Vec<T>& x) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  Vec<T> y = detail::log_positive<T>(x, Vec<T>(T{0}));
  y = simd::select<T>(x == Vec<T>(T{0}), Vec<T>(-inf), y);
  y = simd::select<T>(x < Vec<T>(T{0}), Vec<T>(std::numeric_limits<T>::quiet_NaN()), y);
  y = simd::select<T>(x == Vec<T>(inf), x, y);
  return simd::select<T>(simd::is_nan<T>(x), x, y);
}

/// log(1 + x) without cancellation. Accuracy 2 ulp.
template <class T>
inline Vec<T> log1p(const Vec<T>& x) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  const Vec<T> one(T{1});
  const Vec<T> u = one + x;
  // What rounding lost of x or of 1.
  const Vec<T> lost = simd::select<T>(x < one, x - (u - one), one - (u - x));
  Vec<T> y = detail::log_positive<T>(u, lost / u);
  y = simd::select<T>(u == Vec<T>(T{0}), Vec<T>(-inf), y);
  y = simd::select<T>(u < Vec<T>(T{0}), Vec<T>(std::numeric_limits<T>::quiet_NaN()), y);
  y = simd::select<T>(x == Vec<T>(inf), x, y);
  y = simd::select<T>(simd::abs<T>(x) < Vec<T>(std::numeric_limits<T>::epsilon() / 4), x, y);
  return simd::select<T>(simd::is_nan<T>(x), x, y);
}

/// Accuracy 3 ulp.
template <class T>
inline Vec<T> tanh(const Vec<T>& x) {
  // Beyond 22 tanh is 1 in float and in double; the bound keeps expm1 finite.
  const Vec<T> magnitude = simd::min<T>(Vec<T>(T(22)), simd::abs<T>(x));
  const Vec<T> t = simd::expm1<T>(magnitude + magnitude);
  return detail::copy_sign<T>(t / (t + Vec<T>(T{2})), x);
}

/// 1 / (1 + e^-x). Accuracy 3 ulp.
template <class T>
inline Vec<T> sigmoid(const Vec<T>& x) {
  const Vec<T> one(T{1});
  const Vec<T> e = simd::exp_nonpositive<T>(Vec<T>(T{0}) - simd::abs<T>(x));
  return simd::select<T>(x < Vec<T>(T{0}), e, one) / (one + e);
}

/// log(1 + e^x), and x itself above 20 as in PyTorch. Accuracy 3 ulp.
template <class T>
inline Vec<T> softplus(const Vec<T>& x) {
  const Vec<T> e = simd::exp_nonpositive<T>(Vec<T>(T{0}) - simd::abs<T>(x));
  const Vec<T> y = simd::max<T>(Vec<T>(T{0}), x) + simd::log1p<T>(e);
  return simd::select<T>(x > Vec<T>(T(20)), x, y);
}

/// x * sigmoid(x). Accuracy 4 ulp. NaN for -inf, as in PyTorch.
template <class T>
inline Vec<T> silu(const Vec<T>& x) {
  return x * simd::sigmoid<T>(x);
}

namespace detail {

template <class T>
struct ErfConstants;

template <>
struct ErfConstants<float> {
  // erf(x) / x in x^2 on |x| <= 1.
  static constexpr float kSmall[] = {1.128379225730896f,      -0.37612637877464294f,
                                     0.11283782124519348f,    -0.026865430176258087f,
                                     0.005221031606197357f,   -0.0008484080317430198f,
                                     0.00011265958892181516f, -9.667044650996104e-06f};
  // erfc(x) exp(x^2) in 1 / (x + kShift) on 1 <= x <= kOne.
  static constexpr float kLarge[] = {
      0.00012370770855341107f, 0.5602731704711914f, 0.8990880846977234f, 0.5955506563186646f,
      2.34340763092041f,       -4.742410182952881f, 2.4297633171081543f};
  static constexpr float kShift = 1.5f;
  static constexpr float kOne = 4.0f;  // erf is 1 beyond
};

template <>
struct ErfConstants<double> {
  static constexpr double kSmall[] = {
      1.1283791670955126,      -0.37612638903183754,    0.1128379167095512,
      -0.02686617064512984,    0.0052239776254232985,   -0.000854832702193483,
      0.00012055332902888736,  -1.4925647567519332e-05, 1.6462045441468418e-06,
      -1.6364642158167616e-07, 1.4792401209404813e-08,  -1.216456005728345e-09,
      8.709045129053106e-11,   -4.230945824295338e-12};
  static constexpr double kLarge[] = {
      1.273194538411999e-08, 0.5641886748920729, 1.1284077674102482,  1.9741595366538842,
      2.8258324602066986,    2.6697328216797693, -0.7228605651893688, 0.4045558368126824,
      -86.45933445351965,    471.55570766079865, -2180.9601729464644, 7781.0890875471505,
      -18775.426689495016,   29840.22786377935,  -30368.2623604029,   18137.16016576931,
      -4875.8923220392635};
  static constexpr double kShift = 2.0;
  static constexpr double kOne = 6.0;
};

}  // namespace detail

/// The error function. Accuracy 2 ulp.
template <class T>
inline Vec<T> erf(const Vec<T>& x) {
  using C = detail::ErfConstants<T>;
  const Vec<T> one(T{1});
  const Vec<T> a = simd::min<T>(Vec<T>(C::kOne), simd::abs<T>(x));
  const Vec<T> small = x * detail::polynomial<T>(x * x, C::kSmall);
  const Mask<T> is_small = a < one;
  const Vec<T> t = one / (a + Vec<T>(C::kShift));
  const Vec<T> tail =
      simd::exp_nonpositive<T>(Vec<T>(T{0}) - a * a) * detail::polynomial<T>(t, C::kLarge);
  const Vec<T> large = detail::copy_sign<T>(one - tail, x);
  return simd::select<T>(is_small, small, large);
}

/// x / 2 * (1 + erf(x / sqrt 2)), evaluated in this form as PyTorch does.
template <class T>
inline Vec<T> gelu_erf(const Vec<T>& x) {
  const Vec<T> half(T(0.5));
  return half * x * (Vec<T>(T{1}) + simd::erf<T>(x * Vec<T>(T(0.70710678118654752))));
}

/// x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
template <class T>
inline Vec<T> gelu_tanh(const Vec<T>& x) {
  const Vec<T> inner =
      Vec<T>(T(0.79788456080286536)) * simd::fma<T>(Vec<T>(T(0.044715)) * x * x, x, x);
  return Vec<T>(T(0.5)) * x * (Vec<T>(T{1}) + simd::tanh<T>(inner));
}

/// Derivatives with respect to x.
template <class T>
inline Vec<T> sigmoid_grad(const Vec<T>& x) {
  const Vec<T> s = simd::sigmoid<T>(x);
  return s * (Vec<T>(T{1}) - s);
}
template <class T>
inline Vec<T> tanh_grad(const Vec<T>& x) {
  const Vec<T> y = simd::tanh<T>(x);
  return simd::fnma<T>(y, y, Vec<T>(T{1}));
}
template <class T>
inline Vec<T> silu_grad(const Vec<T>& x) {
  const Vec<T> s = simd::sigmoid<T>(x);
  return s * simd::fma<T>(x, Vec<T>(T{1}) - s, Vec<T>(T{1}));
}
template <class T>
inline Vec<T> softplus_grad(const Vec<T>& x) {
  return simd::select<T>(x > Vec<T>(T(20)), Vec<T>(T{1}), simd::sigmoid<T>(x));
}
template <class T>
inline Vec<T> gelu_erf_grad(const Vec<T>& x) {
  const Vec<T> half(T(0.5));
  const Vec<T> cdf = half * (Vec<T>(T{1}) + simd::erf<T>(x * Vec<T>(T(0.70710678118654752))));
  const Vec<T> density =
      Vec<T>(T(0.39894228040143268)) * simd::exp_nonpositive<T>(Vec<T>(T{0}) - half * x * x);
  return simd::fma<T>(x, density, cdf);
}
template <class T>
inline Vec<T> gelu_tanh_grad(const Vec<T>& x) {
  const Vec<T> c(T(0.79788456080286536));
  const Vec<T> one(T{1});
  const Vec<T> square = x * x;
  const Vec<T> y = simd::tanh<T>(c * simd::fma<T>(Vec<T>(T(0.044715)) * square, x, x));
  const Vec<T> inner_grad = c * simd::fma<T>(Vec<T>(T(0.134145)), square, one);
  return Vec<T>(T(0.5)) * simd::fma<T>(x * inner_grad, simd::fnma<T>(y, y, one), one + y);
}

}  // namespace sequin::inline SEQUIN_ABI::simd
