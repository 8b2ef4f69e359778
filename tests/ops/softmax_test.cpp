#include "sequin/ops/softmax.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <limits>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

constexpr index_t kWidths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 100};

}  // namespace

TEMPLATE_TEST_CASE("softmax: it and its logarithm equal a loop at every width", "[softmax]", float,
                   double) {
  // exp within 1 ulp, 100 additions in blocks, a division: some ulp. The logarithm's error is
  // relative to the largest |x - max|, 14 here.
  const double eps = static_cast<double>(std::numeric_limits<TestType>::epsilon());
  for (const index_t n : kWidths) {
    const auto x = wavy<TestType, 2>({3, n}, 0.1, 7);
    const auto y = softmax(x);
    const auto l = log_softmax(x);
    for (index_t r = 0; r < 3; ++r) {
      long double top = -INFINITY, total = 0;
      for (index_t i = 0; i < n; ++i) top = (std::max)(top, static_cast<long double>(x(r, i)));
      for (index_t i = 0; i < n; ++i) total += std::exp(static_cast<long double>(x(r, i)) - top);
      for (index_t i = 0; i < n; ++i) {
        const long double d = static_cast<long double>(x(r, i)) - top;
        const auto p = static_cast<double>(std::exp(d) / total);
        // x - max is rounded: its half ulp is a relative error of exp.
        REQUIRE(std::abs(static_cast<double>(y(r, i)) - p) <= 20 * eps * p);
        REQUIRE(std::abs(static_cast<double>(l(r, i)) - static_cast<double>(d - std::log(total))) <=
                16 * eps);
      }
    }
  }
}

TEST_CASE("softmax: gradients of it and of its logarithm equal finite differences", "[softmax]") {
  for (const index_t n : kWidths) {
    const auto x = wavy<double, 3>({2, 1, n}, 0.1, 3);
    const auto r = grad_check([](const auto& t) { return softmax(t); }, x);
    INFO(r.where);
    REQUIRE(r.ok());
    REQUIRE(grad_check([](const auto& t) { return log_softmax(t); }, x).ok());
  }
}

TEST_CASE("softmax: a constant added to a row changes nothing, however large", "[softmax]") {
  const Tensor<float, 2> x({2, 3}, {1, 2, 3, 1e30f, 2e30f, -3e38f});
  const auto y = softmax(x);
  REQUIRE(y(1, 1) == 1);
  REQUIRE(y(1, 0) == 0);
  REQUIRE(identical(softmax(Tensor<float, 1>({3}, {1025, 1026, 1027})),
                    softmax(Tensor<float, 1>({3}, {1, 2, 3}))));
  REQUIRE(std::isfinite(log_softmax(x)(1, 0)));
}

TEST_CASE("softmax: masked entries get nothing, a row masked altogether gives zeros", "[softmax]") {
  const float inf = std::numeric_limits<float>::infinity();
  Tensor<float, 2> x({2, 3}, {1, -inf, 1, -inf, -inf, -inf});
  const auto y = softmax(x);
  REQUIRE(identical(y, Tensor<float, 2>({2, 3}, {0.5f, 0, 0.5f, 0, 0, 0})));
  x.set_requires_grad();
  Tape tape;
  const auto again = softmax(x);
  const auto dx = tape.gradients(again, wavy<float, 2>({2, 3}, 0.1)).of(x);
  for (const float v : dx.span()) REQUIRE(std::isfinite(v));
  REQUIRE(dx(0, 1) == 0);
  REQUIRE(dx(1, 0) == 0);
  REQUIRE(log_softmax(x)(1, 0) == -inf);
  REQUIRE(log_softmax(x)(0, 0) == Approx(-std::log(2.0)).epsilon(1e-6));  // float
}

TEST_CASE("softmax: rows together, in place or not, give the bits of each alone", "[softmax]") {
  for (const index_t n : {5, 64, 129, 700, 2100})
    for (const index_t rows : {1, 2, 3, 16, 17, 33}) {
      const auto x = wavy<float, 2>({rows, n}, 0.1f, 7);
      Tensor<float, 2> y(x.shape()), same = x.clone();
      for (index_t r = 0; r < rows; ++r)
        kernels::softmax_forward<float>(x.data() + r * n, 1, n, y.data() + r * n);
      kernels::softmax_forward<float>(same.data(), rows, n, same.data());
      INFO(rows << " rows of " << n);
      CHECK(identical(same, y));
    }
}

TEST_CASE("softmax: NaN or +inf makes its row NaN and no other", "[softmax]") {
  for (const index_t n : kWidths)
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), float(INFINITY)}) {
      auto x = wavy<float, 2>({3, n}, 0.1, 3);
      x(1, n - 1) = bad;
      const auto y = softmax(x);
      const auto l = log_softmax(x);
      for (index_t r = 0; r < 3; ++r) {
        REQUIRE(std::isnan(y(r, n - 1)) == (r == 1));
        REQUIRE(std::isnan(l(r, n - 1)) == (r == 1));
        if (std::isnan(bad)) REQUIRE(std::isnan(y(r, 0)) == (r == 1));
      }
    }
}

TEST_CASE("softmax: no rows and no columns are legal", "[softmax]") {
  REQUIRE(softmax(Tensor<float, 2>({0, 3})).size() == 0);
  REQUIRE(log_softmax(Tensor<float, 2>({3, 0})).size() == 0);
}

TEST_CASE("softmax: any number of threads gives the same bits", "[softmax]") {
  const auto x = wavy<float, 2>({700, 33}, 0.1, 3);
  const auto run = [&] {
    auto leaf = x.clone();
    leaf.set_requires_grad();
    Tape tape;
    const auto y = softmax(leaf);
    return std::pair(y, tape.gradients(y, x).of(leaf));
  };
  const auto expected = run();
  for (const index_t threads : {2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    const auto got = run();
    REQUIRE(identical(got.first, expected.first));
    REQUIRE(identical(got.second, expected.second));
  }
}
