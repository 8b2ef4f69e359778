#include "sequin/ops/fft.hpp"

#include "common/allocation_count.hpp"
#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

// One plane of a spectrum by its definition, the other left out: part 0 is real, 1 imaginary.
Tensor<double, 3> plain_rfft(const Tensor<double, 3>& x, index_t n, double scale, int part) {
  Tensor<double, 3> y({x.extent(0), n / 2 + 1, x.extent(2)});
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t k = 0; k <= n / 2; ++k)
      for (index_t c = 0; c < x.extent(2); ++c) {
        double sum = 0;
        for (index_t t = 0; t < (std::min)(n, x.extent(1)); ++t) {
          const auto w = kernels::detail::fft_root(k * t, n);
          sum += x(b, t, c) * (part == 0 ? w.real() : w.imag());
        }
        y(b, k, c) = sum * scale;
      }
  return y;
}

template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("rfft: every length and norm equals the definition, and irfft undoes it") {
  for (const index_t n : {1, 2, 5, 8, 21, 30}) {
    for (const index_t length : {index_t{0}, index_t{4}, index_t{33}}) {
      for (const FftNorm norm : {FftNorm::kBackward, FftNorm::kOrtho, FftNorm::kForward}) {
        const index_t m = length == 0 ? n : length;
        INFO(n << " values, transform of " << m << ", norm " << static_cast<int>(norm));
        const double scale = norm == FftNorm::kBackward ? 1.0
                             : norm == FftNorm::kOrtho  ? 1 / std::sqrt(static_cast<double>(m))
                                                        : 1 / static_cast<double>(m);
        const auto x = wavy<double, 3>({2, n, 5}, 0.3);
        const auto y = rfft(x, {length, norm});
        // Rounding of sums of up to 33 terms.
        CHECK(largest_difference(y.re, plain_rfft(x, m, scale, 0)) <= 1e-13);
        CHECK(largest_difference(y.im, plain_rfft(x, m, scale, 1)) <= 1e-13);
        if (m >= n) {
          const auto back = irfft(y, m, norm);
          Tensor<double, 3> padded({2, m, 5});
          for (index_t b = 0; b < 2; ++b)
            for (index_t t = 0; t < n; ++t)
              for (index_t c = 0; c < 5; ++c) padded(b, t, c) = x(b, t, c);
          CHECK(largest_difference(back, padded) <= 1e-14);
        }
      }
    }
  }
}

TEST_CASE("rfft_last: rows are the channels of rfft, bit for bit") {
  for (const index_t n : {1, 2, 12, 35}) {
    const auto x = wavy<float, 4>({2, 3, 5, n}, 0.1);
    const auto y = rfft_last(x);
    REQUIRE(y.re.shape() == Shape<4>{2, 3, 5, n / 2 + 1});
    Tensor<float, 3> turned({1, n, 30});
    for (index_t r = 0; r < 30; ++r)
      for (index_t t = 0; t < n; ++t) turned(0, t, r) = x.data()[r * n + t];
    const auto z = rfft(turned);
    bool same = true;
    for (index_t r = 0; r < 30; ++r)
      for (index_t k = 0; k <= n / 2; ++k)
        same = same && y.re.data()[r * (n / 2 + 1) + k] == z.re(0, k, r) &&
               y.im.data()[r * (n / 2 + 1) + k] == z.im(0, k, r);
    CHECK(same);
    CHECK(largest_difference(irfft_last(y, n), x) <= 1e-6);
  }
}

TEST_CASE("rfft: one channel alone has the bits that it has among others") {
  const auto x = wavy<float, 3>({3, 50, 4}, 0.2);
  Tensor<float, 3> one({3, 50, 1});
  for (index_t b = 0; b < 3; ++b)
    for (index_t t = 0; t < 50; ++t) one(b, t, 0) = x(b, t, 2);
  const auto all = rfft(x), alone = rfft(one);
  bool same = true;
  for (index_t b = 0; b < 3; ++b)
    for (index_t k = 0; k < 26; ++k)
      same = same && all.re(b, k, 2) == alone.re(b, k, 0) && all.im(b, k, 2) == alone.im(b, k, 0);
  CHECK(same);
}

TEST_CASE("irfft: missing frequencies are zeros, surplus ones and edge phases are not read") {
  auto s = rfft(wavy<double, 3>({1, 12, 3}, 0.4));
  Spectrum<double, 3> few{Tensor<double, 3>({1, 4, 3}), Tensor<double, 3>({1, 4, 3})};
  auto zeroed = s;
  zeroed.re = s.re.clone();
  zeroed.im = s.im.clone();
  for (index_t k = 0; k < 7; ++k)
    for (index_t c = 0; c < 3; ++c) {
      if (k < 4) few.re(0, k, c) = s.re(0, k, c), few.im(0, k, c) = s.im(0, k, c);
      if (k >= 4) zeroed.re(0, k, c) = zeroed.im(0, k, c) = 0;
    }
  CHECK(identical(irfft(few, 12), irfft(zeroed, 12)));
  const auto before = irfft(s, 12);
  for (index_t c = 0; c < 3; ++c) s.im(0, 0, c) = s.im(0, 6, c) = 7;
  CHECK(identical(irfft(s, 12), before));
  CHECK(irfft(s, 6).shape() == Shape<3>{1, 6, 3});
}

TEST_CASE("rfft and irfft: gradients equal finite differences, cut or filled too") {
  for (const index_t n : {1, 2, 6, 9, 14}) {
    for (const index_t length : {index_t{0}, index_t{5}, index_t{16}}) {
      INFO(n << " values, transform of " << length);
      const auto x = wavy<double, 3>({2, n, 3}, 0.5);
      for (const int part : {0, 1}) {
        const auto r = grad_check(
            [&](auto& t) {
              const auto y = rfft(t, {length, FftNorm::kOrtho});
              return part == 0 ? y.re : y.im;
            },
            x);
        INFO(r.where);
        CHECK(r.ok());
      }
      const auto s = rfft(x);
      const auto r = grad_check(
          [&](auto& re, auto& im) {
            return irfft(Spectrum<double, 3>{re, im}, length == 0 ? n : length, FftNorm::kForward);
          },
          s.re, s.im);
      INFO(r.where);
      CHECK(r.ok());
    }
  }
  const auto x = wavy<double, 2>({3, 10}, 0.5);
  const auto r = grad_check(
      [](auto& t) {
        const auto y = rfft_last(t);
        return irfft_last(Spectrum<double, 2>{y.im, y.re}, 9);
      },
      x);
  INFO(r.where);
  CHECK(r.ok());
}

TEST_CASE("rfft: results and gradients do not depend on the number of threads") {
  const auto run = [](Executor* executor) {
    const ExecutorScope scope(executor);
    auto x = wavy<float, 3>({3, 90, 70}, 0.1);
    x.set_requires_grad();
    Tape tape;
    const auto y = rfft(x);
    const auto g = tape.gradients(irfft(Spectrum<float, 3>{y.re, y.re}, 90), x.detach());
    return std::tuple(y.re, y.im, g.of(x));
  };
  ThreadPool pool(3);
  const auto alone = run(nullptr), shared = run(&pool);
  CHECK(identical(std::get<0>(alone), std::get<0>(shared)));
  CHECK(identical(std::get<1>(alone), std::get<1>(shared)));
  CHECK(identical(std::get<2>(alone), std::get<2>(shared)));
}

TEST_CASE("rfft: under a fitted arena nothing is allocated, with and without a plan") {
  if (!sequin_examples::allocations_are_counted()) return;
  Arena arena;
  const auto plan = make_fft_plan<float>(48);
  const auto x = wavy<float, 3>({2, 48, 20}, 0.1);
  const auto step = [&] {
    const ArenaScope scope(&arena);
    const auto y = rfft(plan, x);
    return irfft(y, 48).extent(1);
  };
  step();
  arena.fit();
  const std::size_t before = sequin_examples::allocation_count();
  for (int i = 0; i < 5; ++i) step();
  CHECK(sequin_examples::allocation_count() == before);
}

TEST_CASE("rfft: no channels or no batch give none, and mistakes are named") {
  CHECK(rfft(Tensor<float, 3>({2, 8, 0})).re.shape() == Shape<3>{2, 5, 0});
  CHECK(rfft(Tensor<float, 3>({0, 8, 3})).im.shape() == Shape<3>{0, 5, 3});
  CHECK(message([] {
          rfft(Tensor<float, 3>({2, 0, 3}));
        }) == "rfft: the length is 0, expected at least 1 (x is [2, 0, 3])");
  CHECK(message([] {
          rfft_last(Tensor<float, 1>({4}), {-2, {}});
        }) == "rfft_last: the length is -2, expected at least 1 (x is [4])");
  CHECK(message([] {
          irfft(Spectrum<float, 3>{Tensor<float, 3>({1, 5, 2}), Tensor<float, 3>({1, 4, 2})}, 8);
        }) == "irfft: im is [1, 4, 2], expected [1, 5, 2] as re");
  CHECK(message([] {
          irfft(Spectrum<float, 3>{Tensor<float, 3>({1, 5, 2}), Tensor<float, 3>({1, 5, 2})}, 0);
        }) == "fft: length is 0, expected 1 to 2^28 - 1");
}

TEST_CASE("cached_fft_plan: a length that was used lately keeps its plan") {
  const auto first = cached_fft_plan<float>(100);
  for (index_t n = 1; n < 15; ++n) cached_fft_plan<float>(n);
  CHECK(cached_fft_plan<float>(100) == first);
  for (index_t n = 1; n < 30; ++n) cached_fft_plan<float>(n);
  CHECK(cached_fft_plan<float>(100) != first);
}
