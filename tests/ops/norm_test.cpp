#include "sequin/ops/norm.hpp"

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

constexpr index_t kWidths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33};

}  // namespace

TEMPLATE_TEST_CASE("norm: both equal a loop at every width, with and without weights", "[norm]",
                   float, double) {
  using T = TestType;
  // Two sums of up to 33 rounded terms and a few operations on values up to 5.
  const double tolerance = 60 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const index_t n : kWidths)
    for (const bool weighted : {false, true})
      for (const bool biased : {false, true}) {
        const auto x = wavy<T, 3>({2, 3, n}, 0.1, 2, 1);
        const auto w = weighted ? wavy<T, 1>({n}, 0.5) : Tensor<T, 1>();
        const auto b = biased ? wavy<T, 1>({n}, 0.9) : Tensor<T, 1>();
        const auto layer = layer_norm(x, w, b, 1e-3);
        const auto rms = rms_norm(x, w, 1e-3);
        for (index_t r = 0; r < 6; ++r) {
          const T* const row = x.data() + r * n;
          double mean = 0, square = 0, variance = 0;
          for (index_t i = 0; i < n; ++i) mean += static_cast<double>(row[i]);
          mean /= static_cast<double>(n);
          for (index_t i = 0; i < n; ++i) {
            const auto v = static_cast<double>(row[i]);
            square += v * v;
            variance += (v - mean) * (v - mean);
          }
          for (index_t i = 0; i < n; ++i) {
            const double factor = weighted ? static_cast<double>(w(i)) : 1;
            const double shift = biased ? static_cast<double>(b(i)) : 0;
            const auto v = static_cast<double>(row[i]);
            REQUIRE(
                static_cast<double>(layer.data()[r * n + i]) ==
                Approx((v - mean) / std::sqrt(variance / static_cast<double>(n) + 1e-3) * factor +
                       shift)
                    .margin(tolerance));
            REQUIRE(static_cast<double>(rms.data()[r * n + i]) ==
                    Approx(v / std::sqrt(square / static_cast<double>(n) + 1e-3) * factor)
                        .margin(tolerance));
          }
        }
      }
}

TEST_CASE("norm: gradients equal finite differences at every width", "[norm]") {
  for (const index_t n : kWidths) {
    const auto x = wavy<double, 3>({2, 2, n}, 0.1, 2, 1);
    const auto w = wavy<double, 1>({n}, 0.5);
    const auto b = wavy<double, 1>({n}, 0.9);
    const Tensor<double, 1> none;
    const auto check = [n](const GradCheckResult& r) {
      INFO(n << ": " << r.where);
      REQUIRE(r.ok());
    };
    const double eps = 1e-2;
    check(grad_check(
        [=](const auto& t, const auto& u, const auto& v) { return layer_norm(t, u, v, eps); }, x, w,
        b));
    check(grad_check([=](const auto& t) { return layer_norm(t, none, none, eps); }, x));
    check(grad_check([=](const auto& t, const auto& u) { return layer_norm(t, u, none, eps); }, x,
                     w));
    check(grad_check([=](const auto& t, const auto& v) { return layer_norm(t, none, v, eps); }, x,
                     b));
    check(grad_check([=](const auto& u, const auto& v) { return layer_norm(x, u, v, eps); }, w, b));
    check(grad_check([=](const auto& t, const auto& s, const auto& u,
                         const auto& v) { return add_layer_norm(t, s, u, v, eps); },
                     x, wavy<double, 3>({2, 2, n}, 0.8), w, b));
    check(grad_check([=](const auto& t, const auto& u) { return rms_norm(t, u, eps); }, x, w));
    check(grad_check([=](const auto& t) { return rms_norm(t, none, eps); }, x));
    check(grad_check([=](const auto& u) { return rms_norm(x, u, eps); }, w));
  }
}

TEST_CASE("layer_norm: a large mean does not drown the variance", "[norm]") {
  // mean(x^2) - mean(x)^2 would be 0 or negative in float here.
  const Tensor<float, 1> x({4}, {10001, 10002, 10003, 10004});
  const auto y = layer_norm(x, {}, {}, 0);
  const double root = std::sqrt(1.25);
  // The numbers are exact; a few roundings are left.
  for (index_t i = 0; i < 4; ++i)
    REQUIRE(y(i) == Approx((static_cast<double>(i) - 1.5) / root).epsilon(1e-6));
}

TEST_CASE("norm: rows together, in place or not, give the bits of each alone", "[norm]") {
  for (const index_t n : {5, 64, 129, 700, 2100})
    for (const index_t rows : {1, 2, 3, 16, 17, 33}) {
      const auto x = wavy<float, 2>({rows, n}, 0.1f, 2, 1);
      const auto w = wavy<float, 1>({n}, 0.5f), b = wavy<float, 1>({n}, 0.9f);
      Tensor<float, 2> layer(x.shape()), rms(x.shape()), same_layer = x.clone(),
                                                         same_rms = x.clone();
      for (index_t r = 0; r < rows; ++r) {
        kernels::layer_norm_forward<float>(x.data() + r * n, w.data(), b.data(), 1e-3f, 1, n,
                                           layer.data() + r * n, nullptr, nullptr);
        kernels::rms_norm_forward<float>(x.data() + r * n, w.data(), 1e-3f, 1, n,
                                         rms.data() + r * n, nullptr);
      }
      kernels::layer_norm_forward<float>(same_layer.data(), w.data(), b.data(), 1e-3f, rows, n,
                                         same_layer.data(), nullptr, nullptr);
      kernels::rms_norm_forward<float>(same_rms.data(), w.data(), 1e-3f, rows, n, same_rms.data(),
                                       nullptr);
      INFO(rows << " rows of " << n);
      CHECK(identical(same_layer, layer));
      CHECK(identical(same_rms, rms));
    }
}

TEST_CASE("norm: a constant row gives the bias, a row of zeros zeros", "[norm]") {
  const Tensor<float, 2> x({1, 9}, 3.f);
  REQUIRE(identical(layer_norm(x, {}, Tensor<float, 1>({9}, 2.f)), Tensor<float, 2>({1, 9}, 2.f)));
  REQUIRE(identical(rms_norm(Tensor<float, 2>({1, 9}), {}), Tensor<float, 2>({1, 9})));
}

TEST_CASE("norm: NaN stays in its row", "[norm]") {
  for (const index_t n : kWidths) {
    auto x = wavy<float, 2>({3, n}, 0.1, 2, 1);
    x(1, n - 1) = NAN;
    const auto y = layer_norm(x, {}, {});
    const auto z = rms_norm(x, {});
    for (index_t r = 0; r < 3; ++r)
      for (index_t i = 0; i < n; ++i) {
        REQUIRE(std::isnan(y(r, i)) == (r == 1));
        REQUIRE(std::isnan(z(r, i)) == (r == 1));
      }
  }
}

TEST_CASE("norm: wrong shapes are named, no rows and no columns are legal", "[norm]") {
  const Tensor<float, 2> x({3, 5});
  REQUIRE_THROWS_WITH(layer_norm(x, Tensor<float, 1>({4}), {}),
                      "layer_norm: weight is [4], expected [D=5] (D from x [3, 5])");
  REQUIRE_THROWS_WITH(layer_norm(x, {}, Tensor<float, 1>({6})),
                      "layer_norm: bias is [6], expected [D=5] (D from x [3, 5])");
  REQUIRE_THROWS_WITH(rms_norm(x, Tensor<float, 1>({4})),
                      "rms_norm: weight is [4], expected [D=5] (D from x [3, 5])");
  REQUIRE(layer_norm(Tensor<float, 2>({0, 5}), {}, {}).size() == 0);
  REQUIRE(rms_norm(Tensor<float, 2>({5, 0}), {}).size() == 0);
  Tensor<float, 1> w({5}, 1.f);
  w.set_requires_grad();
  Tape tape;
  const auto y = layer_norm(Tensor<float, 2>({0, 5}), w, {});
  REQUIRE(identical(tape.gradients(y, y.detach()).of(w), Tensor<float, 1>({5})));
}

TEST_CASE("norm: any number of threads gives the same bits", "[norm]") {
  const auto x = wavy<float, 2>({120, 600}, 0.1, 2, 1);
  const auto run = [&] {
    auto leaf = x.clone();
    auto w = wavy<float, 1>({600}, 0.4);
    auto b = wavy<float, 1>({600}, 0.7);
    leaf.set_requires_grad();
    w.set_requires_grad();
    b.set_requires_grad();
    Tape tape;
    const auto y = rms_norm(layer_norm(leaf, w, b), w);
    const auto g = tape.gradients(y, x);
    return std::tuple(y, g.of(leaf), g.of(w), g.of(b));
  };
  const auto expected = run();
  for (const index_t threads : {2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    const auto got = run();
    REQUIRE(identical(std::get<0>(got), std::get<0>(expected)));
    REQUIRE(identical(std::get<1>(got), std::get<1>(expected)));
    REQUIRE(identical(std::get<2>(got), std::get<2>(expected)));
    REQUIRE(identical(std::get<3>(got), std::get<3>(expected)));
  }
}
