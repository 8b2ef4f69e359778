#include "sequin/ops/max_pool1d.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::wavy;

TEST_CASE("max_pool1d: every window equals the plain maximum", "[max_pool1d]") {
  for (const index_t length : {1, 2, 3, 24, 37})
    for (const index_t kernel : {1, 2, 3, 5})
      for (const index_t stride : {1, 2, 3})
        for (index_t padding = 0; padding <= kernel / 2; ++padding) {
          if (length + 2 * padding < kernel) continue;
          const auto x = wavy<float, 3>({2, length, 3}, 0.1, 1, -3);
          const auto y = max_pool1d(x, kernel, stride, padding);
          REQUIRE(y.extent(1) == (length + 2 * padding - kernel) / stride + 1);
          for (index_t b = 0; b < 2; ++b)
            for (index_t t = 0; t < y.extent(1); ++t)
              for (index_t c = 0; c < 3; ++c) {
                float best = -INFINITY;
                for (index_t k = 0; k < kernel; ++k) {
                  const index_t at = t * stride + k - padding;
                  if (at >= 0 && at < length) best = (std::max)(best, x(b, at, c));
                }
                REQUIRE(y(b, t, c) == best);
              }
        }
}

TEST_CASE("max_pool1d: the gradient equals finite differences", "[max_pool1d]") {
  for (const index_t stride : {1, 2}) {
    const auto r = grad_check([&](const auto& x) { return max_pool1d(x, 3, stride, 1); },
                              wavy<double, 3>({2, 9, 3}, 0.1));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("max_pool1d: of equal values the first gets the gradient", "[max_pool1d]") {
  Tensor<float, 3> x({1, 5, 1}, {2, 2, 2, 1, 1});
  x.set_requires_grad();
  Tape tape;
  const auto y = max_pool1d(x, 3, 2, 1);
  const auto dx = tape.gradients(y, Tensor<float, 3>({1, 3, 1}, {1, 10, 100})).of(x);
  // Windows {0, 1}, {1, 2, 3}, {3, 4}.
  const float expected[] = {1, 10, 0, 100, 0};
  for (index_t t = 0; t < 5; ++t) REQUIRE(dx(0, t, 0) == expected[t]);
}

TEST_CASE("max_pool1d: NaN and -inf are values like others", "[max_pool1d]") {
  const Tensor<float, 3> x({1, 4, 1}, {-INFINITY, -INFINITY, NAN, 5});
  const auto y = max_pool1d(x, 3, 2, 1);
  REQUIRE(y(0, 0, 0) == -INFINITY);
  REQUIRE(std::isnan(y(0, 1, 0)));
}

TEST_CASE("max_pool1d: wrong sizes are named", "[max_pool1d]") {
  const Tensor<float, 3> x({2, 3, 4});
  REQUIRE_THROWS_WITH(max_pool1d(x, 5, 1, 0),
                      "max_pool1d: x is [2, 3, 4], expected [B, T >= 5, C]");
  REQUIRE_THROWS_WITH(
      max_pool1d(x, 3, 2, 2),
      "max_pool1d: kernel is 3, stride 2 and padding 2, expected >= 1, >= 1 and 0 to "
      "kernel / 2");
}
