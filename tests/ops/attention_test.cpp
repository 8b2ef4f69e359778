#include "sequin/ops/attention.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

#include <limits>

namespace {

using namespace sequin;

template <class T>
Tensor<T, 4> random_tensor(const Shape<4>& shape, std::uint64_t seed) {
  auto t = Tensor<T, 4>::empty(shape);
  Generator generator(seed);
  for (T& x : t.span()) x = generator.normal<T>();
  return t;
}

/// Keep or drop, key by key, from the documented Philox call.
double reference_factor(const kernels::AttentionProblem<double>& a, index_t row, index_t j) {
  if (a.drop_below == 0) return 1;
  const auto words =
      detail::philox(a.dropout_key, static_cast<std::uint64_t>(j / 64 * 8 + j % 2 * 4 + j % 8 / 2),
                     static_cast<std::uint64_t>(row));
  const std::uint32_t bits = (words[static_cast<std::size_t>(j % 32 / 8)] >> (j % 64 / 32 * 16));
  return (bits & 0xffffu) < a.drop_below ? 0 : a.keep_factor;
}

/// The definition, one loop after the other: the map (B, H, Tq, Tk).
Tensor<double, 4> reference_weights(const Tensor<double, 4>& q, const Tensor<double, 4>& k,
                                    const AttentionOptions& options) {
  auto a = detail::attention_problem("reference", q, k, options);
  if (a.drop_below != 0) a.dropout_key = Generator(*options.generator).fork();
  const index_t queries = q.extent(1);
  const index_t keys = k.extent(1);
  Tensor<double, 4> map({q.extent(0), q.extent(2), queries, keys});
  for (index_t b = 0; b < q.extent(0); ++b)
    for (index_t h = 0; h < q.extent(2); ++h)
      for (index_t i = 0; i < queries; ++i) {
        const auto allowed = [&](index_t j) {
          if (options.causal && j > i + keys - queries) return false;
          return !options.key_mask.defined() || options.key_mask(b, j);
        };
        double top = -std::numeric_limits<double>::infinity();
        for (index_t j = 0; j < keys; ++j) {
          double s = 0;
          for (index_t p = 0; p < q.extent(3); ++p) s += q(b, i, h, p) * k(b, j, h, p);
          map(b, h, i, j) = s * a.scale;
          if (allowed(j)) top = (std::max)(top, s * a.scale);
        }
        double sum = 0;
        for (index_t j = 0; j < keys; ++j) {
          map(b, h, i, j) = allowed(j) ? std::exp(map(b, h, i, j) - top) : 0;
          sum += map(b, h, i, j);
        }
        const index_t row = (b * q.extent(2) + h) * queries + i;
        for (index_t j = 0; j < keys; ++j)
          map(b, h, i, j) *= (sum > 0 ? 1 / sum : 0) * reference_factor(a, row, j);
      }
  return map;
}

Tensor<double, 4> reference(const Tensor<double, 4>& q, const Tensor<double, 4>& k,
                            const Tensor<double, 4>& v, const AttentionOptions& options) {
  const auto map = reference_weights(q, k, options);
  Tensor<double, 4> out({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
  for (index_t b = 0; b < q.extent(0); ++b)
    for (index_t i = 0; i < q.extent(1); ++i)
      for (index_t h = 0; h < q.extent(2); ++h)
        for (index_t j = 0; j < k.extent(1); ++j)
          for (index_t c = 0; c < v.extent(3); ++c)
            out(b, i, h, c) += map(b, h, i, j) * v(b, j, h, c);
  return out;
}

template <class T>
double difference(const Tensor<T, 4>& a, const Tensor<double, 4>& b) {
  REQUIRE(a.shape() == b.shape());
  double worst = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a.data()[i]) - b.data()[i]);
    worst = std::isnan(d) ? std::numeric_limits<double>::infinity() : (std::max)(worst, d);
  }
  return worst;
}

Tensor<bool, 2> some_mask(index_t batch, index_t keys) {
  Tensor<bool, 2> mask({batch, keys});
  for (index_t i = 0; i < mask.size(); ++i) mask.data()[i] = i % 3 != 1;
  return mask;
}

struct Case {
  index_t queries, keys, width, value_width;
};

// Tq != Tk, widths beside those of registers, one tile, several, and a tail of each kind of group.
const Case kCases[] = {{1, 1, 1, 1},    {1, 9, 3, 5},      {7, 7, 32, 32},   {5, 3, 8, 17},
                       {9, 17, 15, 4},  {12, 130, 16, 33}, {33, 129, 7, 1},  {131, 65, 40, 9},
                       {97, 64, 20, 8}, {390, 140, 6, 10}, {140, 390, 12, 6}};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing thrown";
}

}  // namespace

TEST_CASE("attention: is the definition, for every mask and size, in float and double") {
  for (const Case& c : kCases)
    for (const bool causal : {false, true})
      for (const bool masked : {false, true})
        for (const double dropout : {0.0, 0.3}) {
          const auto q = random_tensor<double>({2, c.queries, 2, c.width}, 1);
          const auto k = random_tensor<double>({2, c.keys, 2, c.width}, 2);
          const auto v = random_tensor<double>({2, c.keys, 2, c.value_width}, 3);
          Generator generator(4);
          AttentionOptions options;
          options.causal = causal;
          options.dropout = dropout;
          options.generator = &generator;
          if (masked) options.key_mask = some_mask(2, c.keys);
          INFO(c.queries << " x " << c.keys << ", " << c.width << " " << c.value_width);
          const auto expected = reference(q, k, v, options);
          const auto map = reference_weights(q, k, options);
          CHECK(difference(attention_weights(q, k, options), map) < 1e-14);
          generator = Generator(4);
          CHECK(difference(attention(q, k, v, options), expected) < 1e-13);
          generator = Generator(4);
          const auto qf = q.cast<float>();
          const auto kf = k.cast<float>();
          // Scores of size 10 carry 24 bits: relative error of a weight about 10 * 2^-24 * a few.
          CHECK(difference(attention_weights(qf, kf, options), map) < 5e-6);
          CHECK(difference(attention(qf, kf, v.cast<float>(), options), expected) < 1e-5);
        }
}

TEST_CASE("attention: gradients are those of finite differences") {
  const Case sizes[] = {{1, 1, 1, 1}, {1, 5, 3, 2},   {7, 7, 5, 9}, {5, 11, 4, 3},
                        {8, 3, 9, 4}, {13, 66, 3, 2}, {98, 3, 2, 2}};
  for (const Case& c : sizes)
    for (const bool causal : {false, true})
      for (const bool masked : {false, true})
        for (const double dropout : {0.0, 0.4}) {
          INFO(c.queries << " x " << c.keys << " " << causal << masked << dropout);
          const auto result = grad_check(
              [&](const auto& q, const auto& k, const auto& v) {
                Generator generator(4);
                AttentionOptions options;
                options.causal = causal;
                options.dropout = dropout;
                options.generator = &generator;
                if (masked) options.key_mask = some_mask(2, c.keys);
                return attention(q, k, v, options);
              },
              random_tensor<double>({2, c.queries, 2, c.width}, 1),
              random_tensor<double>({2, c.keys, 2, c.width}, 2),
              random_tensor<double>({2, c.keys, 2, c.value_width}, 3));
          INFO(result.where);
          CHECK(result.ok(1e-7));
        }
}

TEST_CASE("attention: float gradients are those of double") {
  const auto q = random_tensor<double>({1, 200, 2, 24}, 1);
  const auto k = random_tensor<double>({1, 210, 2, 24}, 2);
  const auto v = random_tensor<double>({1, 210, 2, 20}, 3);
  const auto gradients = [&]<class T>(T) {
    auto x = q.cast<T>();
    auto y = k.cast<T>();
    auto z = v.cast<T>();
    for (auto* t : {&x, &y, &z}) t->set_requires_grad();
    Generator generator(9);
    AttentionOptions options;
    options.causal = true;
    options.dropout = 0.1;
    options.generator = &generator;
    Tape tape;
    const auto out = attention(x, y, z, options);
    const Gradients g = tape.gradients(out, out.clone());
    return std::array{g.of(x), g.of(y), g.of(z)};
  };
  const auto single = gradients(1.0f);
  const auto twice = gradients(1.0);
  // Sums of 200 terms of size 1.
  for (std::size_t i = 0; i < 3; ++i) CHECK(difference(single[i], twice[i]) < 2e-5);
}

TEST_CASE("attention: a query with one key passes exactly no gradient to it") {
  auto q = random_tensor<float>({16, 1, 3, 16}, 1), k = random_tensor<float>({16, 1, 3, 16}, 2);
  const auto v = random_tensor<float>({16, 1, 3, 17}, 3);
  q.set_requires_grad(), k.set_requires_grad();
  Tape tape;
  const Gradients g = tape.gradients(attention(q, k, v), random_tensor<float>({16, 1, 3, 17}, 4));
  for (const Tensor<float, 4>& d : {g.of(q), g.of(k)})
    for (const float x : d.span()) REQUIRE(x == 0);
}

TEST_CASE("attention: a query that sees no key gives zeros and passes no gradient") {
  auto q = random_tensor<float>({1, 4, 1, 3}, 1);
  auto k = random_tensor<float>({1, 2, 1, 3}, 2);
  auto v = random_tensor<float>({1, 2, 1, 3}, 3);
  for (auto* t : {&q, &k, &v}) t->set_requires_grad();
  for (const bool causal : {false, true}) {
    AttentionOptions options;
    options.causal = causal;  // Queries 0 and 1 come before the first key.
    if (!causal) options.key_mask = Tensor<bool, 2>({1, 2}, false);
    Tape tape;
    const auto out = attention(q, k, v, options);
    const auto map = attention_weights(q, k, options);
    for (index_t i = 0; i < (causal ? 2 : 4); ++i)
      for (index_t c = 0; c < 3; ++c) CHECK(out(0, i, 0, c) == 0.0f);
    for (index_t i = 0; i < (causal ? 2 : 4); ++i) CHECK(map(0, 0, i, 0) + map(0, 0, i, 1) == 0.0f);
    const Gradients g = tape.gradients(out, out.clone());
    for (const auto* t : {&q, &k, &v}) {
      const auto dx = g.of(*t);
      for (const float x : dx.span()) CHECK(std::isfinite(x));
    }
    CHECK(g.of(q)(0, 1, 0, 0) == 0.0f);
  }
}

TEST_CASE("attention: without keys gives zeros, without queries or batch nothing") {
  CHECK(attention(Tensor<float, 4>({2, 3, 1, 4}, 1.0f), Tensor<float, 4>({2, 0, 1, 4}),
                  Tensor<float, 4>({2, 0, 1, 5}))(1, 2, 0, 4) == 0.0f);
  CHECK(attention(Tensor<float, 4>({2, 0, 1, 4}), Tensor<float, 4>({2, 3, 1, 4}),
                  Tensor<float, 4>({2, 3, 1, 4}))
            .size() == 0);
  CHECK(attention(Tensor<float, 4>({0, 3, 1, 4}), Tensor<float, 4>({0, 3, 1, 4}),
                  Tensor<float, 4>({0, 3, 1, 4}))
            .size() == 0);
}

TEMPLATE_TEST_CASE("attention: huge scores pick the largest", "", float, double) {
  using T = TestType;
  for (const index_t queries : {1, 7}) {
    const index_t keys = 150;
    Tensor<T, 4> q({1, queries, 1, 1}, T(1e10));
    Tensor<T, 4> k({1, keys, 1, 1});
    auto v = random_tensor<T>({1, keys, 1, 2}, 1);
    for (index_t j = 0; j < keys; ++j) k(0, j, 0, 0) = static_cast<T>(j == 140 ? 1000 : -j);
    for (auto* t : {&q, &k, &v}) t->set_requires_grad();
    Tape tape;
    const auto out = attention(q, k, v);
    for (index_t i = 0; i < queries; ++i) CHECK(out(0, i, 0, 1) == v(0, 140, 0, 1));
    const Gradients g = tape.gradients(out, out.clone());
    CHECK(g.of(q)(0, 0, 0, 0) == T(0));
    CHECK(g.of(v)(0, 140, 0, 1) == Approx(static_cast<T>(queries) * out(0, 0, 0, 1)));
  }
}

TEMPLATE_TEST_CASE("attention: a score of -inf is a weight of 0", "", float, double) {
  using T = TestType;
  const T inf = std::numeric_limits<T>::infinity();
  for (const index_t queries : {1, 5}) {
    const Tensor<T, 4> q({1, queries, 1, 1}, T(1));
    const Tensor<T, 4> k({1, 3, 1, 1}, {T(0), -inf, T(0)});
    const Tensor<T, 4> v({1, 3, 1, 1}, {T(1), T(100), T(3)});
    CHECK(attention(q, k, v)(0, queries - 1, 0, 0) == T(2));
    const Tensor<T, 4> none({1, 3, 1, 1}, -inf);
    CHECK(attention(q, none, v)(0, 0, 0, 0) == T(0));
    const Tensor<T, 4> huge({1, 3, 1, 1}, {T(0), inf, T(0)});
    CHECK(std::isnan(attention(q, huge, v)(0, 0, 0, 0)));
  }
}

TEMPLATE_TEST_CASE("attention: NaN reaches all that see it and nobody else", "", float, double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (const index_t length : {1, 4, 13, 150}) {
    const auto q = random_tensor<T>({2, length, 1, 3}, 1);
    const auto clean = random_tensor<T>({2, length, 1, 3}, 2);
    const index_t at = length / 2;
    auto dirty = clean.clone();
    dirty(1, at, 0, 1) = nan;
    auto dirty_q = q.clone();
    dirty_q(1, at, 0, 0) = nan;
    AttentionOptions causal;
    causal.causal = true;
    AttentionOptions masked;
    masked.key_mask = Tensor<bool, 2>({2, length}, true);
    masked.key_mask(1, at) = false;
    for (index_t i = 0; i < length; ++i) {
      CHECK(std::isnan(attention(q, dirty, clean)(1, i, 0, 0)));
      CHECK(std::isnan(attention(q, clean, dirty)(1, i, 0, 1)));
      CHECK_FALSE(std::isnan(attention(q, dirty, dirty)(0, i, 0, 1)));
      CHECK(std::isnan(attention(dirty_q, clean, clean)(1, i, 0, 0)) == (i == at));
      CHECK(std::isnan(attention(q, dirty, clean, causal)(1, i, 0, 0)) == (i >= at));
      CHECK(std::isnan(attention(q, clean, dirty, causal)(1, i, 0, 1)) == (i >= at));
      CHECK_FALSE(std::isnan(attention(q, dirty, dirty, masked)(1, i, 0, 1)));
      if (length > 20) i += 36;
    }
  }
}

TEST_CASE("attention: a causal chunk over a cache equals the whole") {
  const index_t length = 140;
  const auto q = random_tensor<double>({2, length, 2, 6}, 1);
  const auto k = random_tensor<double>({2, length, 2, 6}, 2);
  const auto v = random_tensor<double>({2, length, 2, 5}, 3);
  AttentionOptions options;
  options.causal = true;
  const auto whole = attention(q, k, v, options);
  const auto part = [](const Tensor<double, 4>& x, index_t from, index_t to) {
    Tensor<double, 4> y({x.extent(0), to - from, x.extent(2), x.extent(3)});
    for (index_t b = 0; b < x.extent(0); ++b)
      std::copy_n(&x(b, from, 0, 0), y.size() / x.extent(0), &y(b, 0, 0, 0));
    return y;
  };
  index_t from = 0;
  for (const index_t step : {1, 1, 2, 7, 1, 30, 1, 90, 1, 6}) {
    const index_t to = from + step;
    const auto out = attention(part(q, from, to), part(k, 0, to), part(v, 0, to), options);
    CHECK(difference(out, part(whole, from, to)) < 1e-14);
    from = to;
  }
  CHECK(from == length);
}

TEMPLATE_TEST_CASE("attention: results do not depend on threads or place in the batch", "", float,
                   double) {
  using T = TestType;
  auto q = random_tensor<T>({3, 130, 2, 9}, 1);
  auto k = random_tensor<T>({3, 130, 2, 9}, 2);
  auto v = random_tensor<T>({3, 130, 2, 9}, 3);
  for (auto* t : {&q, &k, &v})
    std::copy_n(std::as_const(*t).data(), 130 * 18, t->data() + 2 * 130 * 18);
  for (auto* t : {&q, &k, &v}) t->set_requires_grad();
  const auto run = [&](bool dropped) {
    Generator generator(5);
    AttentionOptions options;
    options.dropout = dropped ? 0.2 : 0;
    options.generator = &generator;
    Tape tape;
    const auto out = attention(q, k, v, options);
    const Gradients g = tape.gradients(out, out.clone());
    return std::array{out, g.of(q), g.of(k), g.of(v)};
  };
  for (const bool dropped : {false, true}) {
    const auto one = run(dropped);
    for (const index_t threads : {2, 3, 5}) {
      ThreadPool pool(threads);
      const ExecutorScope scope(&pool);
      const auto many = run(dropped);
      for (std::size_t i = 0; i < 4; ++i)
        CHECK(std::equal(one[i].span().begin(), one[i].span().end(), many[i].span().begin()));
    }
    if (!dropped)
      for (const auto& t : one)
        CHECK(std::equal(t.data(), t.data() + 130 * 18, t.data() + 2 * 130 * 18));
  }
}

TEST_CASE("attention: dropout keeps the mean, differs from call to call and leaves its trace") {
  const auto q = random_tensor<float>({2, 100, 2, 4}, 1);
  const auto k = random_tensor<float>({2, 300, 2, 4}, 2);
  Generator generator(1);
  AttentionOptions options;
  options.dropout = 0.25;
  options.generator = &generator;
  const auto first = attention_weights(q, k, options);
  const auto again = attention_weights(q, k, options);
  CHECK(std::equal(first.span().begin(), first.span().end(), again.span().begin()));
  attention(q, k, k, options);
  const auto second = attention_weights(q, k, options);
  index_t zeros = 0;
  index_t same = 0;
  double sum = 0;
  for (index_t i = 0; i < first.size(); ++i) {
    zeros += first.data()[i] == 0;
    same += (first.data()[i] == 0) == (second.data()[i] == 0);
    sum += static_cast<double>(first.data()[i]);
  }
  const auto share = [&](index_t count) {
    return static_cast<double>(count) / static_cast<double>(first.size());
  };
  // 120000 draws: standard deviation 0.00125.
  CHECK(share(zeros) == Approx(0.25).margin(0.007));
  CHECK(share(same) == Approx(0.25 * 0.25 + 0.75 * 0.75).margin(0.007));
  CHECK(sum / 400 == Approx(1).margin(0.02));
  options.dropout = 1;
  const auto nothing = attention(q, k, k, options);
  for (const float x : nothing.span()) CHECK(x == 0.0f);
}

TEST_CASE("attention_weights: rows sum to 1 and a causal map is triangular") {
  const auto q = random_tensor<float>({2, 150, 3, 8}, 1);
  AttentionOptions options;
  for (const bool causal : {false, true}) {
    options.causal = causal;
    const auto map = attention_weights(q, q, options);
    for (index_t r = 0; r < map.rows(); ++r) {
      double sum = 0;
      for (index_t j = 0; j < 150; ++j) sum += static_cast<double>(map.data()[r * 150 + j]);
      // 150 roundings of numbers below 1, and that of the reciprocal.
      REQUIRE(sum == Approx(1).margin(1e-6));
      for (index_t j = r % 150 + 1; causal && j < 150; ++j) REQUIRE(map.data()[r * 150 + j] == 0);
    }
  }
}

TEST_CASE("attention: mistakes are named before any work") {
  const Tensor<float, 4> q({2, 3, 4, 8});
  const auto with = [&](const Shape<4>& k, const Shape<4>& v, const AttentionOptions& options) {
    return message_of([&] { attention(q, Tensor<float, 4>(k), Tensor<float, 4>(v), options); });
  };
  CHECK(with({2, 5, 4, 7}, {2, 5, 4, 8}, {}) ==
        "attention: k is [2, 5, 4, 7], expected [B=2, Tk, H=4, P=8] (from q [2, 3, 4, 8])");
  CHECK(with({2, 5, 4, 8}, {2, 6, 4, 8}, {}) ==
        "attention: v is [2, 6, 4, 8], expected [B=2, Tk=5, H=4, Pv] (from k [2, 5, 4, 8])");
  AttentionOptions options;
  options.key_mask = Tensor<bool, 2>({2, 4});
  CHECK(with({2, 5, 4, 8}, {2, 5, 4, 8}, options) ==
        "attention: key_mask is [2, 4], expected [2, 5] ([B, Tk] from k [2, 5, 4, 8])");
  options = {};
  options.dropout = 0.5;
  CHECK(with({2, 5, 4, 8}, {2, 5, 4, 8}, options) ==
        "attention: dropout is 0.500000 without a generator");
  options.dropout = 1.5;
  CHECK(with({2, 5, 4, 8}, {2, 5, 4, 8}, options) ==
        "attention: dropout is 1.500000, expected 0 to 1");
  options = {};
  options.scale = -1;
  CHECK(with({2, 5, 4, 8}, {2, 5, 4, 8}, options) ==
        "attention: scale is -1.000000, expected a positive number (0: 1 / sqrt(P))");
  CHECK(message_of([] {
          attention_weights(Tensor<float, 4>({1, 1, 1, 0}), {});
        }) == "attention_weights: q is [1, 1, 1, 0], expected [B, Tq, H, P] with P >= 1");
}

TEMPLATE_TEST_CASE("attention: maps and outputs are those of the official layer", "", float,
                   double) {
  using T = TestType;
  for (const std::string name : {"cross", "self_causal"}) {
    const sequin_test::GoldenCase golden("blocks/attention/full/" + name);
    const auto heads = golden.integers("n_heads").at(0);
    const auto split = [&](const std::string& what) {
      const auto x = golden.tensor<T, 3>(what);
      return x.template reshaped<4>({x.extent(0), x.extent(1), heads, x.extent(2) / heads});
    };
    const auto q = split("mid.q");
    const auto k = split("mid.k");
    const auto v = split("mid.v");
    AttentionOptions options;
    options.causal = golden.flag("mask_flag");
    const auto map = golden.tensor<double, 4>("output64.attn");
    // Inputs and map are stored as float: half an ulp of each.
    CHECK(difference(attention_weights(q, k, options), map) < 5e-7);
    const auto out = attention(q, k, v, options);
    for (index_t b = 0; b < q.extent(0); ++b)
      for (index_t h = 0; h < heads; ++h)
        for (index_t i = 0; i < q.extent(1); ++i)
          for (index_t c = 0; c < v.extent(3); ++c) {
            double sum = 0;
            for (index_t j = 0; j < k.extent(1); ++j)
              sum += map(b, h, i, j) * static_cast<double>(v(b, j, h, c));
            CHECK(static_cast<double>(out(b, i, h, c)) == Approx(sum).margin(1e-6));
          }
  }
}
