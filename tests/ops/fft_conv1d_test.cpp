#include "sequin/ops/fft_conv1d.hpp"

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

constexpr FftConvMode kModes[] = {FftConvMode::kCausal, FftConvMode::kSame, FftConvMode::kCircular};

template <class T>
Tensor<double, 3> plain(const Tensor<T, 3>& x, const Tensor<T, 2>& w, FftConvMode mode) {
  const index_t steps = x.extent(1), taps = w.extent(1);
  Tensor<double, 3> y(x.shape());
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < steps; ++t)
      for (index_t c = 0; c < x.extent(2); ++c) {
        double sum = 0;
        for (index_t k = 0; k < taps; ++k) {
          index_t from = t - k + (mode == FftConvMode::kSame ? (taps - 1) / 2 : 0);
          if (mode == FftConvMode::kCircular) from = (from + steps) % steps;
          if (from >= 0 && from < steps)
            sum += static_cast<double>(w(c, k)) * static_cast<double>(x(b, from, c));
        }
        y(b, t, c) = sum;
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

TEST_CASE("fft_conv1d: any mode and number of taps equals the plain sum") {
  for (const FftConvMode mode : kModes)
    for (const index_t steps : {1, 2, 7, 30})
      for (const index_t taps : {1, 2, 7, 8, 30, 70})
        for (const index_t channels : {1, 5, 9}) {
          if (mode == FftConvMode::kCircular && taps > steps) continue;
          INFO(static_cast<int>(mode)
               << ": " << steps << " steps, " << taps << " taps, " << channels << " channels");
          const auto x = wavy<double, 3>({2, steps, channels}, 0.3);
          const auto w = wavy<double, 2>({channels, taps}, 0.8);
          CHECK(largest_difference(fft_conv1d(x, w, mode), plain(x, w, mode)) <= 1e-13);
          // Float rounding, relative to sums of up to 30 products.
          CHECK(largest_difference(fft_conv1d(x.cast<float>(), w.cast<float>(), mode),
                                   plain(x, w, mode)) <= 2e-5);
        }
}

TEST_CASE("fft_conv1d: gradients equal finite differences") {
  for (const FftConvMode mode : kModes)
    for (const index_t taps : {1, 4, 9, 12}) {
      if (mode == FftConvMode::kCircular && taps > 9) continue;
      INFO(static_cast<int>(mode) << ": " << taps << " taps");
      const auto r = grad_check([&](auto& x, auto& w) { return fft_conv1d(x, w, mode); },
                                wavy<double, 3>({2, 9, 3}, 0.3), wavy<double, 2>({3, taps}, 0.8));
      INFO(r.where);
      CHECK(r.ok());
    }
}

TEST_CASE("fft_conv1d: results and gradients do not depend on the number of threads") {
  const auto run = [](Executor* executor) {
    const ExecutorScope scope(executor);
    auto x = wavy<float, 3>({3, 40, 50}, 0.1);
    auto w = wavy<float, 2>({50, 40}, 0.6);
    x.set_requires_grad();
    w.set_requires_grad();
    Tape tape;
    const auto y = fft_conv1d(x, w);
    const auto g = tape.gradients(y, x.detach());
    return std::tuple(y, g.of(x), g.of(w));
  };
  ThreadPool pool(3);
  const auto alone = run(nullptr), shared = run(&pool);
  CHECK(identical(std::get<0>(alone), std::get<0>(shared)));
  CHECK(identical(std::get<1>(alone), std::get<1>(shared)));
  CHECK(identical(std::get<2>(alone), std::get<2>(shared)));
}

TEST_CASE("fft_conv1d: a longer plan does, and under a fitted arena nothing is allocated") {
  const auto x = wavy<float, 3>({2, 20, 9}, 0.1);
  const auto w = wavy<float, 2>({9, 13}, 0.6);
  const auto longer = make_fft_plan<float>(50);
  CHECK(largest_difference(fft_conv1d(longer, x, w), plain(x, w, FftConvMode::kCausal)) <= 1e-5);
  if (!sequin_examples::allocations_are_counted()) return;
  Arena arena;
  const auto plan = make_fft_conv1d_plan<float>(20, 13);
  const auto step = [&] {
    const ArenaScope scope(&arena);
    return fft_conv1d(plan, x, w).extent(1) + autocorrelation(x, x).extent(1);
  };
  step();
  arena.fit();
  const std::size_t before = sequin_examples::allocation_count();
  for (int i = 0; i < 5; ++i) step();
  CHECK(sequin_examples::allocation_count() == before);
}

TEST_CASE("autocorrelation: equals the circular sum, with its gradients") {
  for (const index_t steps : {1, 2, 9, 16}) {
    const auto q = wavy<double, 3>({2, steps, 3}, 0.3), k = wavy<double, 3>({2, steps, 3}, 0.9);
    Tensor<double, 3> expected(q.shape());
    for (index_t b = 0; b < 2; ++b)
      for (index_t s = 0; s < steps; ++s)
        for (index_t t = 0; t < steps; ++t)
          for (index_t c = 0; c < 3; ++c)
            expected(b, s, c) += q(b, (t + s) % steps, c) * k(b, t, c);
    CHECK(largest_difference(autocorrelation(q, k), expected) <= 1e-13);
    const auto r = grad_check([](auto& a, auto& b) { return autocorrelation(a, b); }, q, k);
    INFO(r.where);
    CHECK(r.ok());
  }
}

TEST_CASE("fft_conv1d: mistakes are named with what was expected") {
  const Tensor<float, 3> x({1, 6, 8});
  CHECK(message([&] {
          fft_conv1d(x, Tensor<float, 2>({4, 4}));
        }) == "fft_conv1d: weight is [4, 4], expected [C=8, K >= 1] (x is [1, 6, 8])");
  CHECK(message([&] {
          fft_conv1d(x, Tensor<float, 2>({8, 7}), FftConvMode::kCircular);
        }) == "fft_conv1d: weight is [8, 7], expected [C=8, 1 <= K <= T=6] (x is [1, 6, 8])");
  CHECK(message([&] {
          fft_conv1d(make_fft_plan<float>(8), x, Tensor<float, 2>({8, 4}));
        }) ==
        "fft_conv1d: the plan is for 8 values, expected T+K-1=9 or more (x is [1, 6, 8], weight is "
        "[8, 4])");
  CHECK(message([&] {
          autocorrelation(x, Tensor<float, 3>({1, 6, 7}));
        }) == "autocorrelation: k is [1, 6, 7], expected [1, 6, 8] as q");
  CHECK(message([&] { autocorrelation(make_fft_plan<float>(8), x, x); }) ==
        "autocorrelation: the plan is for 8 values, expected T=6 (q is [1, 6, 8])");
  CHECK(fft_conv1d(Tensor<float, 3>({1, 0, 8}), Tensor<float, 2>({8, 4})).shape() ==
        Shape<3>{1, 0, 8});
}
