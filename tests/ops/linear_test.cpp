#include "sequin/ops/linear.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace sequin;

namespace {

template <class T, std::size_t Rank>
Tensor<T, Rank> wavy(const Shape<Rank>& shape, double phase) {
  Tensor<T, Rank> t(shape);
  for (index_t i = 0; i < t.size(); ++i)
    t.data()[i] = static_cast<T>(std::sin(0.7 * static_cast<double>(i) + phase));
  return t;
}

constexpr Activation kAll[] = {Activation::identity,  Activation::relu,     Activation::gelu,
                               Activation::gelu_tanh, Activation::silu,     Activation::sigmoid,
                               Activation::tanh,      Activation::softplus, Activation::elu};

}  // namespace

TEMPLATE_TEST_CASE("linear: equals a plain loop bit by bit where fma is one rounding", "[linear]",
                   float, double) {
  for (const index_t rows : {1, 3, 8, 61})
    for (const index_t in : {1, 17, 40})
      for (const index_t out : {1, 15, 33}) {
        const auto x = wavy<TestType, 2>({rows, in}, 0.1);
        const auto w = wavy<TestType, 2>({out, in}, 0.2);
        const auto b = wavy<TestType, 1>({out}, 0.3);
        const auto y = linear(x, w, b);
        for (index_t r = 0; r < rows; ++r)
          for (index_t o = 0; o < out; ++o) {
            double sum = 0;
            for (index_t k = 0; k < in; ++k)
              sum += static_cast<double>(x(r, k)) * static_cast<double>(w(o, k));
            // Rounding of `in` terms of size 1.
            const double tolerance =
                1e-15 * static_cast<double>(in) * (sizeof(TestType) == 4 ? 5e8 : 1.0);
            REQUIRE(std::abs(static_cast<double>(y(r, o)) - sum - static_cast<double>(b(o))) <=
                    tolerance);
          }
      }
}

TEST_CASE("linear: gradients of every activation equal finite differences", "[linear]") {
  const auto x = wavy<double, 3>({2, 3, 5}, 0.1);
  const auto w = wavy<double, 2>({7, 5}, 0.2);
  const auto b = wavy<double, 1>({7}, 0.3);
  for (const Activation activation : kAll) {
    const auto r = grad_check(
        [=](const auto& a, const auto& c, const auto& d) { return linear(a, c, d, activation); }, x,
        w, b);
    INFO(r.where);
    REQUIRE(r.ok());
  }
  REQUIRE(grad_check([](const auto& a, const auto& c) { return linear(a, c); }, x, w).ok());
}

TEST_CASE("linear: a convolution weight (out, in, 1) is the same map", "[linear]") {
  const auto x = wavy<double, 3>({2, 3, 5}, 0.1);
  const auto w = wavy<double, 3>({4, 5, 1}, 0.2);
  REQUIRE(grad_check([](const auto& a, const auto& c) { return linear(a, c); }, x, w).ok());
}

TEST_CASE("linear: rows do not depend on each other, on packing or on threads", "[linear]") {
  const auto x = wavy<float, 2>({101, 70}, 0.1);
  const auto w = wavy<float, 2>({90, 70}, 0.2);
  PackedWeight<float> packed;
  packed.pack(w);
  const auto y = linear(x, w);
  const auto check = [&](const Tensor<float, 2>& other) {
    REQUIRE(std::equal(y.span().begin(), y.span().end(), other.span().begin()));
  };
  check(linear(x, w, {}, Activation::identity, &packed));
  for (const index_t threads : {2, 3}) {
    ThreadPool pool(threads);
    const ExecutorScope scope(&pool);
    check(linear(x, w));
  }
  for (const index_t r : {0, 50, 100}) {
    const auto alone = linear(
        Tensor<float, 2>({1, 70}, x.span().subspan(static_cast<std::size_t>(r * 70), 70)), w);
    for (index_t o = 0; o < 90; ++o) REQUIRE(alone(0, o) == y(r, o));
  }
}

TEST_CASE("linear: a packed weight is not used once the weight has changed", "[linear]") {
  auto w = wavy<float, 2>({9, 6}, 0.2);
  PackedWeight<float> packed;
  packed.pack(w);
  REQUIRE(packed.fresh(w));
  w(0, 0) = 100;
  REQUIRE_FALSE(packed.fresh(w));
  const auto x = wavy<float, 2>({1, 6}, 0.5);
  REQUIRE(linear(x, w, {}, Activation::identity, &packed)(0, 0) == linear(x, w)(0, 0));
}

TEST_CASE("linear: NaN in a row stays in the row", "[linear]") {
  auto x = wavy<float, 2>({7, 6}, 0.1);
  x(2, 3) = NAN;
  const auto y = linear(x, wavy<float, 2>({5, 6}, 0.2), {}, Activation::relu);
  for (index_t r = 0; r < 7; ++r) REQUIRE(std::isnan(y(r, 1)) == (r == 2));
}

TEST_CASE("linear: wrong shapes are named", "[linear]") {
  const auto w = wavy<float, 2>({5, 6}, 0.2);
  REQUIRE_THROWS_WITH(linear(wavy<float, 2>({2, 7}, 0), w),
                      "linear: x is [2, 7], expected [..., in=6] (in from weight [5, 6])");
  REQUIRE_THROWS_WITH(linear(wavy<float, 2>({2, 6}, 0), w, wavy<float, 1>({6}, 0)),
                      "linear: bias is [6], expected [out=5] (out from weight [5, 6])");
}

TEST_CASE("linear: no rows, no inputs and no outputs are legal", "[linear]") {
  REQUIRE(linear(Tensor<float, 2>({0, 6}), wavy<float, 2>({5, 6}, 0)).shape() == Shape<2>{0, 5});
  REQUIRE(linear(Tensor<float, 2>({2, 0}), Tensor<float, 2>({5, 0}))(1, 4) == 0);
  REQUIRE(linear(Tensor<float, 2>({2, 6}), Tensor<float, 2>({0, 6})).size() == 0);
}

TEST_CASE("matmul: gradients equal finite differences, few rows and many", "[matmul]") {
  for (const index_t rows : {1, 3, 19}) {
    const auto r = grad_check([](const auto& a, const auto& b) { return matmul(a, b); },
                              wavy<double, 3>({2, rows, 5}, 0.1), wavy<double, 3>({2, 5, 3}, 0.4));
    INFO(r.where);
    REQUIRE(r.ok());
  }
  REQUIRE_THROWS_AS(matmul(Tensor<float, 2>({2, 3}), Tensor<float, 2>({2, 3})), ShapeError);
}

TEST_CASE("linear: a float bias under many rows gets its gradient without drift", "[linear]") {
  Tensor<float, 1> bias({300});
  bias.set_requires_grad();
  Tape tape;
  const auto y = linear(Tensor<float, 2>({20000, 1}), Tensor<float, 2>({300, 1}), bias);
  const auto g = tape.gradients(y, Tensor<float, 2>(y.shape(), 0.1f)).of(bias);
  // One rounding to float; a plain float sum is off by 3e-5 of it.
  for (index_t i = 0; i < 300; ++i) REQUIRE(g(i) == static_cast<float>(20000 * double{0.1f}));
}

TEMPLATE_TEST_CASE("linear: a weight packed in its own memory gives the same bits", "[linear]",
                   float, double) {
  for (const index_t out : {1, 15, 16, 33, 64})
    for (const bool room : {true, false}) {
      const index_t in = 19;
      const auto values = wavy<TestType, 2>({out, in}, 0.2);
      auto w =
          room ? Tensor<TestType, 2>::with_room({out, in}, PackedWeight<TestType>::room(in, out))
               : Tensor<TestType, 2>({out, in});
      w.copy_from(values.span());
      const auto x = wavy<TestType, 2>({5, in}, 0.1);
      const auto expected = linear(x, w);
      PackedWeight<TestType> packed;
      packed.take(w);
      REQUIRE(w.released());
      REQUIRE(packed.fresh(w));
      const auto y = linear(x, w, Tensor<TestType, 1>{}, Activation::identity, &packed);
      REQUIRE(std::ranges::equal(expected.span(), y.span()));
      std::vector<TestType> row(static_cast<std::size_t>(in));
      for (index_t o = 0; o < out; ++o) {
        packed.copy_row(o, in, row.data());
        for (index_t k = 0; k < in; ++k) REQUIRE(row[static_cast<std::size_t>(k)] == values(o, k));
      }
    }
}

TEST_CASE("linear: a weight that others hold stays theirs when it is packed", "[linear]") {
  auto w = Tensor<float, 2>::with_room({16, 3}, PackedWeight<float>::room(3, 16));
  w.copy_from(wavy<float, 2>({16, 3}, 0.2).span());
  const Tensor<float, 2> other = w;
  const auto before = other.clone();
  PackedWeight<float> packed;
  packed.take(w);
  REQUIRE(std::ranges::equal(other.span(), before.span()));
}

TEST_CASE("linear: a weight given up for inference refuses to be trained or read unpacked",
          "[linear]") {
  Tensor<float, 2> w({4, 3});
  w.set_requires_grad();
  PackedWeight<float> packed;
  packed.take(w);
  const Tensor<float, 2> x({2, 3});
  const std::string told =
      "linear: the weight [4, 3] was given up by prepare_for_inference, which ends training";
  REQUIRE_THROWS_WITH(linear(x, w), told);
  const Tape tape;
  REQUIRE_THROWS_WITH(linear(x, w, Tensor<float, 1>{}, Activation::identity, &packed), told);
}
