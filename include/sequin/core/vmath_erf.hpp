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
  // (a + kShift) exp(a^2) erfc(a) / 2 for 1/2 <= a <= 10.25 in kAlpha + kBeta / (a + kShift),
  // which runs from -1 to 1; relative error 9e-9.
  static constexpr float kLarge[] = {0.4254469871520996f,     -0.11764746159315109f,
                                     0.0011010193265974522f,  0.0062399026937782764f,
                                     0.0004458686162251979f,  -0.00047065908438526094f,
                                     -0.0001421155611751601f, 1.701130713627208e-05f,
                                     1.845362930907868e-05f,  2.373763436480658e-06f};
  static constexpr float kShift = 1.25f;
  static constexpr float kAlpha = 1.3589743375778198f;
  static constexpr float kBeta = -4.128205299377441f;
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
  // For 1/2 <= a <= 27.3, relative error 5e-17.
  static constexpr double kLarge[] = {
      0.46790830393517996,     -0.22523295679641728,    0.07040842805245019,
      -0.009113804917787838,   -0.0023679838461158655,  0.0008952694431305924,
      0.00015447075690607282,  -8.270064091827883e-05,  -2.0576582331764038e-05,
      7.305756682745965e-06,   3.4933219526077344e-06,  -3.3931370596595953e-07,
      -5.453796573090622e-07,  -7.98846711834708e-08,   6.100447696839948e-08,
      3.02841133021612e-08,    -1.1077548216831093e-09, -5.6016936301704726e-09,
      -1.2139597192926154e-09, 5.932063369199579e-10,   1.9556568440059563e-10,
      -2.6384100673569824e-11};
  static constexpr double kShift = 2.0;
  static constexpr double kAlpha = 1.1865671641791045;
  static constexpr double kBeta = -5.4664179104477615;
  static constexpr double kFar = 38.6;
  static constexpr std::uint64_t kUpperHalf = 0xfffffffff8000000u;
};

/// exp(a^2) erfc(a) / 2 for a within the range of kLarge.
template <class T>
inline Vec<T> half_scaled_erfc(const Vec<T>& a) {
  using C = ErfConstants<T>;
  const Vec<T> t = simd::div<T>(Vec<T>(T{1}), a + Vec<T>(C::kShift));
  return t * polynomial<T>(simd::fma<T>(t, Vec<T>(C::kBeta), Vec<T>(C::kAlpha)), C::kLarge);
}

/// erf(x) for |x| <= 1.
template <class T>
inline Vec<T> erf_small(const Vec<T>& x) {
  return simd::fma<T>(x, polynomial<T>(x * x, ErfConstants<T>::kSmall), x);
}

/// The standard normal distribution at x.
template <class T>
struct Normal {
  Vec<T> bounded;      ///< x, within kFar: finite where x is not.
  Vec<T> bell;         ///< exp(-x^2 / 2)
  Vec<T> probability;  ///< The probability of less than x.

  explicit Normal(const Vec<T>& x) {
    using C = ErfConstants<T>;
    const Vec<T> one(T{1}), half(T(0.5));
    const Vec<T> magnitude = simd::min<T>(Vec<T>(C::kFar), simd::abs<T>(x));
    bounded = simd::copy_sign<T>(magnitude, x);
    // The rounding error of x^2 / 2 would become the relative error of exp: the square of the
    // upper half of the bits is exact, what it leaves of x^2 / 2 is small.
    const Vec<T> high = simd::from_bits<T>(simd::to_bits<T>(magnitude) & Bits<T>(C::kUpperHalf));
    bell = exp_nonpositive_pair<T>(simd::negate<T>(half * high * high),
                                   simd::negate<T>(half * (magnitude - high) * (magnitude + high)));
    const Vec<T> a = bounded * Vec<T>(T(0.70710678118654752));
    const Vec<T> tail = bell * half_scaled_erfc<T>(simd::abs<T>(a));
    probability = simd::select<T>(simd::abs<T>(a) < half, simd::fma<T>(erf_small<T>(a), half, half),
                                  simd::select<T>(x < simd::zero<T>(), tail, one - tail));
  }
};

/// The normal distribution at -a <= 0 in float, exp(-a^2 / 2) t p(t) with t = 1 / (1 + kPole a) and
/// p in a variable that runs from -1 to 1 for a from 13.2 to 0; relative error 4e-9 there.
struct NormalTail {
  static constexpr float kPole = 0.3f;
  static constexpr float kScale = 2.505050505050505f, kShift = -1.5050505050505052f;
  static constexpr float kPolynomial[] = {0.25889965891838074f,     0.1619945466518402f,
                                          0.06601938605308533f,     0.014332841150462627f,
                                          -0.00036027442547492683f, -0.0009232996380887926f,
                                          -2.9547758458647877e-05f, 7.138553337426856e-05f,
                                          5.863644219061825e-07f,   -5.297563802741934e-06f};

  static Vec<float> at(const Vec<float>& a) {
    const Vec<float> one(1.0f);
    const Vec<float> t = simd::div<float>(one, simd::fma<float>(a, Vec<float>(kPole), one));
    const Vec<float> u = simd::fma<float>(t, Vec<float>(kScale), Vec<float>(kShift));
    const Vec<float> bell = simd::exp_nonpositive<float>(a * (a * Vec<float>(-0.5f)));
    return bell * t * polynomial<float>(u, kPolynomial);
  }
};

}  // namespace detail

/// The error function; -1 and 1 at the infinities, -0 for -0. Error at most 1.4 ulp.
template <class T>
inline Vec<T> erf(const Vec<T>& x) {
  const Vec<T> one(T{1});
  // Beyond 6 erf is 1 in float and in double.
  const Vec<T> a = simd::min<T>(Vec<T>(T(6)), simd::abs<T>(x));
  const Vec<T> half_tail =
      simd::exp_nonpositive<T>(simd::negate<T>(a * a)) * detail::half_scaled_erfc<T>(a);
  const Vec<T> large = simd::copy_sign<T>(simd::fnma<T>(half_tail, Vec<T>(T{2}), one), x);
  return simd::select<T>(a < one, detail::erf_small<T>(x), large);
}

}  // namespace sequin::inline SEQUIN_ABI::simd
