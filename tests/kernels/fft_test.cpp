#include "sequin/kernels/fft.hpp"

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <complex>
#include <limits>
#include <vector>

using namespace sequin;
using kernels::FftPlan;
using kernels::FftSpectrum;
using sequin_test::identical;

namespace {

template <class T>
Tensor<T, 3> random_tensor(const Shape<3>& shape, std::uint64_t seed) {
  Generator random(seed);
  Tensor<T, 3> t(shape);
  for (T& v : t.span()) v = static_cast<T>(2 * random.uniform<double>() - 1);
  return t;
}

// [B, T, C] in either layout: the tensor itself, or one that was made as [B, C, T].
template <class Data>
auto matrix(Data& t, bool time_major) {
  const Shape<3> s = t.shape();
  using Element = std::remove_pointer_t<decltype(t.data())>;
  if (time_major) return View<Element, 3>(t.data(), s);
  return View<Element, 3>(t.data(), s, {s[1] * s[2], 1, s[1]});
}

template <class T>
struct Result {
  Tensor<T, 3> re, im;
};

template <class T>
Result<T> forward(const FftPlan<T>& plan, const Tensor<T, 3>& x, bool time_major, T scale = 1,
                  index_t first = 0) {
  const Shape<3> shape{x.extent(0), plan.bins(), x.extent(2)};
  Result<T> y{Tensor<T, 3>(shape, T{9}), Tensor<T, 3>(shape, T{9})};
  auto scratch = Tensor<T, 1>::empty({fft_scratch_size(plan)});
  const auto from = matrix(x, time_major);
  const FftSpectrum<T> to{matrix(y.re, time_major), matrix(y.im, time_major)};
  kernels::rfft_forward<T>(plan, from, first, to, scale, scratch.data(), 0,
                           kernels::fft_items(from, to.re));
  return y;
}

template <class T>
Tensor<T, 3> inverse(const FftPlan<T>& plan, const Result<T>& x, bool time_major, T scale,
                     index_t first = 0, index_t steps = 0) {
  Tensor<T, 3> y({x.re.extent(0), steps == 0 ? plan.length() : steps, x.re.extent(2)}, T{9});
  auto scratch = Tensor<T, 1>::empty({fft_scratch_size(plan)});
  const FftSpectrum<const T> from{matrix(x.re, time_major), matrix(x.im, time_major)};
  const auto to = matrix(y, time_major);
  kernels::irfft_forward<T>(plan, from, to, first, scale, scratch.data(), 0,
                            kernels::fft_items(from.re, to));
  return y;
}

// The largest error of some channels' spectra against the definition, relative to the largest
// value. Long transforms are checked at every `stride`-th frequency.
template <class T>
double error_of(const FftPlan<T>& plan, const Tensor<T, 3>& x, const Result<T>& y, bool time_major,
                index_t stride) {
  const index_t n = plan.length();
  const auto from = matrix(x, time_major);
  const auto re = matrix(y.re, time_major), im = matrix(y.im, time_major);
  double worst = 0, largest = 0;
  for (index_t c = 0; c < x.extent(2); c += (std::max)(index_t{1}, x.extent(2) - 1))
    for (index_t k = 0; k < plan.bins(); k += stride) {
      double sum_re = 0, sum_im = 0;
      for (index_t t = 0; t < n; ++t) {
        const auto w = kernels::detail::fft_root(k * t, n);
        sum_re += static_cast<double>(from(0, t, c)) * w.real();
        sum_im += static_cast<double>(from(0, t, c)) * w.imag();
      }
      const double error = std::hypot(static_cast<double>(re(0, k, c)) - sum_re,
                                      static_cast<double>(im(0, k, c)) - sum_im);
      worst = std::isnan(error) ? INFINITY : (std::max)(worst, error);
      largest = (std::max)(largest, std::hypot(sum_re, sum_im));
    }
  return worst / largest;
}

// Rounding grows with the logarithm of the length; Bluestein's three transforms add theirs.
template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 1e-6 : 2e-14;

}  // namespace

TEMPLATE_TEST_CASE("fft: any length, layout and number of channels follows the definition", "",
                   float, double) {
  using T = TestType;
  constexpr index_t lanes = simd::kLanes<T>;
  std::vector<index_t> lengths{67, 97, 122, 127, 128, 134, 168, 343, 512, 625, 720, 1000, 1024};
  for (index_t n = 1; n <= 64; ++n) lengths.push_back(n);
  for (const index_t n : lengths) {
    const FftPlan<T> plan(n);
    for (const index_t channels : {index_t{1}, lanes - 1, lanes, lanes + 1, 2 * lanes + 3})
      for (const bool time_major : {false, true}) {
        INFO("length " << n << ", channels " << channels << ", time-major " << time_major);
        const auto x = random_tensor<T>({1, n, channels}, 1);
        const auto y = forward(plan, x, time_major);
        REQUIRE(error_of(plan, x, y, time_major, n > 64 ? 11 : 1) <= kTolerance<T>);
        const auto back = inverse(plan, y, time_major, T{1} / static_cast<T>(n));
        REQUIRE(sequin_test::largest_difference(back, x) <= 2 * kTolerance<T>);
      }
  }
}

TEMPLATE_TEST_CASE("fft: long and large prime lengths follow the definition", "", float, double) {
  using T = TestType;
  constexpr index_t block = 256 / static_cast<index_t>(sizeof(T));
  for (const index_t n : {2048, 4096, 5000, 4099, 8198})
    for (const index_t channels : {index_t{3}, block + 1}) {
      INFO("length " << n << ", channels " << channels);
      const FftPlan<T> plan(n);
      const auto x = random_tensor<T>({1, n, channels}, 1);
      const auto y = forward(plan, x, true);
      CHECK(error_of(plan, x, y, true, 97) <= kTolerance<T>);
      const auto back = inverse(plan, y, true, T{1} / static_cast<T>(n));
      CHECK(sequin_test::largest_difference(back, x) <= 4 * kTolerance<T>);
    }
}

TEMPLATE_TEST_CASE("fft: bits depend neither on layout nor on a channel's place or company", "",
                   float, double) {
  using T = TestType;
  for (const index_t n : {1, 2, 9, 48, 67, 74, 168, 343, 720, 1024}) {
    INFO("length " << n);
    const FftPlan<T> plan(n);
    const auto x = random_tensor<T>({2, n, 37}, 1);
    const auto y = forward(plan, x, true);
    const auto back = inverse(plan, y, true, T{1} / static_cast<T>(n));
    for (const index_t c : {0, 7, 8, 20, 36})
      for (const bool time_major : {false, true}) {
        Tensor<T, 3> alone({1, n, 1});
        for (index_t t = 0; t < n; ++t) alone(0, t, 0) = x(1, t, c);
        const auto one = forward(plan, alone, time_major);
        bool same = true;
        for (index_t k = 0; k < plan.bins(); ++k)
          same = same && one.re(0, k, 0) == y.re(1, k, c) && one.im(0, k, 0) == y.im(1, k, c);
        CHECK(same);
        const auto again = inverse(plan, one, time_major, T{1} / static_cast<T>(n));
        for (index_t t = 0; t < n; ++t) same = same && again(0, t, 0) == back(1, t, c);
        CHECK(same);
      }
    // All channels with time adjacent, piece by piece.
    Tensor<T, 3> turned({2, n, 37});
    const auto columns = matrix(turned, false);
    for (index_t b = 0; b < 2; ++b)
      for (index_t t = 0; t < n; ++t)
        for (index_t c = 0; c < 37; ++c) columns(b, t, c) = x(b, t, c);
    const auto z = forward(plan, turned, false);
    const auto re = matrix(z.re, false), im = matrix(z.im, false);
    bool same = true;
    for (index_t b = 0; b < 2; ++b)
      for (index_t k = 0; k < plan.bins(); ++k)
        for (index_t c = 0; c < 37; ++c)
          same = same && re(b, k, c) == y.re(b, k, c) && im(b, k, c) == y.im(b, k, c);
    CHECK(same);
  }
}

TEST_CASE("fft: what does not fill a length is zeros, and a part of an inverse is that part") {
  for (const index_t n : {15, 16, 74, 96}) {
    const FftPlan<double> plan(n);
    for (const bool time_major : {false, true}) {
      INFO("length " << n << ", time-major " << time_major);
      const auto x = random_tensor<double>({2, 10, 9}, 1);
      Tensor<double, 3> padded({2, n, 9});
      const auto from = matrix(x, time_major);
      const auto to = matrix(padded, time_major);
      for (index_t b = 0; b < 2; ++b)
        for (index_t t = 0; t < 10; ++t)
          for (index_t c = 0; c < 9; ++c) to(b, t + 3, c) = from(b, t, c);
      const auto y = forward(plan, padded, time_major);
      const auto placed = forward(plan, x, time_major, 1.0, 3);
      CHECK(identical(y.re, placed.re));
      CHECK(identical(y.im, placed.im));
      const auto part = inverse(plan, y, time_major, 1.0 / static_cast<double>(n), 3, 10);
      CHECK(sequin_test::largest_difference(part, x) <= 1e-14);
    }
  }
}

TEST_CASE("fft: complex values, and with exchanged parts their inverse") {
  for (const index_t n : {1, 2, 8, 12, 35, 67, 128}) {
    INFO("length " << n);
    const FftPlan<double> plan(n, true);
    const Result<double> x{random_tensor<double>({1, n, 19}, 1),
                           random_tensor<double>({1, n, 19}, 2)};
    for (const bool time_major : {false, true}) {
      Result<double> y{Tensor<double, 3>({1, n, 19}), Tensor<double, 3>({1, n, 19})};
      Result<double> back{Tensor<double, 3>({1, n, 19}), Tensor<double, 3>({1, n, 19})};
      auto scratch = Tensor<double, 1>::empty({fft_scratch_size(plan)});
      const auto view = [&](auto& t) { return matrix(t, time_major); };
      const index_t items = kernels::fft_items(view(x.re), view(y.re));
      kernels::fft_forward<double>(plan, {view(x.re), view(x.im)}, {view(y.re), view(y.im)}, 1.0,
                                   scratch.data(), 0, items);
      const auto xr = view(x.re), xi = view(x.im);
      double worst = 0;
      for (index_t k = 0; k < n; ++k) {
        std::complex<double> sum = 0;
        for (index_t t = 0; t < n; ++t)
          sum += std::complex<double>(xr(0, t, 18), xi(0, t, 18)) *
                 kernels::detail::fft_root(k * t, n);
        worst = (std::max)(worst, std::abs(sum - std::complex<double>(view(y.re)(0, k, 18),
                                                                      view(y.im)(0, k, 18))));
      }
      CHECK(worst <= 1e-12);
      kernels::fft_forward<double>(plan, {view(y.im), view(y.re)}, {view(back.im), view(back.re)},
                                   1.0 / static_cast<double>(n), scratch.data(), 0, items);
      CHECK(sequin_test::largest_difference(back.re, x.re) <= 1e-14);
      CHECK(sequin_test::largest_difference(back.im, x.im) <= 1e-14);
    }
  }
}

TEST_CASE("fft: NaN and infinity stay in their channel and reach all of its frequencies") {
  for (const index_t n : {15, 64, 67}) {
    const FftPlan<float> plan(n);
    for (const bool time_major : {false, true}) {
      auto x = random_tensor<float>({1, n, 11}, 1);
      const auto clean = forward(plan, x, time_major);
      matrix(x, time_major)(0, n / 2, 5) = std::numeric_limits<float>::quiet_NaN();
      const auto y = forward(plan, x, time_major);
      const auto re = matrix(y.re, time_major);
      const auto expected = matrix(clean.re, time_major);
      bool right = true;
      for (index_t k = 0; k < plan.bins(); ++k)
        for (index_t c = 0; c < 11; ++c)
          right = right && (c == 5 ? std::isnan(re(0, k, c)) : re(0, k, c) == expected(0, k, c));
      CHECK(right);
    }
  }
}

TEST_CASE("fft: a plan knows its scales and refuses impossible lengths") {
  const FftPlan<double> plan(16);
  CHECK(plan.bins() == 9);
  CHECK(plan.scale(kernels::FftNorm::kBackward, false) == 1);
  CHECK(plan.scale(kernels::FftNorm::kBackward, true) == 1.0 / 16);
  CHECK(plan.scale(kernels::FftNorm::kForward, false) == 1.0 / 16);
  CHECK(plan.scale(kernels::FftNorm::kForward, true) == 1);
  CHECK(plan.scale(kernels::FftNorm::kOrtho, false) == 0.25);
  CHECK(plan.scale(kernels::FftNorm::kOrtho, true) == 0.25);
  CHECK_THROWS_WITH(FftPlan<float>(0), "fft: length is 0, expected 1 to 2^28 - 1");
}
