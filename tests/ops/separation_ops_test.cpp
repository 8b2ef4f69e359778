// What separators of speech are made of: norms over time, frames, slopes, joint chunk attention.
#include "sequin/autograd/grad_check.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/chunk_attention.hpp"
#include "sequin/ops/frames.hpp"
#include "sequin/ops/prelu.hpp"
#include "sequin/ops/scale_norm.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/ops/time_norm.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

Tensor<double, 3> reference_attention(const ChunkAttentionInputs<double>& in,
                                      const Tensor<double, 3>& v, const ChunkAttentionOptions& o,
                                      const Tensor<double, 2>& mask) {
  const index_t n = v.extent(1);
  const index_t g = o.group_size;
  const auto dot = [&](const auto& a, const auto& b, index_t i, index_t s, index_t t) {
    double sum = 0;
    for (index_t q = 0; q < a.extent(2); ++q) sum += a(i, s, q) * b(i, t, q);
    return sum;
  };
  Tensor<double, 3> y(v.shape());
  for (index_t b = 0; b < v.extent(0); ++b)
    for (index_t s = 0; s < n; ++s)
      for (index_t t = 0; t < n; ++t) {
        double weight = 0;
        if (s / g == t / g && (!o.causal || t <= s) && (!mask.defined() || mask(b, t) != 0)) {
          const double a = dot(in.quad_q, in.quad_k, b, s, t) / static_cast<double>(g);
          weight = a > 0 ? a * a : 0;
        }
        double share = 1;  // of the group of t in what s remembers
        if (o.mean_decay > 0) {
          double total = 0;
          for (index_t j = 0; j < s / g; ++j)
            total += std::pow(o.mean_decay, static_cast<double>(s / g - 1 - j));
          share = std::pow(o.mean_decay, static_cast<double>(s / g - 1 - t / g)) / total;
        }
        if (!o.causal)
          weight += dot(in.lin_q, in.lin_k, b, s, t) / static_cast<double>(n);
        else if (t / g < s / g)
          weight += share * dot(in.lin_q, in.lin_k, b, s, t) / static_cast<double>(g);
        for (index_t e = 0; e < v.extent(2); ++e) y(b, s, e) += weight * v(b, t, e);
      }
  return y;
}

template <class T>
ChunkAttentionInputs<T> queries(index_t batch, index_t n, index_t q) {
  return {wavy<T, 3>({batch, n, q}, 0.1), wavy<T, 3>({batch, n, q}, 0.7),
          wavy<T, 3>({batch, n, q}, 1.9), wavy<T, 3>({batch, n, q}, 2.3)};
}

}  // namespace

TEMPLATE_TEST_CASE(
    "chunk_attention: equals a plain loop, causal, masked and with a short last group",
    "[chunk_attention]", float, double) {
  for (const index_t n : {1, 4, 9, 16})
    for (const auto& [causal, decay] :
         {std::pair{false, 0.0}, {true, 0.0}, {true, 0.6}, {true, 1.0}})
      for (const bool masked : {false, true}) {
        const auto in = queries<TestType>(2, n, 5);
        const auto v = wavy<TestType, 3>({2, n, 7}, 0.4);
        Tensor<TestType, 2> mask;
        if (masked) {
          mask = Tensor<TestType, 2>({2, n}, TestType{1});
          mask(1, 0) = 0;
        }
        ChunkAttentionOptions o;
        o.group_size = 4;
        o.causal = causal;
        o.mean_decay = decay;
        const ChunkAttentionInputs<double> wide{
            in.quad_q.template cast<double>(), in.lin_q.template cast<double>(),
            in.quad_k.template cast<double>(), in.lin_k.template cast<double>()};
        const auto expected =
            reference_attention(wide, v.template cast<double>(), o, mask.template cast<double>());
        // Sums of up to 80 terms of size 1.
        REQUIRE(largest_difference(chunk_attention(in, v, o, mask), expected) <
                (sizeof(TestType) == 4 ? 2e-5 : 1e-13));
      }
}

TEST_CASE("chunk_attention: gradients equal finite differences", "[chunk_attention]") {
  for (const auto& form : {std::pair{false, 0.0}, {true, 0.0}, {true, 0.6}})
    for (const double dropout : {0.0, 0.3}) {
      const bool causal = form.first;
      const double decay = form.second;
      const auto in = queries<double>(2, 8, 3);
      const auto v = wavy<double, 3>({2, 8, 4}, 0.4);
      Tensor<double, 2> mask({2, 8}, 1.0);
      mask(0, 2) = 0;
      const auto r = grad_check(
          [&](const auto& qq, const auto& lq, const auto& qk, const auto& lk, const auto& x) {
            Generator generator(5);
            ChunkAttentionOptions o;
            o.group_size = 3;
            o.causal = causal;
            o.mean_decay = decay;
            o.dropout = dropout;
            o.generator = &generator;
            return chunk_attention<double>({qq, lq, qk, lk}, x, o, mask);
          },
          in.quad_q, in.lin_q, in.quad_k, in.lin_k, v);
      INFO(r.where);
      REQUIRE(r.ok());
    }
}

TEST_CASE("chunk_attention: the result does not depend on the number of threads",
          "[chunk_attention]") {
  const auto in = queries<float>(1, 300, 24);
  const auto v = wavy<float, 3>({1, 300, 96}, 0.4);
  const auto one = chunk_attention(in, v);
  ThreadPool pool(2);
  const ExecutorScope scope(&pool);
  REQUIRE(identical(one, chunk_attention(in, v)));
}

TEST_CASE("chunk_attention: wrong shapes are named", "[chunk_attention]") {
  auto in = queries<float>(1, 6, 2);
  in.lin_k = Tensor<float, 3>({1, 5, 2});
  REQUIRE_THROWS_WITH(chunk_attention(in, Tensor<float, 3>({1, 6, 3})),
                      "chunk_attention: a query or key is [1, 5, 2], expected [B, T, Q] = "
                      "[1, 6, 2] (values are [1, 6, 3])");
  const auto good = queries<float>(1, 6, 2);
  ChunkAttentionOptions o;
  o.mean_decay = 0.5;
  REQUIRE_THROWS_WITH(chunk_attention(good, Tensor<float, 3>({1, 6, 3}), o),
                      "chunk_attention: mean_decay is 0.500000, expected 0 unless causal");
  o.causal = true;
  o.mean_decay = 1.5;
  REQUIRE_THROWS_WITH(chunk_attention(good, Tensor<float, 3>({1, 6, 3}), o),
                      "chunk_attention: mean_decay is 1.500000, expected 0 to 1");
}

TEMPLATE_TEST_CASE("global_norm and instance_norm: equal a plain loop on odd sizes", "[time_norm]",
                   float, double) {
  for (const bool global : {true, false})
    for (const index_t c : {1, 5, 19})
      for (const index_t steps : {2, 3, 131}) {
        const auto x = wavy<TestType, 3>({2, steps, c}, 0.3, 2, 1.5);
        const auto w = wavy<TestType, 1>({c}, 0.5);
        const auto b = wavy<TestType, 1>({c}, 0.9);
        const auto y = global ? global_norm(x, w, b) : instance_norm(x, w, b);
        double worst = 0;
        for (index_t i = 0; i < 2; ++i)
          for (index_t j = 0; j < c; ++j) {
            double sum = 0, squares = 0, n = 0;
            for (index_t t = 0; t < steps; ++t)
              for (index_t k = global ? 0 : j; k < (global ? c : j + 1); ++k) {
                sum += static_cast<double>(std::as_const(x)(i, t, k));
                n += 1;
              }
            for (index_t t = 0; t < steps; ++t)
              for (index_t k = global ? 0 : j; k < (global ? c : j + 1); ++k) {
                const double d = static_cast<double>(std::as_const(x)(i, t, k)) - sum / n;
                squares += d * d;
              }
            const double s = std::sqrt(squares / n + (global ? 1e-8 : 1e-5));
            for (index_t t = 0; t < steps; ++t)
              worst = (std::max)(
                  worst, std::abs((static_cast<double>(std::as_const(x)(i, t, j)) - sum / n) / s *
                                      static_cast<double>(std::as_const(w)(j)) +
                                  static_cast<double>(std::as_const(b)(j)) -
                                  static_cast<double>(std::as_const(y)(i, t, j))));
          }
        REQUIRE(worst < (sizeof(TestType) == 4 ? 3e-6 : 1e-13));
      }
}

TEST_CASE("global_norm and instance_norm: gradients equal finite differences", "[time_norm]") {
  const auto x = wavy<double, 3>({2, 7, 3}, 0.3, 2, 1.5);
  const auto w = wavy<double, 1>({3}, 0.5);
  const auto b = wavy<double, 1>({3}, 0.9);
  for (const bool global : {true, false}) {
    const auto r = grad_check(
        [global](const auto& p, const auto& q, const auto& s) {
          return global ? global_norm(p, q, s) : instance_norm(p, q, s);
        },
        x, w, b);
    INFO(r.where);
    REQUIRE(r.ok());
  }
  REQUIRE_THROWS_AS(global_norm(x, Tensor<double, 1>(Shape<1>{4}), b), ShapeError);
}

TEST_CASE("cumulative_norm: equals the norm of all that came before, gradients equal differences",
          "[time_norm]") {
  const auto x = wavy<double, 3>({2, 7, 3}, 0.3, 2, 1.5);
  const auto w = wavy<double, 1>({3}, 0.5);
  const auto b = wavy<double, 1>({3}, 0.9);
  const auto y = cumulative_norm(x, w, b);
  for (index_t t = 1; t <= 7; ++t) {
    const auto prefix = global_norm(slice(x, 1, 0, t), w, b);
    REQUIRE(largest_difference(slice(prefix, 1, t - 1, t), slice(y, 1, t - 1, t)) < 1e-12);
  }
  const auto r = grad_check(
      [](const auto& p, const auto& q, const auto& s) { return cumulative_norm(p, q, s); }, x, w,
      b);
  INFO(r.where);
  REQUIRE(r.ok());
}

TEST_CASE("scale_norm: divides by the clamped length, gradients equal finite differences",
          "[scale_norm]") {
  auto x = wavy<double, 2>({4, 6}, 0.3);
  for (index_t i = 0; i < 6; ++i) x(1, i) *= 1e-6;
  const Tensor<double, 1> g({1}, 1.3);
  const auto y = scale_norm(x, g);
  double squares = 0;
  for (index_t i = 0; i < 6; ++i) squares += std::as_const(x)(0, i) * std::as_const(x)(0, i);
  REQUIRE(y(0, 2) == Approx(1.3 * std::as_const(x)(0, 2) / std::sqrt(squares / 6)));
  REQUIRE(y(1, 2) == Approx(1.3 * std::as_const(x)(1, 2) / 1e-5));
  // A clamp far from where the differences step, so that they do not cross it.
  const auto r = grad_check([](const auto& a, const auto& b) { return scale_norm(a, b, 0.7); },
                            wavy<double, 2>({5, 6}, 0.3, 1.5), g);
  INFO(r.where);
  REQUIRE(r.ok());
  REQUIRE_THROWS_AS(scale_norm(x, Tensor<double, 1>(Shape<1>{2})), ShapeError);
}

TEST_CASE("scale_norm: a float result is rounded twice, not more", "[scale_norm]") {
  for (const index_t d : {1, 7, 20, 513}) {
    const auto x = wavy<float, 2>({40, d}, 0.3);
    const auto y = scale_norm(x, Tensor<float, 1>({1}, 1.3F));
    const auto exact =
        scale_norm(x.cast<double>(), Tensor<double, 1>({1}, static_cast<double>(1.3F)));
    // Of the factor, and of the product with it: half a unit of the last place, 2^-24, each.
    for (index_t i = 0; i < x.size(); ++i) {
      const double want = exact.data()[i];
      REQUIRE(std::abs(static_cast<double>(y.data()[i]) - want) <= 1.2e-7 * std::abs(want));
    }
  }
}

TEST_CASE("prelu: one slope or one a channel, gradients equal finite differences", "[prelu]") {
  const auto x = wavy<double, 3>({2, 3, 5}, 0.3);
  for (const index_t slopes : {1, 5}) {
    const auto a = wavy<double, 1>({slopes}, 0.5);
    const auto y = prelu(x, a);
    for (index_t i = 0; i < x.size(); ++i) {
      const double v = std::as_const(x).data()[i];
      REQUIRE(y.data()[i] == (v >= 0 ? v : v * a.data()[slopes == 1 ? 0 : i % 5]));
    }
    const auto r = grad_check([](const auto& p, const auto& q) { return prelu(p, q); }, x, a);
    INFO(r.where);
    REQUIRE(r.ok());
  }
  REQUIRE_THROWS_WITH(prelu(x, Tensor<double, 1>(Shape<1>{3})),
                      "prelu: slope is [3], expected [1] or [C=5] (C from x [2, 3, 5])");
}

TEST_CASE("frames and overlap_add: are each other's transpose", "[frames]") {
  const auto x = wavy<double, 2>({2, 17}, 0.3);
  const auto f = frames(x, 5, 3);
  REQUIRE(f.shape() == Shape<3>{2, 5, 5});
  REQUIRE(f(1, 4, 4) == std::as_const(x)(1, 16));
  const auto y = overlap_add(f, 3);
  REQUIRE(y.shape() == Shape<2>{2, 17});
  REQUIRE(y(0, 0) == std::as_const(x)(0, 0));
  REQUIRE(y(0, 3) == 2 * std::as_const(x)(0, 3));
  auto r = grad_check([](const auto& a) { return frames(a, 4, 3); }, x);
  REQUIRE(r.ok());
  r = grad_check([](const auto& a) { return overlap_add(a, 3); }, f);
  REQUIRE(r.ok());
  REQUIRE_THROWS_AS(frames(x, 18, 3), ShapeError);
  REQUIRE_THROWS_AS(frames(x, 4, 0), ConfigError);
}

TEST_CASE("shift_tokens: delays the first half of the channels by one step", "[frames]") {
  const auto x = wavy<double, 3>({2, 4, 5}, 0.3);
  const auto y = shift_tokens(x);
  REQUIRE(y(1, 0, 2) == 0);
  REQUIRE(y(1, 3, 2) == std::as_const(x)(1, 2, 2));
  REQUIRE(y(1, 3, 3) == std::as_const(x)(1, 3, 3));
  const auto r = grad_check([](const auto& a) { return shift_tokens(a); }, x);
  REQUIRE(r.ok());
}
