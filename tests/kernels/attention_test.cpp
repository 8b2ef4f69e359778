#include "sequin/kernels/attention.hpp"

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/kernels/attention_backward.hpp"
#include "sequin/kernels/attention_step.hpp"
#include "sequin/kernels/attention_weights.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using namespace sequin;
namespace inner = sequin::kernels::detail;

template <class T>
Tensor<T, 4> random_tensor(const Shape<4>& shape, std::uint64_t seed) {
  auto t = Tensor<T, 4>::empty(shape);
  Generator generator(seed);
  for (T& x : t.span()) x = generator.normal<T>();
  return t;
}

template <class T>
T exp2_of(T x) {
  return simd::reduce_max<T>(inner::exp2_nonpositive<T>(simd::set1<T>(x)));
}

template <class T>
void check_exp2(double tolerance) {
  const T lowest = std::is_same_v<T, float> ? T(-126) : T(-1022);
  for (int i = 0; i <= 20000; ++i) {
    const T x = lowest * static_cast<T>(i) / T(20000);
    const double expected = std::exp2(static_cast<double>(x));
    REQUIRE(std::abs(static_cast<double>(exp2_of<T>(x)) / expected - 1) < tolerance);
  }
  CHECK(exp2_of<T>(0) == T(1));
  CHECK(exp2_of<T>(-3) == T(0.125));
  CHECK(exp2_of<T>(-std::numeric_limits<T>::infinity()) == T(0));
  CHECK(exp2_of<T>(std::numeric_limits<T>::lowest()) == T(0));
  CHECK(exp2_of<T>(lowest - 1) == T(0));
  const auto nan = inner::exp2_nonpositive<T>(simd::set1(std::numeric_limits<T>::quiet_NaN()));
  T lanes[static_cast<std::size_t>(simd::kLanes<T>)];
  simd::store<T>(lanes, nan);
  for (const T lane : lanes) CHECK(std::isnan(lane));
}

template <class T>
kernels::AttentionProblem<T> problem(const Tensor<T, 4>& q, const Tensor<T, 4>& k,
                                     const Tensor<T, 4>& v) {
  kernels::AttentionProblem<T> a;
  a.q = q.view();
  a.k = k.view();
  a.v = v.view();
  a.scale = T(0.3);
  return a;
}

template <class T>
Tensor<T, 4> forward(const kernels::AttentionProblem<T>& a) {
  Tensor<T, 4> out({a.batch(), a.queries(), a.heads(), a.value_width()});
  auto scratch = Tensor<T, 1>::empty({kernels::attention_scratch(a)});
  // Nothing may depend on what the scratch held before.
  scratch.fill(std::numeric_limits<T>::quiet_NaN());
  kernels::attention_forward<T>(a, 0, kernels::attention_tasks(a), out.view(), nullptr, nullptr,
                                scratch.data());
  return out;
}

template <class T>
double largest_difference(const Tensor<T, 4>& a, const Tensor<T, 4>& b) {
  REQUIRE(a.shape() == b.shape());
  double worst = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
    worst = std::isnan(d) ? std::numeric_limits<double>::infinity() : (std::max)(worst, d);
  }
  return worst;
}

}  // namespace

TEST_CASE("exp2_nonpositive: within 2 ulp, exact at whole numbers, 0 at -inf, NaN at NaN") {
  check_exp2<float>(2 * 0x1p-23);
  check_exp2<double>(2 * 0x1p-52);
}

TEST_CASE("dropout_factors: are detail::philox, call by call") {
  kernels::AttentionProblem<double> a;
  a.dropout_key = 0x123456789abcdef0u;
  a.drop_below = 20000;
  a.keep_factor = 1.5;
  const index_t row = index_t{5} << 32 | 77;
  const index_t block = 3;
  double factor[64];
  inner::dropout_factors(a, row, block, factor);
  for (std::size_t j = 0; j < 64; ++j) {
    const auto words = sequin::detail::philox(a.dropout_key, 8 * 3 + j % 2 * 4 + j % 8 / 2,
                                              static_cast<std::uint64_t>(row));
    const std::uint32_t bits = (words[j % 32 / 8] >> (j < 32 ? 0 : 16)) & 0xffffu;
    CHECK(factor[j] == (bits < a.drop_below ? 0.0 : 1.5));
  }
}

TEMPLATE_TEST_CASE("attention_forward: takes strided views", "", float, double) {
  using T = TestType;
  // One projection (B, T, 3, H, P) that holds queries, keys and values.
  const index_t length = 11;
  const index_t heads = 3;
  const index_t width = 5;
  const auto qkv = random_tensor<T>({2, length, 3 * heads, width}, 1);
  const auto part = [&](index_t which) {
    return View<const T, 4>(qkv.data() + which * heads * width, {2, length, heads, width},
                            {length * 3 * heads * width, 3 * heads * width, width, 1});
  };
  const auto copy = [&](index_t which) {
    auto t = Tensor<T, 4>::empty({2, length, heads, width});
    const auto from = part(which);
    for (index_t b = 0; b < 2; ++b)
      for (index_t i = 0; i < length; ++i)
        for (index_t h = 0; h < heads; ++h)
          for (index_t p = 0; p < width; ++p) t(b, i, h, p) = from(b, i, h, p);
    return t;
  };
  const auto q = copy(0);
  const auto k = copy(1);
  const auto v = copy(2);
  const auto expected = forward(problem(q, k, v));
  kernels::AttentionProblem<T> a = problem(q, k, v);
  a.q = part(0);
  a.k = part(1);
  a.v = part(2);
  CHECK(largest_difference(forward(a), expected) == 0);
}

TEMPLATE_TEST_CASE("attention_forward: a query's result does not depend on the others", "", float,
                   double) {
  using T = TestType;
  const auto q = random_tensor<T>({1, 403, 1, 7}, 1);
  const auto k = random_tensor<T>({1, 300, 1, 7}, 2);
  const auto v = random_tensor<T>({1, 300, 1, 19}, 3);
  const auto whole = forward(problem(q, k, v));
  for (const index_t from : {0, 1, 5, 380, 390}) {
    const index_t rows = from == 380 ? 23 : 5;
    const Tensor<T, 4> some(
        {1, rows, 1, 7},
        std::span<const T>(q.data() + from * 7, static_cast<std::size_t>(rows * 7)));
    const auto part = forward(problem(some, k, v));
    for (index_t i = 0; i < part.size(); ++i)
      REQUIRE(part.data()[i] == whole.data()[from * 19 + i]);
  }
}

TEMPLATE_TEST_CASE("attention_step: agrees with attention_forward", "", float, double) {
  using T = TestType;
  for (const index_t keys : {1, 3, 7, 128, 129, 300})
    for (const index_t width : {1, 7, 8, 35, 64}) {
      const auto q = random_tensor<T>({2, 1, 3, width}, 1);
      const auto k = random_tensor<T>({2, keys, 3, width}, 2);
      const auto v = random_tensor<T>({2, keys, 3, width + 2}, 3);
      auto a = problem(q, k, v);
      for (const bool masked : {false, true}) {
        for (const bool dropped : {false, true}) {
          Tensor<bool, 2> keep({2, keys}, true);
          keep(0, 0) = false;
          keep(1, keys / 2) = false;
          a.key_mask_row = keys;
          a.key_mask = masked ? std::as_const(keep).data() : nullptr;
          a.drop_below = dropped ? 20000 : 0;
          a.keep_factor = dropped ? T(1.4) : T(1);
          Tensor<T, 4> out({2, 1, 3, width + 2});
          out.fill(std::numeric_limits<T>::quiet_NaN());
          kernels::attention_step<T>(a, 0, 6, out.view(), nullptr, nullptr);
          // The sums run in another order: rounding of numbers of size 1, up to 300 of them.
          CHECK(largest_difference(out, forward(a)) < (sizeof(T) == 4 ? 2e-6 : 1e-14));
        }
      }
    }
}

TEMPLATE_TEST_CASE("attention_step: a long cache gives the bits of the same rows close together",
                   "", float, double) {
  using T = TestType;
  const index_t keys = 517, heads = 2, width = 5;
  const auto q = random_tensor<T>({1, 1, heads, width}, 1);
  const auto k = random_tensor<T>({1, keys, heads, width}, 2);
  const auto v = random_tensor<T>({1, keys, heads, width}, 3);
  const auto near = problem<T>(q, k, v);
  REQUIRE(!inner::step_is_far(near));
  // The same rows far apart, between others.
  const index_t step = 2048;
  auto far = near;
  std::vector<T> room(static_cast<std::size_t>(2 * keys * step), T{9});
  const auto spread = [&](const Tensor<T, 4>& from, index_t offset) {
    for (index_t j = 0; j < keys; ++j)
      std::copy_n(from.data() + j * heads * width, heads * width,
                  room.data() + offset + j * 2 * step);
    return View<const T, 4>(room.data() + offset, from.shape(),
                            {2 * keys * step, 2 * step, width, 1});
  };
  far.k = spread(k, 0);
  far.v = spread(v, step);
  REQUIRE(inner::step_is_far(far));
  Tensor<T, 4> a({1, 1, heads, width}), b({1, 1, heads, width});
  kernels::attention_step<T>(near, 0, heads, a.view(), nullptr, nullptr);
  kernels::attention_step<T>(far, 0, heads, b.view(), nullptr, nullptr);
  CHECK(std::equal(a.span().begin(), a.span().end(), b.span().begin()));
}

TEMPLATE_TEST_CASE("attention: scratch is neither read before it is written nor exceeded", "",
                   float, double) {
  using T = TestType;
  const auto q = random_tensor<T>({1, 101, 2, 9}, 1);
  const auto k = random_tensor<T>({1, 70, 2, 9}, 2);
  const auto v = random_tensor<T>({1, 70, 2, 3}, 3);
  const auto a = problem(q, k, v);
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensor<T, 4> out(Shape<4>{1, 101, 2, 3});
  auto dq = Tensor<T, 4>(q.shape(), nan);
  auto dk = Tensor<T, 4>(k.shape(), nan);
  auto dv = Tensor<T, 4>(v.shape(), nan);
  Tensor<T, 1> max({202});
  Tensor<T, 1> normaliser({202});
  const index_t guard = 64;
  const auto guarded = [&](index_t size) { return Tensor<T, 1>({size + guard}, nan); };
  const auto intact = [&](const Tensor<T, 1>& scratch) {
    for (index_t i = scratch.size() - guard; i < scratch.size(); ++i)
      if (!std::isnan(scratch(i))) return false;
    return true;
  };
  auto scratch = guarded(kernels::attention_scratch(a));
  kernels::attention_forward<T>(a, 0, 2, out.view(), max.data(), normaliser.data(), scratch.data());
  CHECK(intact(scratch));
  scratch = guarded(kernels::attention_backward_scratch(a));
  kernels::attention_backward<T>(a, 0, 2, std::as_const(out).view(), std::as_const(out).view(),
                                 max.data(), normaliser.data(), {dq.view(), dk.view(), dv.view()},
                                 scratch.data());
  CHECK(intact(scratch));
  for (const auto* t : {&dq, &dk, &dv})
    for (const T x : t->span()) REQUIRE(std::isfinite(x));
}
