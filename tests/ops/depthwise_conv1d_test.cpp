#include "sequin/ops/depthwise_conv1d.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <cmath>

using namespace sequin;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

Tensor<double, 3> reference(const Tensor<double, 3>& x, const Tensor<double, 3>& w,
                            const DepthwiseConv1dOptions& o) {
  const index_t m = w.extent(1);
  const index_t taps = w.extent(2);
  const index_t steps = x.extent(1) + 2 * o.padding - o.dilation * (taps - 1);
  Tensor<double, 3> y({x.extent(0), steps, w.extent(0)});
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < steps; ++t)
      for (index_t c = 0; c < w.extent(0); ++c)
        for (index_t i = 0; i < m; ++i)
          for (index_t k = 0; k < taps; ++k) {
            const index_t from = t + k * o.dilation - o.padding;
            if (from >= 0 && from < x.extent(1)) y(b, t, c) += w(c, i, k) * x(b, from, c * m + i);
          }
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("depthwise_conv1d: equals a plain loop on odd sizes", "[depthwise_conv1d]",
                   float, double) {
  for (const index_t c : {1, 7, 8, 33})
    for (const index_t m : {1, 2, 3})
      for (const index_t steps : {1, 5, 70})
        for (const index_t dilation : {1, 2}) {
          const index_t taps = 5;
          const DepthwiseConv1dOptions o{(taps - 1) / 2 * dilation, dilation};
          const auto x = wavy<TestType, 3>({2, steps, c * m}, 0.1);
          const auto w = wavy<TestType, 3>({c, m, taps}, 0.2);
          const auto y = depthwise_conv1d(x, w, o);
          // m * taps terms of size 1.
          REQUIRE(largest_difference(
                      y, reference(x.template cast<double>(), w.template cast<double>(), o)) <
                  (sizeof(TestType) == 4 ? 4e-6 : 1e-14));
        }
}

TEST_CASE("depthwise_conv1d: many channels and taps equal a plain loop", "[depthwise_conv1d]") {
  for (const index_t channels : {1, 15, 17, 33, 128})
    for (const index_t taps : {1, 3, 8, 17, 39, 70})
      for (const index_t dilation : {1, 2, 5}) {
        constexpr index_t steps = 150;
        const index_t around = (taps - 1) / 2 * dilation;
        const auto x = wavy<float, 3>({2, steps, channels}, 0.1f);
        const auto w = wavy<float, 3>({channels, 1, taps}, 0.5f);
        const auto y = depthwise_conv1d(x, w, {.padding = around, .dilation = dilation});
        double worst = 0;
        for (index_t b = 0; b < 2; ++b)
          for (index_t t = 0; t < y.extent(1); ++t)
            for (index_t c = 0; c < channels; ++c) {
              double sum = 0;
              for (index_t k = 0; k < taps; ++k) {
                const index_t at = t + k * dilation - around;
                if (at >= 0 && at < steps) sum += double{w(c, 0, k)} * double{x(b, at, c)};
              }
              worst = (std::max)(worst, std::abs(double{y(b, t, c)} - sum));
            }
        INFO(channels << " channels, " << taps << " taps, dilation " << dilation);
        // Up to 70 products of values up to 1, each sum rounded.
        CHECK(worst <= 1e-4);
      }
}

TEST_CASE("depthwise_conv1d: gradients equal finite differences", "[depthwise_conv1d]") {
  for (const index_t m : {1, 2}) {
    const auto x = wavy<double, 3>({2, 11, 3 * m}, 0.1);
    const auto w = wavy<double, 4>({3, m, 5, 1}, 0.2);
    const auto r = grad_check(
        [](const auto& a, const auto& b) {
          return depthwise_conv1d(a, b, {3, 2});
        },
        x, w);
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("depthwise_conv1d: with a residual it is x plus the convolution, gradients too",
          "[depthwise_conv1d]") {
  for (const index_t steps : {1, 3, 40}) {
    const auto x = wavy<double, 3>({2, steps, 9}, 0.1);
    const auto w = wavy<double, 3>({9, 1, 5}, 0.2);
    const auto y = depthwise_conv1d(x, w, {4, 2, true});
    const auto plain = depthwise_conv1d(x, w, {4, 2});
    for (index_t i = 0; i < y.size(); ++i)
      REQUIRE(y.data()[i] == Approx(x.data()[i] + plain.data()[i]));
  }
  const auto r = grad_check(
      [](const auto& a, const auto& b) {
        return depthwise_conv1d(a, b, {4, 2, true});
      },
      wavy<double, 3>({2, 7, 3}, 0.1), wavy<double, 3>({3, 1, 5}, 0.2));
  INFO(r.where);
  REQUIRE(r.ok());
  REQUIRE_THROWS_AS(
      depthwise_conv1d(Tensor<float, 3>({1, 4, 6}), Tensor<float, 3>({3, 2, 3}), {1, 1, true}),
      ShapeError);
}

TEST_CASE("depthwise_conv1d: wrong shapes are named", "[depthwise_conv1d]") {
  const Tensor<float, 3> x({1, 4, 6});
  REQUIRE_THROWS_WITH(depthwise_conv1d(x, Tensor<float, 3>({5, 1, 3})),
                      "depthwise_conv1d: x is [1, 4, 6], expected [B, T, C*M=5] (from weight "
                      "[5, 1, 3])");
  REQUIRE_THROWS_AS(depthwise_conv1d(x, Tensor<float, 3>({6, 1, 7})), ShapeError);
  REQUIRE_THROWS_AS(depthwise_conv1d(x, Tensor<float, 3>({6, 1, 3}), {0, 0}), ConfigError);
}
