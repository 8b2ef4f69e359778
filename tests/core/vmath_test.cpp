#include "sequin/core/vmath.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

namespace simd = sequin::simd;

namespace {

using Real = long double;

template <class T>
using VectorFunction = simd::Vec<T> (*)(const simd::Vec<T>&);

constexpr Real kInf = std::numeric_limits<Real>::infinity();
constexpr Real kRoot2 = 1.4142135623730950488016887242096981L;
constexpr Real kPi = 3.1415926535897932384626433832795029L;

Real logistic(Real x) { return 1 / (1 + std::exp(-x)); }
Real softplus(Real x) { return x > 20 ? x : x < -40 ? std::exp(x) : std::log1p(std::exp(x)); }
Real normal_cdf(Real x) { return std::erfc(-x / kRoot2) / 2; }
Real inner(Real x) { return 2 * std::sqrt(2 / kPi) * (x + 0.044715L * x * x * x); }
Real silu_grad(Real x) { return logistic(x) * (1 + x * logistic(-x)); }
Real gelu_erf_grad(Real x) { return normal_cdf(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * kPi); }
Real gelu_tanh_grad(Real x) {
  const Real slope = 2 * std::sqrt(2 / kPi) * (1 + 3 * 0.044715L * x * x);
  return logistic(inner(x)) * (1 + x * slope * logistic(-inner(x)));
}

/// One function with what it has to equal: `low` and `high` bound the arguments, an error counts
/// against the larger of the result and `floor`.
template <class T>
struct Case {
  std::string name;
  VectorFunction<T> f;
  Real (*exact)(Real);
  double bound;  // in ulp
  Real low = -kInf, high = kInf;
  double floor = 0;
};

/// The bounds are the largest errors seen in sweeps of millions of points (g++, clang++; with and
/// without fma), rounded up. Derivatives that cross 0 are measured against 0.1 at least: relative
/// error means nothing at a zero that no number hits.
template <class T>
std::vector<Case<T>> cases() {
  constexpr bool is_float = std::is_same_v<T, float>;
  const auto bound = [](double f, double d) { return is_float ? f : d; };
  const Real normal = is_float ? -87.3L : -708.3L;  // e^x is a normal number above
  const Real cdf_normal = is_float ? -12.9L : -37.4L;
  const Real inner_normal = is_float ? -10 : -21;
  return {
      {"exp", simd::exp<T>, [](Real x) { return std::exp(x); }, bound(1.2, 1.2)},
      {"exp_nonpositive", simd::exp_nonpositive<T>, [](Real x) { return std::exp(x); },
       bound(1.2, 1.2), normal, 0},
      {"expm1", simd::expm1<T>, [](Real x) { return std::expm1(x); }, bound(1.8, 2.5)},
      {"log", simd::log<T>, [](Real x) { return std::log(x); }, bound(0.9, 0.9), 0},
      {"log1p", simd::log1p<T>, [](Real x) { return std::log1p(x); }, bound(0.9, 0.9), -1},
      {"tanh", simd::tanh<T>, [](Real x) { return std::tanh(x); }, bound(1.5, 1.5)},
      {"erf", simd::erf<T>, [](Real x) { return std::erf(x); }, bound(1.4, 1.4)},
      {"relu", simd::relu<T>, [](Real x) { return x > 0 ? x : 0; }, bound(0, 0)},
      {"sigmoid", simd::sigmoid<T>, logistic, bound(2.4, 2.6), normal},
      {"softplus", simd::softplus<T>, softplus, bound(3, 3), normal},
      {"silu", simd::silu<T>, [](Real x) { return x * logistic(x); }, bound(3.2, 3.3), normal},
      {"gelu_erf", simd::gelu_erf<T>, [](Real x) { return x * normal_cdf(x); }, bound(10, 7),
       cdf_normal, kInf, is_float ? 0.01 : 0},
      {"gelu_tanh", simd::gelu_tanh<T>, [](Real x) { return x * logistic(inner(x)); },
       bound(12, 13), inner_normal, kInf, 0.01},
      {"sigmoid_grad", simd::sigmoid_grad<T>, [](Real x) { return logistic(x) * logistic(-x); },
       bound(5, 5), normal, -normal},
      {"tanh_grad", simd::tanh_grad<T>,
       [](Real x) { return 4 * logistic(2 * x) * logistic(-2 * x); }, bound(5, 5.5), normal / 2,
       -normal / 2},
      {"silu_grad", simd::silu_grad<T>, silu_grad, bound(3.4, 3.6), normal, kInf, 0.25},
      {"softplus_grad", simd::softplus_grad<T>, [](Real x) { return x > 20 ? 1 : logistic(x); },
       bound(2.4, 2.6), normal},
      {"gelu_erf_grad", simd::gelu_erf_grad<T>, gelu_erf_grad, bound(2.5, 3.5), cdf_normal, 100,
       0.25},
      {"gelu_tanh_grad", simd::gelu_tanh_grad<T>, gelu_tanh_grad, bound(4, 4), inner_normal, 100,
       0.25},
  };
}

/// |got - exact| in units of the last place of T at max(|exact|, floor).
template <class T>
double ulps(T got, Real exact, double floor) {
  if (static_cast<Real>(got) == exact) return 0;
  if (std::isnan(got) || std::isnan(exact)) return HUGE_VAL;
  const T rounded = static_cast<T>(exact);
  if (std::isinf(rounded)) return got == rounded ? 0 : HUGE_VAL;
  if (std::isinf(got)) {  // The true result is finite, but at most an ulp below overflow.
    const T largest = (std::numeric_limits<T>::max)();
    return std::abs(rounded) == largest && (got > 0) == (rounded > 0) ? 1 : HUGE_VAL;
  }
  const Real size = (std::max)({std::abs(exact), static_cast<Real>(floor),
                                static_cast<Real>((std::numeric_limits<T>::min)())});
  int exponent = 0;
  std::frexp(size, &exponent);
  const Real unit = std::ldexp(Real{1}, exponent - std::numeric_limits<T>::digits);
  return static_cast<double>(std::abs(static_cast<Real>(got) - exact) / unit);
}

/// Dense samples of [low, high]: even and logarithmic spacing, subnormal to huge, and the
/// neighbours of every point where a function changes its formula.
template <class T>
std::vector<T> samples(Real low, Real high, std::size_t count) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<T> x;
  const auto add = [&](T v) {
    if (static_cast<Real>(v) >= low && static_cast<Real>(v) <= high) x.push_back(v);
  };
  const double widest = std::is_same_v<T, float> ? 110 : 750;
  const double from = static_cast<double>((std::max)(low, static_cast<Real>(-widest)));
  const double to = static_cast<double>((std::min)(high, static_cast<Real>(widest)));
  for (std::size_t i = 0; i < count; ++i) add(static_cast<T>(from + (to - from) * unit(random)));
  for (std::size_t i = 0; i < count; ++i) add(static_cast<T>(10 * unit(random) - 5));
  for (std::size_t i = 0; i < count; ++i) add(static_cast<T>(1 + 0.8 * (unit(random) - 0.5)));
  const int bits = std::numeric_limits<T>::digits;
  std::uniform_int_distribution<int> exponents(std::numeric_limits<T>::min_exponent - bits,
                                               std::numeric_limits<T>::max_exponent - 1);
  std::uniform_int_distribution<int> small(-bits - 4, 6);
  for (std::size_t i = 0; i < 2 * count; ++i) {
    const T mantissa = static_cast<T>(i % 4 < 2 ? 1 + unit(random) : -1 - unit(random));
    add(std::ldexp(mantissa, i % 2 == 0 ? small(random) : exponents(random)));
  }
  const T eps = std::numeric_limits<T>::epsilon();
  for (const double b : {0.0,
                         0.34657359,
                         0.5,
                         0.625,
                         0.69314718,
                         0.70710678,
                         1.0,
                         1.41421356,
                         2.0,
                         4.0,
                         6.0,
                         10.0,
                         14.4,
                         14.6,
                         20.0,
                         22.0,
                         38.6,
                         60.0,
                         64.0,
                         87.3365,
                         87.68,
                         88.37,
                         88.7228,
                         103.97,
                         708.396,
                         709.0,
                         709.4,
                         709.7827,
                         745.13,
                         static_cast<double>(eps / 4),
                         static_cast<double>(eps)}) {
    for (const T sign : {T(1), T(-1)}) {
      T v = static_cast<T>(b) * (1 - 40 * eps);
      for (int i = 0; i < 80; ++i, v = std::nextafter(v, std::numeric_limits<T>::infinity())) {
        add(sign * v);
      }
    }
  }
  return x;
}

template <class T>
std::vector<T> apply(VectorFunction<T> f, const std::vector<T>& x) {
  std::vector<T> y(x.size());
  simd::transform<T>(static_cast<std::ptrdiff_t>(x.size()), y.data(), f, x.data());
  return y;
}

template <class T>
T one(VectorFunction<T> f, T x) {
  return apply<T>(f, {x})[0];
}

}  // namespace

TEMPLATE_TEST_CASE("vmath: every function keeps its error bound in ulp", "", float, double) {
  using T = TestType;
  for (const Case<T>& c : cases<T>()) {
    const std::vector<T> x = samples<T>(c.low, c.high, 10000);
    const std::vector<T> y = apply<T>(c.f, x);
    double worst = 0;
    T worst_at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = ulps<T>(y[i], c.exact(static_cast<Real>(x[i])), c.floor);
      if (!(error <= worst)) worst = error, worst_at = x[i];
    }
    CAPTURE(c.name, worst_at, one<T>(c.f, worst_at));
    CHECK(worst <= c.bound);
  }
}

TEMPLATE_TEST_CASE("vmath: a value does not depend on its place in an array", "", float, double) {
  using T = TestType;
  for (const Case<T>& c : cases<T>()) {
    CAPTURE(c.name);
    const std::ptrdiff_t longest = 4 * simd::kLanes<T> + 1;
    const std::vector<T> all = samples<T>(c.low, c.high, 20);
    const std::vector<T> x(all.begin(), all.begin() + longest);
    std::vector<T> alone;
    for (const T v : x) alone.push_back(one<T>(c.f, v));
    for (std::ptrdiff_t start = 0; start < longest; ++start) {
      for (std::ptrdiff_t n = 1; start + n <= longest; n += 2) {
        std::vector<T> y(static_cast<std::size_t>(n));
        simd::transform<T>(n, y.data(), c.f, x.data() + start);
        CHECK(std::memcmp(y.data(), alone.data() + start, y.size() * sizeof(T)) == 0);
      }
    }
  }
}

TEMPLATE_TEST_CASE("vmath: NaN gives NaN whatever its sign and payload", "", float, double) {
  using T = TestType;
  std::vector<T> nans = {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::quiet_NaN()};
  const typename simd::Bits<T>::value_type ones = ~typename simd::Bits<T>::value_type{0};
  for (const auto bits : {ones, static_cast<decltype(ones)>(ones >> 1)}) {
    T v;
    std::memcpy(&v, &bits, sizeof v);
    nans.push_back(v);
  }
  for (const Case<T>& c : cases<T>()) {
    for (std::size_t i = 0; i < nans.size(); ++i) {
      CAPTURE(c.name, i);
      CHECK(std::isnan(one<T>(c.f, nans[i])));
    }
  }
}

TEMPLATE_TEST_CASE("vmath: zeros, infinities and the ends of the range are as in std", "", float,
                   double) {
  using T = TestType;
  using L = std::numeric_limits<T>;
  constexpr bool is_float = std::is_same_v<T, float>;
  const T inf = L::infinity();
  const T nan = L::quiet_NaN();
  const T big = (L::max)();
  const T tiny = L::denorm_min();
  struct Special {
    const char* name;
    VectorFunction<T> f;
    T x, expected;
  };
  const std::vector<Special> specials = {
      {"exp", simd::exp<T>, inf, inf},
      {"exp", simd::exp<T>, -inf, 0},
      {"exp", simd::exp<T>, big, inf},
      {"exp", simd::exp<T>, -big, 0},
      {"exp", simd::exp<T>, T(0), 1},
      {"exp", simd::exp<T>, T(-0.0), 1},
      {"exp", simd::exp<T>, tiny, 1},
      {"exp", simd::exp<T>, is_float ? T(88.73) : T(709.79), inf},
      {"exp", simd::exp<T>, is_float ? T(88.9) : T(710), inf},
      {"exp", simd::exp<T>, is_float ? T(-103.5) : T(-745), tiny},
      {"exp", simd::exp<T>, is_float ? T(-104.1) : T(-745.2), 0},
      {"exp_nonpositive", simd::exp_nonpositive<T>, -inf, 0},
      {"exp_nonpositive", simd::exp_nonpositive<T>, -big, 0},
      {"exp_nonpositive", simd::exp_nonpositive<T>, is_float ? T(-87.7) : T(-708.8), 0},
      {"exp_nonpositive", simd::exp_nonpositive<T>, T(-0.0), 1},
      {"expm1", simd::expm1<T>, inf, inf},
      {"expm1", simd::expm1<T>, -inf, -1},
      {"expm1", simd::expm1<T>, T(-0.0), T(-0.0)},
      {"expm1", simd::expm1<T>, tiny, tiny},
      {"log", simd::log<T>, T(0), -inf},
      {"log", simd::log<T>, T(-0.0), -inf},
      {"log", simd::log<T>, T(1), 0},
      {"log", simd::log<T>, inf, inf},
      {"log", simd::log<T>, -inf, nan},
      {"log", simd::log<T>, -tiny, nan},
      {"log", simd::log<T>, T(-1), nan},
      {"log1p", simd::log1p<T>, T(-1), -inf},
      {"log1p", simd::log1p<T>, T(-1.5), nan},
      {"log1p", simd::log1p<T>, inf, inf},
      {"log1p", simd::log1p<T>, -inf, nan},
      {"log1p", simd::log1p<T>, T(-0.0), T(-0.0)},
      {"log1p", simd::log1p<T>, tiny, tiny},
      {"tanh", simd::tanh<T>, inf, 1},
      {"tanh", simd::tanh<T>, -inf, -1},
      {"tanh", simd::tanh<T>, -big, -1},
      {"tanh", simd::tanh<T>, T(-0.0), T(-0.0)},
      {"tanh", simd::tanh<T>, tiny, tiny},
      {"erf", simd::erf<T>, inf, 1},
      {"erf", simd::erf<T>, -inf, -1},
      {"erf", simd::erf<T>, -big, -1},
      {"erf", simd::erf<T>, T(-0.0), T(-0.0)},
      {"erf", simd::erf<T>, T(6), 1},
      {"relu", simd::relu<T>, inf, inf},
      {"relu", simd::relu<T>, -inf, 0},
      {"sigmoid", simd::sigmoid<T>, inf, 1},
      {"sigmoid", simd::sigmoid<T>, -inf, 0},
      {"sigmoid", simd::sigmoid<T>, T(0), T(0.5)},
      {"softplus", simd::softplus<T>, inf, inf},
      {"softplus", simd::softplus<T>, -inf, 0},
      {"softplus", simd::softplus<T>, big, big},
      {"softplus", simd::softplus<T>, T(20.5), T(20.5)},
      // As in PyTorch: -inf * sigmoid(-inf) = -inf * 0.
      {"silu", simd::silu<T>, -inf, nan},
      {"silu", simd::silu<T>, inf, inf},
      {"silu", simd::silu<T>, -big, T(-0.0)},
      {"silu", simd::silu<T>, big, big},
      {"gelu_erf", simd::gelu_erf<T>, -inf, nan},
      {"gelu_erf", simd::gelu_erf<T>, inf, inf},
      {"gelu_erf", simd::gelu_erf<T>, -big, T(-0.0)},
      {"gelu_erf", simd::gelu_erf<T>, big, big},
      {"gelu_tanh", simd::gelu_tanh<T>, -inf, nan},
      {"gelu_tanh", simd::gelu_tanh<T>, inf, inf},
      {"gelu_tanh", simd::gelu_tanh<T>, -big, T(-0.0)},
      {"gelu_tanh", simd::gelu_tanh<T>, big, big},
      {"sigmoid_grad", simd::sigmoid_grad<T>, inf, 0},
      {"sigmoid_grad", simd::sigmoid_grad<T>, -inf, 0},
      {"tanh_grad", simd::tanh_grad<T>, inf, 0},
      {"tanh_grad", simd::tanh_grad<T>, -big, 0},
      {"silu_grad", simd::silu_grad<T>, inf, nan},
      {"silu_grad", simd::silu_grad<T>, -inf, nan},
      {"silu_grad", simd::silu_grad<T>, big, 1},
      {"silu_grad", simd::silu_grad<T>, -big, T(-0.0)},
      {"softplus_grad", simd::softplus_grad<T>, inf, 1},
      {"softplus_grad", simd::softplus_grad<T>, -inf, 0},
      {"gelu_erf_grad", simd::gelu_erf_grad<T>, inf, 1},
      {"gelu_erf_grad", simd::gelu_erf_grad<T>, -inf, T(-0.0)},
      {"gelu_erf_grad", simd::gelu_erf_grad<T>, big, 1},
      {"gelu_tanh_grad", simd::gelu_tanh_grad<T>, inf, 1},
      {"gelu_tanh_grad", simd::gelu_tanh_grad<T>, -inf, T(-0.0)},
      {"gelu_tanh_grad", simd::gelu_tanh_grad<T>, -big, T(-0.0)},
  };
  for (const Special& s : specials) {
    const T got = one<T>(s.f, s.x);
    CAPTURE(s.name, s.x, got, s.expected);
    if (std::isnan(s.expected)) {
      CHECK(std::isnan(got));
    } else {
      CHECK(got == s.expected);
      CHECK((got != 0 || s.x != 0 || std::signbit(got) == std::signbit(s.expected)));
    }
  }
}
