#include "sequin/core/simd_reduce.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

namespace simd = sequin::simd;

namespace {

template <class T>
constexpr std::size_t kSize = static_cast<std::size_t>(simd::kLanes<T>);

template <class T>
std::vector<T> lanes(const simd::Vec<T>& v) {
  std::vector<T> out(kSize<T>);
  simd::store<T>(out.data(), v);
  return out;
}

/// 0, 1, 2, ... through `f`.
template <class T, class F>
std::vector<T> ramp(F f, std::size_t n = kSize<T>) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = f(static_cast<T>(i));
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("simd: partial loads and stores touch the first n values alone", "", float,
                   double) {
  using T = TestType;
  for (std::size_t n = 0; n <= kSize<T>; ++n) {
    // The vector ends with the n-th value: reading further is seen by the address sanitizer.
    const std::vector<T> in = ramp<T>([](T i) { return i + 1; }, n);
    const auto count = static_cast<std::ptrdiff_t>(n);
    const simd::Vec<T> v = simd::load_partial<T>(in.data(), count);
    const std::vector<T> got = lanes<T>(v);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i] == (i < n ? static_cast<T>(i + 1) : T{0}));
    }
    std::vector<T> out(kSize<T> + 2, T(-1));
    simd::store_partial<T>(out.data() + 1, v, count);
    for (std::size_t i = 0; i < out.size(); ++i) {
      CHECK(out[i] == (i >= 1 && i <= n ? static_cast<T>(i) : T(-1)));
    }
    std::vector<T> exact(n);
    simd::store_partial<T>(exact.data(), v, count);
    CHECK(exact == in);
  }
}

TEMPLATE_TEST_CASE("simd: reduce_add folds the upper half onto the lower, again and again", "",
                   float, double) {
  using T = TestType;
  // Numbers of which every order of summation rounds differently.
  const std::vector<T> x =
      ramp<T>([](T i) { return std::pow(T(1.7), i) * T(1e3) + T(0.1) / (i + 1); });
  std::vector<T> folded = x;
  for (std::size_t half = kSize<T> / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) folded[i] += folded[i + half];
  }
  CHECK(simd::reduce_add<T>(simd::load<T>(x.data())) == folded[0]);
}

TEMPLATE_TEST_CASE("simd: reduce_max and reduce_min find the lane wherever it is", "", float,
                   double) {
  using T = TestType;
  for (std::size_t at = 0; at < kSize<T>; ++at) {
    std::vector<T> x(kSize<T>, T(2));
    x[at] = T(5);
    CHECK(simd::reduce_max<T>(simd::load<T>(x.data())) == T(5));
    CHECK(simd::reduce_min<T>(simd::negate<T>(simd::load<T>(x.data()))) == T(-5));
    x[at] = -std::numeric_limits<T>::infinity();
    CHECK(simd::reduce_min<T>(simd::load<T>(x.data())) == x[at]);
  }
}

TEMPLATE_TEST_CASE("simd: min and max return the right operand when a lane is NaN", "", float,
                   double) {
  using T = TestType;
  const simd::Vec<T> nan = simd::set1<T>(std::numeric_limits<T>::quiet_NaN());
  const simd::Vec<T> three = simd::set1<T>(3);
  CHECK(simd::all<T>(simd::min<T>(nan, three) == three));
  CHECK(simd::all<T>(simd::max<T>(nan, three) == three));
  CHECK(simd::all<T>(simd::is_nan<T>(simd::min<T>(three, nan))));
  CHECK(simd::all<T>(simd::is_nan<T>(simd::max<T>(three, nan))));
  CHECK(simd::all<T>(simd::min<T>(three, simd::set1<T>(-4)) == simd::set1<T>(-4)));
  CHECK(simd::all<T>(simd::max<T>(three, simd::set1<T>(-4)) == three));
}

TEMPLATE_TEST_CASE("simd: masks see one lane among all", "", float, double) {
  using T = TestType;
  for (std::size_t at = 0; at < kSize<T>; ++at) {
    std::vector<T> x(kSize<T>, T(1));
    x[at] = std::numeric_limits<T>::quiet_NaN();
    const simd::Mask<T> nan = simd::is_nan<T>(simd::load<T>(x.data()));
    CHECK(simd::any<T>(nan));
    CHECK_FALSE(simd::all<T>(nan));
    const std::vector<T> picked = lanes<T>(simd::select<T>(nan, simd::set1<T>(7), simd::zero<T>()));
    for (std::size_t i = 0; i < picked.size(); ++i) CHECK(picked[i] == (i == at ? T(7) : T(0)));
  }
  CHECK_FALSE(simd::any<T>(simd::is_nan<T>(simd::set1<T>(std::numeric_limits<T>::infinity()))));
}

TEMPLATE_TEST_CASE("simd: every lane computes what a scalar would", "", float, double) {
  using T = TestType;
  const std::vector<T> a = ramp<T>([](T i) { return (i - T(1.5)) * T(1.25); });
  const std::vector<T> b = ramp<T>([](T i) { return T(3) - i * T(0.75); });
  const simd::Vec<T> va = simd::load<T>(a.data());
  const simd::Vec<T> vb = simd::load<T>(b.data());
  const T c = T(0.5);
  const std::vector<T> sum = lanes<T>(simd::fma<T>(va, vb, simd::broadcast<T>(&c)));
  const std::vector<T> difference = lanes<T>(simd::fnma<T>(va, vb, simd::set1<T>(c)));
  const std::vector<T> magnitude = lanes<T>(simd::abs<T>(va));
  const std::vector<T> root = lanes<T>(simd::sqrt<T>(simd::abs<T>(va)));
  const std::vector<T> quotient = lanes<T>(simd::div<T>(va, vb));
  const std::vector<T> opposite = lanes<T>(simd::negate<T>(va));
  const std::vector<T> signed_as = lanes<T>(simd::copy_sign<T>(va, vb));
  const std::vector<T> same = lanes<T>(simd::from_bits<T>(simd::to_bits<T>(va)));
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(sum[i] == a[i] * b[i] + c);  // products of these numbers are exact
    CHECK(difference[i] == c - a[i] * b[i]);
    CHECK(magnitude[i] == std::abs(a[i]));
    CHECK(root[i] == std::sqrt(std::abs(a[i])));
    CHECK(quotient[i] == a[i] / b[i]);
    CHECK(opposite[i] == -a[i]);
    CHECK(signed_as[i] == std::copysign(a[i], b[i]));
    CHECK(same[i] == a[i]);
  }
  CHECK(std::signbit(lanes<T>(simd::negate<T>(simd::zero<T>()))[0]));
  constexpr T inf = std::numeric_limits<T>::infinity();
  CHECK(lanes<T>(simd::sqrt<T>(simd::set1<T>(inf)))[0] == inf);
}

TEMPLATE_TEST_CASE("simd: transform covers any length, in place as well", "", float, double) {
  using T = TestType;
  const auto f = [](const simd::Vec<T>& x, const simd::Vec<T>& y) { return x * y + x; };
  for (std::size_t n = 0; n <= 3 * kSize<T> + 1; ++n) {
    const std::vector<T> x = ramp<T>([](T i) { return i - 2; }, n);
    const std::vector<T> y = ramp<T>([](T i) { return 2 * i; }, n);
    std::vector<T> out(n + 1, T(-1));
    const auto count = static_cast<std::ptrdiff_t>(n);
    simd::transform<T>(count, out.data(), f, x.data(), y.data());
    std::vector<T> inplace = x;
    simd::transform<T>(count, inplace.data(), f, inplace.data(), y.data());
    std::vector<T> once(n + 1, T(-1)), once_inplace = x;
    simd::transform_once<T>(count, once.data(), f, x.data(), y.data());
    simd::transform_once<T>(count, once_inplace.data(), f, once_inplace.data(), y.data());
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(out[i] == x[i] * y[i] + x[i]);
      CHECK(inplace[i] == out[i]);
      CHECK(once[i] == out[i]);
      CHECK(once_inplace[i] == out[i]);
    }
    CHECK(out[n] == T(-1));
    CHECK(once[n] == T(-1));
  }
}
