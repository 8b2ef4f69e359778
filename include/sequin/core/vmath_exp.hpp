/// The exponential function and what follows from it alone: expm1 and tanh.
#pragma once

#include "sequin/core/simd.hpp"

#include <limits>

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

/// c[First] + c[First + Step] y + c[First + 2 Step] y^2 + ..., by Horner.
template <std::size_t First, std::size_t Step, class T, std::size_t N>
inline Vec<T> horner(const Vec<T>& y, const T (&c)[N]) {
  constexpr std::size_t last = First + (N - 1 - First) / Step * Step;
  Vec<T> sum(c[last]);
  for (std::size_t i = last; i > First; i -= Step) {
    sum = simd::fma<T>(sum, y, Vec<T>(c[i - Step]));
  }
  return sum;
}

/// c[0] + c[1] x + c[2] x^2 + ... Long ones go as an even and an odd half side by side: their
/// chains of dependent operations are longer than what a processor looks ahead.
template <class T, std::size_t N>
inline Vec<T> polynomial(const Vec<T>& x, const T (&c)[N]) {
  if constexpr (N < 10 || sizeof(T) == 4) {
    return horner<0, 1>(x, c);
  } else {
    const Vec<T> square = x * x;
    return simd::fma<T>(horner<1, 2>(square, c), x, horner<0, 2>(square, c));
  }
}

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr int kMantissa = 23;
  static constexpr std::uint32_t kOne = 0x3f800000u;
  // 1.5 * 2^23 + 127: adding it rounds to an integer n and leaves n + 127, the exponent field of
  // 2^n, in the lowest bits.
  static constexpr float kRound = 12583039.0f;
  // ln 2 in two parts; products of the first with n are exact without fma, too.
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440e-4f;
  static constexpr float kLowest = -104.0f;  // exp is 0 below
  static constexpr float kHighest = 88.8f;   // exp is infinite above
  static constexpr float kZero = -88.0f;     // n is -127 here: the exponent field is 0
  // (exp(r) - 1 - r) / r^2 on |r| <= ln2 / 2, relative error of exp 8e-9.
  static constexpr float kPolynomial[] = {0.5f, 0.16666576266288757f, 0.04166655242443085f,
                                          0.00836323294788599f, 0.0013926250394433737f};
};

template <>
struct ExpConstants<double> {
  static constexpr int kMantissa = 52;
  static constexpr std::uint64_t kOne = 0x3ff0000000000000u;
  static constexpr double kRound = 6755399441056767.0;  // 1.5 * 2^52 + 1023
  static constexpr double kLn2High = 0.693145751953125;
  static constexpr double kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kLowest = -746.0;
  static constexpr double kHighest = 709.9;
  static constexpr double kZero = -709.0;
  // Relative error of exp 4e-18.
  static constexpr double kPolynomial[] = {
      0.5000000000000011,    0.16666666666666408,    0.041666666666529434,   0.00833333333349736,
      0.0013888888943873734, 0.00019841269501344786, 2.4801492803707518e-05, 2.755759019779641e-06,
      2.763036634872708e-07, 2.499910460457699e-08};
};

/// x + low = n ln2 + r with |r| <= ln2 / 2; `biased` is n + kRound.
template <class T>
struct Reduced {
  Vec<T> biased, n, r;
  explicit Reduced(const Vec<T>& x) : Reduced(x, x) {}
  Reduced(const Vec<T>& x, const Vec<T>& low, const Vec<T>& sum) : Reduced(sum, x) { r = r + low; }

 private:
  Reduced(const Vec<T>& nearby, const Vec<T>& x) {
    using C = ExpConstants<T>;
    biased = simd::fma<T>(nearby, Vec<T>(T(1.4426950408889634)), Vec<T>(C::kRound));
    n = biased - Vec<T>(C::kRound);
    r = simd::fnma<T>(n, Vec<T>(C::kLn2High), x);
    r = simd::fnma<T>(n, Vec<T>(C::kLn2Low), r);
  }
};

/// 2^n given n + kRound, n from -127 (-1023), which gives 0, to 127 (1023).
template <class T>
inline Vec<T> power_of_two(const Vec<T>& biased) {
  return simd::from_bits<T>(simd::to_bits<T>(biased) << ExpConstants<T>::kMantissa);
}

/// exp(r) for a reduced r.
template <class T>
inline Vec<T> exp_reduced(const Vec<T>& r) {
  const Vec<T> p = polynomial<T>(r, ExpConstants<T>::kPolynomial);
  return simd::fma<T>(simd::fma<T>(p, r, Vec<T>(T{1})), r, Vec<T>(T{1}));
}

/// exp(x + low) for x + low <= 0 where low is what x + low lost in rounding, or more.
template <class T>
inline Vec<T> exp_nonpositive_pair(const Vec<T>& x, const Vec<T>& low) {
  const Vec<T> sum = simd::max<T>(Vec<T>(ExpConstants<T>::kZero), x + low);
  const Reduced<T> a(x, low, sum);
  return exp_reduced<T>(a.r) * power_of_two<T>(a.biased);
}

/// -|x|
template <class T>
inline Vec<T> minus_abs(const Vec<T>& x) {
  return x | Vec<T>(T(-0.0));
}

}  // namespace detail

/// e^x for x <= 0 (NaN gives NaN): what softmax and sigmoids need. Gives 0 below -87.68 (-708.74),
/// where e^x is subnormal; right up to 88.3 (709.4), but does not overflow to infinity beyond.
/// Error at most 0.9 ulp in float and in double, 1.2 without fma.
template <class T>
inline Vec<T> exp_nonpositive(const Vec<T>& x) {
  // NaN passes max and min on the right.
  const detail::Reduced<T> a(simd::max<T>(Vec<T>(detail::ExpConstants<T>::kZero), x));
  return detail::exp_reduced<T>(a.r) * detail::power_of_two<T>(a.biased);
}

/// e^x: 0 for -inf, inf above the range, subnormal results included. Error at most 0.9 ulp in float
/// and in double, 1.2 without fma.
template <class T>
inline Vec<T> exp(const Vec<T>& x) {
  using C = detail::ExpConstants<T>;
  const Vec<T> bounded = simd::max<T>(Vec<T>(C::kLowest), simd::min<T>(Vec<T>(C::kHighest), x));
  const detail::Reduced<T> a(bounded);
  // In two steps, as 2^n alone may be out of range where the result is not.
  const Vec<T> half = simd::fma<T>(a.n, Vec<T>(T(0.5)), Vec<T>(C::kRound));
  const Vec<T> rest = a.biased - (half - Vec<T>(C::kRound));
  return detail::exp_reduced<T>(a.r) * detail::power_of_two<T>(half) *
         detail::power_of_two<T>(rest);
}

/// e^x - 1 without cancellation. Error at most 1.6 ulp in float, 2.4 in double.
template <class T>
inline Vec<T> expm1(const Vec<T>& x) {
  using C = detail::ExpConstants<T>;
  const Vec<T> bounded = simd::max<T>(Vec<T>(T(-60)), simd::min<T>(Vec<T>(C::kHighest), x));
  const detail::Reduced<T> a(bounded);
  const Vec<T> q = detail::polynomial<T>(a.r, C::kPolynomial);
  const Vec<T> p = simd::fma<T>(a.r * a.r, q, a.r);
  // 2^n (p + 1) - 1 = 2 (2^(n-1) p + (2^(n-1) - 1/2)): 2^(n-1) is in range.
  const Vec<T> s = detail::power_of_two<T>(a.biased - Vec<T>(T{1}));
  const Vec<T> y = simd::fma<T>(s, p, s - Vec<T>(T(0.5)));
  // Keeps -0 and subnormals.
  const Mask<T> tiny = simd::abs<T>(x) < Vec<T>(std::numeric_limits<T>::epsilon() / 4);
  return simd::select<T>(tiny, x, y + y);
}

namespace detail {

/// (tanh(x) / x - 1) / x^2 in x^2 on |x| <= 5/8, relative error of tanh 4e-9 and 1e-17.
template <class T>
struct TanhConstants;
template <>
struct TanhConstants<float> {
  static constexpr float kPolynomial[] = {-0.3333328068256378f, 0.13331441581249237f,
                                          -0.05373963341116905f, 0.02063879929482937f,
                                          -0.005704653915017843f};
};
template <>
struct TanhConstants<double> {
  static constexpr double kPolynomial[] = {
      -0.33333333333332854,   0.13333333333262015,   -0.05396825393123057,   0.02186948757522247,
      -0.008863220991245884,  0.003591989083881132,  -0.001454958430122328,  0.0005863151246412373,
      -0.0002285614545007784, 7.714134991282372e-05, -1.6071149546673323e-05};
};

}  // namespace detail

/// The hyperbolic tangent; -1 and 1 at the infinities, -0 for -0. Error at most 1.4 ulp.
template <class T>
inline Vec<T> tanh(const Vec<T>& x) {
  const Vec<T> one(T{1});
  // Beyond 22 tanh is 1 in float and in double.
  const Vec<T> magnitude = simd::min<T>(Vec<T>(T(22)), simd::abs<T>(x));
  const Vec<T> square = magnitude * magnitude;
  const Vec<T> p = detail::polynomial<T>(square, detail::TanhConstants<T>::kPolynomial);
  const Vec<T> small = simd::fma<T>(magnitude * square, p, magnitude);
  const detail::Reduced<T> a(magnitude + magnitude);
  const Vec<T> e = detail::exp_reduced<T>(a.r) * detail::power_of_two<T>(a.biased);
  const Vec<T> large = one - simd::div<T>(Vec<T>(T{2}), e + one);
  return simd::copy_sign<T>(simd::select<T>(magnitude < Vec<T>(T(0.625)), small, large), x);
}

}  // namespace sequin::inline SEQUIN_ABI::simd
