/// Vector mathematics: exp, log and their kin, the activations and their derivatives.
#pragma once

// The same polynomial runs in every lane and in every tail. NaN gives NaN everywhere. The errors
// named here are the largest that tests/core/vmath_test.cpp finds in dense sweeps against long
// double and holds, with and without fma.

#include "sequin/core/vmath_erf.hpp"
#include "sequin/core/vmath_exp.hpp"
#include "sequin/core/vmath_log.hpp"

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

/// What sigmoid, silu and their derivatives share, without cancellation on either side.
template <class T>
struct Logistic {
  Vec<T> e;        ///< exp(-|x|)
  Vec<T> inverse;  ///< 1 / (1 + e), sigmoid(|x|)
  explicit Logistic(const Vec<T>& x)
      : e(simd::exp_nonpositive<T>(minus_abs<T>(x))),
        inverse(simd::div<T>(Vec<T>(T{1}), Vec<T>(T{1}) + e)) {}
};

/// log(1 + e) for 0 <= e <= 1 as 2 atanh(s), s = e / (2 + e): atanh(s) = s + s w P(w), w = s^2.
template <class T>
struct SoftplusConstants;
template <>
struct SoftplusConstants<float> {
  static constexpr float kPolynomial[] = {0.3333315735616179f, 0.20012454765170662f,
                                          0.13980303793071241f, 0.14089166315465668f};
};
template <>
struct SoftplusConstants<double> {
  static constexpr double kPolynomial[] = {
      0.33333333333333065,  0.2000000000009515,  0.14285714272463818, 0.11111112055827906,
      0.09090869895412951,  0.07693317702894471, 0.06650051478619971, 0.06056123354881282,
      0.041578447873287114, 0.08530030008425167};
};

/// 2 sqrt(2 / pi) (x + 0.044715 x^3): gelu_tanh(x) is x sigmoid of it.
template <class T>
inline Vec<T> gelu_tanh_inner(const Vec<T>& x) {
  const Vec<T> cubic(T(1.5957691216057308 * 0.044715));
  return x * simd::fma<T>(cubic * x, x, Vec<T>(T(1.5957691216057308)));
}

}  // namespace detail

/// max(0, x); NaN stays NaN.
template <class T>
inline Vec<T> relu(const Vec<T>& x) {
  return simd::max<T>(simd::zero<T>(), x);
}

/// 1 / (1 + e^-x). Error at most 2.4 ulp; 0 where e^x is below the normal numbers.
template <class T>
inline Vec<T> sigmoid(const Vec<T>& x) {
  const Vec<T> one(T{1});
  const Vec<T> e = simd::exp_nonpositive<T>(detail::minus_abs<T>(x));
  return simd::div<T>(simd::select<T>(x < simd::zero<T>(), e, one), one + e);
}

/// log(1 + e^x), and x itself above 20 as in PyTorch. Error at most 2.8 ulp; 0 where e^x is
/// below the normal numbers.
template <class T>
inline Vec<T> softplus(const Vec<T>& x) {
  const Vec<T> e = simd::exp_nonpositive<T>(detail::minus_abs<T>(x));
  const Vec<T> s = simd::div<T>(e, e + Vec<T>(T{2}));
  const Vec<T> twice = s + s;
  const Vec<T> w = s * s;
  const Vec<T> p = detail::polynomial<T>(w, detail::SoftplusConstants<T>::kPolynomial);
  const Vec<T> y = simd::relu<T>(x) + simd::fma<T>(twice * w, p, twice);
  return simd::select<T>(x > Vec<T>(T(20)), x, y);
}

/// x sigmoid(x). NaN for -inf, as in PyTorch. Error at most 3.1 ulp.
template <class T>
inline Vec<T> silu(const Vec<T>& x) {
  const Vec<T> e = simd::exp_nonpositive<T>(detail::minus_abs<T>(x));
  return simd::div<T>(simd::select<T>(x < simd::zero<T>(), x * e, x), Vec<T>(T{1}) + e);
}

/// x / 2 (1 + erf(x / sqrt 2)), exact: x times the normal distribution function, without the
/// cancellation of PyTorch's 1 + erf below 0. NaN for -inf, as in PyTorch. Error in double at most
/// 7 ulp, down to where the result is subnormal; in float at most 10 ulp of the larger of |result|
/// and 0.01, and 75 ulp of the result as far as that is a normal number.
template <class T>
inline Vec<T> gelu_erf(const Vec<T>& x) {
  if constexpr (sizeof(T) == 4) {
    const Vec<T> tail = detail::NormalTail::at(simd::abs<T>(x));
    return x * simd::select<T>(x < simd::zero<T>(), tail, Vec<T>(T{1}) - tail);
  } else {
    return x * detail::Normal<T>(x).probability;
  }
}

/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), evaluated as x sigmoid(2 sqrt(2 / pi) ...),
/// which is the same without cancellation. NaN for -inf, as in PyTorch. Error at most 12 ulp of the
/// larger of |result| and 0.01; relative to the result it grows with the exponent in the left tail.
template <class T>
inline Vec<T> gelu_tanh(const Vec<T>& x) {
  return x * simd::sigmoid<T>(detail::gelu_tanh_inner<T>(x));
}

/// x above 0, e^x - 1 below. Error as that of expm1; NaN stays NaN.
template <class T>
inline Vec<T> elu(const Vec<T>& x) {
  return simd::select<T>(x > Vec<T>(T{0}), x, simd::expm1<T>(simd::min<T>(Vec<T>(T{0}), x)));
}

/// Derivative of sigmoid at x: s (1 - s). Error at most 5 ulp.
template <class T>
inline Vec<T> sigmoid_grad(const Vec<T>& x) {
  const detail::Logistic<T> a(x);
  return a.e * a.inverse * a.inverse;
}

/// Derivative of tanh at x: 1 - tanh(x)^2, without its cancellation. Error at most 5 ulp.
template <class T>
inline Vec<T> tanh_grad(const Vec<T>& x) {
  return Vec<T>(T{4}) * simd::sigmoid_grad<T>(x + x);
}

/// Derivative of silu at x: s (1 + x (1 - s)). NaN at the infinities, as in PyTorch. Error at most
/// 3.5 ulp of the larger of |result| and 1/4, here and in the derivatives of gelu: they cross 0.
template <class T>
inline Vec<T> silu_grad(const Vec<T>& x) {
  const detail::Logistic<T> a(x);
  const Vec<T> small = a.e * a.inverse;
  const Mask<T> negative = x < simd::zero<T>();
  const Vec<T> s = simd::select<T>(negative, small, a.inverse);
  const Vec<T> rest = simd::select<T>(negative, a.inverse, small);
  return s * simd::fma<T>(x, rest, Vec<T>(T{1}));
}

/// Derivative of softplus at x: sigmoid(x), and 1 above 20.
template <class T>
inline Vec<T> softplus_grad(const Vec<T>& x) {
  return simd::select<T>(x > Vec<T>(T(20)), Vec<T>(T{1}), simd::sigmoid<T>(x));
}

/// Derivative of elu at x: 1 above 0, e^x below (0 where that is subnormal).
template <class T>
inline Vec<T> elu_grad(const Vec<T>& x) {
  return simd::exp_nonpositive<T>(simd::min<T>(Vec<T>(T{0}), x));
}

/// Derivative of gelu_erf at x: cdf(x) + x pdf(x); 0 and 1 at the infinities.
template <class T>
inline Vec<T> gelu_erf_grad(const Vec<T>& x) {
  const detail::Normal<T> normal(x);
  return simd::fma<T>(normal.bounded * normal.bell, Vec<T>(T(0.39894228040143268)),
                      normal.probability);
}

/// Derivative of gelu_tanh at x; 0 and 1 at the infinities.
template <class T>
inline Vec<T> gelu_tanh_grad(const Vec<T>& x) {
  // At 30 the sigmoid is 0 or 1 in float and in double; the bound keeps the inner cubic finite.
  const Vec<T> far(T(30));
  const Vec<T> v = simd::max<T>(simd::negate<T>(far), simd::min<T>(far, x));
  const Vec<T> cubic(T(3 * 1.5957691216057308 * 0.044715));
  const Vec<T> inner_grad = simd::fma<T>(cubic * v, v, Vec<T>(T(1.5957691216057308)));
  const detail::Logistic<T> a(detail::gelu_tanh_inner<T>(v));
  const Vec<T> small = a.e * a.inverse;
  const Mask<T> negative = v < simd::zero<T>();
  const Vec<T> s = simd::select<T>(negative, small, a.inverse);
  const Vec<T> rest = simd::select<T>(negative, a.inverse, small);
  return s * simd::fma<T>(v * inner_grad, rest, Vec<T>(T{1}));
}

}  // namespace sequin::inline SEQUIN_ABI::simd
