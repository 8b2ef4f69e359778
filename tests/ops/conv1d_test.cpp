#include "sequin/ops/conv1d.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/conv1d.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

/// The definition, term by term.
template <class T>
Tensor<double, 3> plain_conv1d(const Tensor<T, 3>& x, const Tensor<T, 3>& w, const Tensor<T, 1>& b,
                               const Conv1dOptions& o) {
  const index_t length = x.extent(1);
  const index_t span = (w.extent(2) - 1) * o.dilation + 1;
  const index_t steps = (length + 2 * o.padding - span) / o.stride + 1;
  Tensor<double, 3> y({x.extent(0), steps, w.extent(0)});
  for (index_t n = 0; n < x.extent(0); ++n)
    for (index_t t = 0; t < steps; ++t)
      for (index_t f = 0; f < w.extent(0); ++f) {
        double sum = b.defined() ? static_cast<double>(b(f)) : 0;
        for (index_t k = 0; k < w.extent(2); ++k) {
          index_t at = t * o.stride + k * o.dilation - o.padding;
          if (o.padding_mode == PaddingMode::circular) at = (at % length + length) % length;
          if (at < 0 || at >= length) continue;
          for (index_t c = 0; c < x.extent(2); ++c)
            sum += static_cast<double>(x(n, at, c)) * static_cast<double>(w(f, c, k));
        }
        y(n, t, f) = sum;
      }
  return y;
}

std::vector<Conv1dOptions> all_options() {
  std::vector<Conv1dOptions> all;
  for (const auto mode : {PaddingMode::zeros, PaddingMode::circular})
    for (const index_t padding : {0, 1, 2, 5})
      for (const index_t stride : {1, 2, 3})
        for (const index_t dilation : {1, 2}) all.push_back({stride, padding, dilation, mode});
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("conv1d: every option equals the plain sum", "[conv1d]", float, double) {
  for (const auto& o : all_options())
    for (const index_t length : {5, 7, 61})
      for (const index_t in : {1, 17})
        for (const index_t out : {1, 33}) {
          const auto x = wavy<TestType, 3>({2, length, in}, 0.1);
          const auto w = wavy<TestType, 3>({out, in, 3}, 0.2);
          const auto b = wavy<TestType, 1>({out}, 0.3);
          // Rounding of some 50 terms of size 1.
          const double tolerance = sizeof(TestType) == 4 ? 2e-5 : 1e-13;
          REQUIRE(sequin_test::largest_difference(conv1d(x, w, b, o), plain_conv1d(x, w, b, o)) <
                  tolerance);
          REQUIRE(sequin_test::largest_difference(conv1d(x, w, {}, o), plain_conv1d(x, w, {}, o)) <
                  tolerance);
        }
}

TEST_CASE("conv1d: one tap, one step and padding beyond the series are legal", "[conv1d]") {
  const auto x = wavy<double, 3>({1, 1, 3}, 0.1);
  for (const index_t taps : {1, 3, 5})
    for (const auto mode : {PaddingMode::zeros, PaddingMode::circular}) {
      const auto w = wavy<double, 3>({2, 3, taps}, 0.2);
      const Conv1dOptions o{1, 2, 1, mode};
      REQUIRE(sequin_test::largest_difference(conv1d(x, w, {}, o), plain_conv1d(x, w, {}, o)) <
              1e-14);
    }
  REQUIRE(conv1d(Tensor<float, 3>({0, 4, 3}), Tensor<float, 3>({2, 3, 3})).shape() ==
          Shape<3>{0, 2, 2});
}

TEST_CASE("conv1d: gradients of x, weight and bias equal finite differences", "[conv1d]") {
  for (const auto& o : all_options()) {
    const auto r =
        grad_check([&](const auto& x, const auto& w, const auto& b) { return conv1d(x, w, b, o); },
                   wavy<double, 3>({2, 7, 3}, 0.1), wavy<double, 3>({4, 3, 3}, 0.2),
                   wavy<double, 1>({4}, 0.3));
    INFO(r.where);
    REQUIRE(r.ok());
  }
}

TEST_CASE("conv1d: batch, threads and a packed weight do not show", "[conv1d]") {
  const auto x = wavy<float, 3>({5, 130, 40}, 0.1);
  auto w = wavy<float, 3>({70, 40, 3}, 0.2);
  for (const index_t dilation : {1, 3}) {
    const Conv1dOptions o{1, 1, dilation, PaddingMode::circular};
    PackedConv1dWeight<float> packed;
    packed.pack(w, dilation);
    REQUIRE(packed.fresh(w, dilation));
    REQUIRE_FALSE(packed.fresh(w, dilation == 1 ? 2 : 1));
    const auto y = conv1d(x, w, {}, o);
    REQUIRE(identical(conv1d(x, w, {}, o, &packed), y));
    ThreadPool pool(3);
    const ExecutorScope scope(&pool);
    REQUIRE(identical(conv1d(x, w, {}, o), y));
    const auto last = conv1d(slice(x, 0, 4, 5), w, {}, o);
    REQUIRE(identical(last, slice(y, 0, 4, 5)));
  }
  PackedConv1dWeight<float> packed;
  packed.pack(w, 1);
  w(0, 0, 0) = 100;
  REQUIRE_FALSE(packed.fresh(w, 1));
}

TEST_CASE("conv1d: gradients do not depend on threads", "[conv1d]") {
  const auto gradients = [] {
    auto x = wavy<float, 3>({3, 50, 130}, 0.1);
    auto w = wavy<float, 3>({40, 130, 3}, 0.2);
    x.set_requires_grad(), w.set_requires_grad();
    Tape tape;
    const auto y = conv1d(x, w, {}, {1, 1, 1, PaddingMode::circular});
    const auto g = tape.gradients(y, wavy<float, 3>(y.shape(), 0.4));
    return std::pair(g.of(x), g.of(w));
  };
  const auto alone = gradients();
  ThreadPool pool(2);
  const ExecutorScope scope(&pool);
  const auto both = gradients();
  REQUIRE(identical(alone.first, both.first));
  REQUIRE(identical(alone.second, both.second));
}

TEST_CASE("conv1d: NaN reaches the steps that see it and no others", "[conv1d]") {
  auto x = wavy<float, 3>({1, 9, 2}, 0.1);
  x(0, 4, 1) = NAN;
  const auto y = conv1d(x, wavy<float, 3>({3, 2, 3}, 0.2), {}, {1, 1, 1, PaddingMode::zeros});
  for (index_t t = 0; t < 9; ++t) REQUIRE(std::isnan(y(0, t, 2)) == (t >= 3 && t <= 5));
}

TEST_CASE("conv1d: wrong shapes are named", "[conv1d]") {
  const auto w = wavy<float, 3>({5, 6, 3}, 0.2);
  REQUIRE_THROWS_WITH(conv1d(wavy<float, 3>({2, 9, 7}, 0), w),
                      "conv1d: x is [2, 9, 7], expected [B, T, Cin=6] (Cin from weight [5, 6, 3])");
  REQUIRE_THROWS_WITH(conv1d(wavy<float, 3>({2, 9, 6}, 0), w, wavy<float, 1>({6}, 0)),
                      "conv1d: bias is [6], expected [Cout=5] (Cout from weight [5, 6, 3])");
  REQUIRE_THROWS_WITH(conv1d(wavy<float, 3>({2, 4, 6}, 0), w, {}, {1, 0, 2, PaddingMode::zeros}),
                      "conv1d: x is [2, 4, 6], expected [B, T >= 5, Cin] (the taps reach over 5 "
                      "steps, padding is 0)");
  REQUIRE_THROWS_AS(conv1d(wavy<float, 3>({2, 9, 6}, 0), w, {}, {0, 0, 1, PaddingMode::zeros}),
                    ConfigError);
}

TEST_CASE("Conv1d: the block has the names and the result of torch.nn.Conv1d", "[conv1d]") {
  Conv1d<float> block(3, 4, 3, {1, 1, 1, PaddingMode::circular});
  Generator generator(1);
  block.initialize(generator);
  const auto list = parameters(block);
  REQUIRE(list.items.size() == 2);
  REQUIRE(list.items[0].name == "weight");
  REQUIRE(list.items[0].shape == std::vector<index_t>{4, 3, 3});
  REQUIRE(list.items[1].name == "bias");
  const auto x = wavy<float, 3>({2, 6, 3}, 0.1);
  const auto y = block.forward(x);
  prepare(block);
  REQUIRE(identical(block.forward(x), y));
  REQUIRE(identical(conv1d(x, block.weight, block.bias, block.options()), y));
}
