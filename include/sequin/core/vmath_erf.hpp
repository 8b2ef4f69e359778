/// The error function and the normal distribution function under gelu.
#pragma once

#include "sequin/core/vmath_exp.hpp"

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

template <class T>
struct ErfConstants;

template <>
struct ErfConstants<float> {
  // erf(x) / x - 1 in x^2 on |x| <= 1, absolute error 1e-9.
  static constexpr float kSmall[] = {
      0.1283791657295594f,   -0.376126258374651f,     0.11283585248605635f,  -0.02685381458207252f,
      0.005188330482592488f, -0.0008010202699272506f, 7.853849828429409e-05f};
  // (a + kShift) exp(a^2) erfc(a) / 2 for 0 <= a <= 10.25 in kAlpha + kBeta / (a + kShift), which
  // runs from -1 to 1; relative error 5e-9.
  static constexpr float kLarge[] = {0.6541057311418542f,     -0.4658177791983189f,
                                     0.2516122550224917f,     -0.09997102288598007f,
                                     0.026439350653030266f,   -0.00299947691603309f,
                                     -0.000695021902395199f,  0.000278634979181932f,
                                     1.1603443717146197e-05f, -1.6384041121348955e-05f};
  static constexpr float kShift = 3.0f;
  static constexpr float kAlpha = 1.585365891456604f;
  static constexpr float kBeta = -7.756097793579102f;
  static constexpr float kFar = 14.4f;  // exp(-x^2 / 2) is 0 here, and x / sqrt(2) <= 10.25
  static constexpr std::uint32_t kUpperHalf = 0xfffff000u;
};

template <>
struct ErfConstants<double> {
  // Absolute error 1e-19.
  static constexpr double kSmall[] = {
      0.1283791670955126,     -0.3761263890318375,     0.11283791670954858,
      -0.02686617064507296,   0.00522397762478137,     -0.0008548326978765149,
      0.00012055331037551108, -1.4925593518728226e-05, 1.6460972954153765e-06,
      -1.635002619207727e-07, 1.4657883530919653e-08,  -1.136567067182716e-09,
      5.945255584223488e-11};
  // For 0 <= a <= 27.3, relative error 2e-17.
  static constexpr double kLarge[] = {
      0.6016325666929044,      -0.4936245680481921,     0.3383787661929468,
      -0.19170220380933278,    0.08748485778290674,     -0.030401503990796018,
      0.006906492397315929,    -0.0003557066286879188,  -0.0003888070326119878,
      0.00011889486807028651,  9.540380720368206e-06,   -1.2113399090860125e-05,
      5.457445126869073e-07,   1.1636896332068873e-06,  -1.2325887933455138e-07,
      -1.2358160951513718e-07, 1.4369716081345737e-08,  1.4588661876171296e-08,
      -1.1819496580766204e-09, -1.6780993839613464e-09, 5.2243925447066354e-11,
      1.2926956052596617e-10};
  static constexpr double kShift = 3.5;
  static constexpr double kAlpha = 1.2564102564102564;
  static constexpr double kBeta = -7.897435897435898;
  static constexpr double kFar = 38.6;
  static constexpr std::uint64_t kUpperHalf = 0xfffffffff8000000u;
};

/// exp(a^2) erfc(a) / 2 for a >= 0 within the range of kLarge.
template <class T>
inline Vec<T> half_scaled_erfc(const Vec<T>& a) {
  using C = ErfConstants<T>;
  const Vec<T> t = Vec<T>(T{1}) / (a + Vec<T>(C::kShift));
  return t * polynomial<T>(simd::fma<T>(t, Vec<T>(C::kBeta), Vec<T>(C::kAlpha)), C::kLarge);
}

/// The standard normal distribution at x.
template <class T>
struct Normal {
  Vec<T> magnitude;  ///< |x|, at most kFar: finite where x is not.
  Vec<T> bell;       ///< exp(-x^2 / 2)
  Vec<T> tail;       ///< The probability of more than |x|.

  explicit Normal(const Vec<T>& x) {
    using C = ErfConstants<T>;
    magnitude = simd::min<T>(Vec<T>(C::kFar), simd::abs<T>(x));
    // The rounding error of x^2 / 2 would become the relative error of exp: the square of the
    // upper half of the bits is exact, what it leaves of x^2 / 2 is small.
    const Vec<T> high = simd::from_bits<T>(simd::to_bits<T>(magnitude) & Bits<T>(C::kUpperHalf));
    const Vec<T> minus_half(T(-0.5));
    bell = exp_nonpositive_pair<T>(minus_half * high * high,
                                   minus_half * (magnitude - high) * (magnitude + high));
    tail = bell * half_scaled_erfc<T>(magnitude * Vec<T>(T(0.70710678118654752)));
  }
};

}  // namespace detail

/// The error function; -1 and 1 at the infinities, -0 for -0.
template <class T>
inline Vec<T> erf(const Vec<T>& x) {
  using C = detail::ErfConstants<T>;
  const Vec<T> one(T{1});
  const Vec<T> small = simd::fma<T>(x, detail::polynomial<T>(x * x, C::kSmall), x);
  // Beyond 6 erf is 1 in float and in double.
  const Vec<T> a = simd::min<T>(Vec<T>(T(6)), simd::abs<T>(x));
  const Vec<T> half_tail =
      simd::exp_nonpositive<T>(simd::negate<T>(a * a)) * detail::half_scaled_erfc<T>(a);
  const Vec<T> large = simd::copy_sign<T>(simd::fnma<T>(half_tail, Vec<T>(T{2}), one), x);
  return simd::select<T>(a < one, small, large);
}

}  // namespace sequin::inline SEQUIN_ABI::simd
