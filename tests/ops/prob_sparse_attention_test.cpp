#include "sequin/ops/prob_sparse_attention.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/prob_sparse.hpp"
#include "sequin/core/arena.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/shape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <numeric>
#include <set>

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

namespace {

struct Reference {
  Tensor<double, 4> out, map;
};

/// The official steps as plain loops over whole matrices.
template <class T>
Reference plain(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                const Tensor<std::int32_t, 2>& samples, const ProbSparseOptions& o) {
  const index_t queries = q.extent(1), keys = k.extent(1), width = q.extent(3);
  const double scale = o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(width));
  Reference r{Tensor<double, 4>({q.extent(0), queries, q.extent(2), v.extent(3)}),
              Tensor<double, 4>({q.extent(0), q.extent(2), (std::max)(queries, keys), keys},
                                1 / static_cast<double>(keys))};
  for (index_t b = 0; b < q.extent(0); ++b)
    for (index_t h = 0; h < q.extent(2); ++h) {
      const auto score = [&](index_t i, index_t j) {
        double sum = 0;
        for (index_t p = 0; p < width; ++p)
          sum += static_cast<double>(q(b, i, h, p)) * static_cast<double>(k(b, j, h, p));
        return sum;
      };
      std::vector<double> measure;
      for (index_t i = 0; i < queries; ++i) {
        double best = -INFINITY, sum = 0;
        for (index_t s = 0; s < samples.extent(1); ++s) {
          best = (std::max)(best, score(i, samples(i, s)));
          sum += score(i, samples(i, s));
        }
        measure.push_back(best - sum / static_cast<double>(keys));
      }
      std::vector<index_t> order(static_cast<std::size_t>(queries));
      std::iota(order.begin(), order.end(), index_t{0});
      std::stable_sort(order.begin(), order.end(), [&](index_t x, index_t y) {
        return measure[static_cast<std::size_t>(x)] > measure[static_cast<std::size_t>(y)];
      });
      const index_t u = prob_sparse_count(o.factor, queries);
      for (index_t rank = 0; rank < queries; ++rank) {
        const index_t i = order[static_cast<std::size_t>(rank)];
        std::vector<double> weight(static_cast<std::size_t>(keys), 0.0);
        if (rank < u) {
          double total = 0;
          for (index_t j = 0; j < keys; ++j)
            if (!o.causal || j <= i)
              total += weight[static_cast<std::size_t>(j)] = std::exp(scale * score(i, j));
          for (double& w : weight) w /= total;
          for (index_t j = 0; j < keys; ++j)
            r.map(b, h, i, j) = weight[static_cast<std::size_t>(j)];
        } else {
          for (index_t j = 0; j < keys; ++j)
            weight[static_cast<std::size_t>(j)] =
                !o.causal ? 1 / static_cast<double>(keys) : (j <= i ? 1.0 : 0.0);
        }
        for (index_t j = 0; j < keys; ++j)
          for (index_t p = 0; p < v.extent(3); ++p)
            r.out(b, i, h, p) +=
                weight[static_cast<std::size_t>(j)] * static_cast<double>(v(b, j, h, p));
      }
    }
  return r;
}

/// Queries and keys without symmetry, so that no two measures are near each other.
template <class T>
Tensor<T, 4> random(const Shape<4>& shape, std::uint64_t seed) {
  Generator generator(seed);
  Tensor<T, 4> t(shape);
  for (T& x : t.span()) x = generator.normal<T>();
  return t;
}

}  // namespace

TEST_CASE("prob_sparse_count: ceil comes before the product, the length caps it",
          "[prob_sparse_attention]") {
  REQUIRE(prob_sparse_count(5, 96) == 25);
  REQUIRE(prob_sparse_count(2, 24) == 8);
  REQUIRE(prob_sparse_count(5, 7) == 7);
  REQUIRE(prob_sparse_count(1, 2) == 1);
  REQUIRE(prob_sparse_count(3, 1) == 0);
  REQUIRE_THROWS_AS(prob_sparse_count(0, 5), ConfigError);
}

TEMPLATE_TEST_CASE("prob_sparse_attention: equals the official steps as plain loops",
                   "[prob_sparse_attention]", float, double) {
  const double tolerance = sizeof(TestType) == 4 ? 2e-5 : 1e-12;
  for (const bool causal : {false, true})
    for (const auto& [queries, keys] : {std::pair<index_t, index_t>{2, 2},
                                        {3, 5},
                                        {17, 17},
                                        {17, 26},
                                        {40, 9},
                                        {1, 6},
                                        {130, 300},
                                        {300, 300}})
      for (const index_t width : {1, 4, 17})
        for (const index_t value_width : {3, 70}) {
          if (causal && queries != keys) continue;
          const auto q = random<TestType>({2, queries, 3, width}, 1);
          const auto k = random<TestType>({2, keys, 3, width}, 2);
          const auto v = random<TestType>({2, keys, 3, value_width}, 3);
          const ProbSparseOptions o{2, width == 4 ? 0.7 : 0.0, causal};
          Generator generator(4);
          const auto samples = prob_sparse_samples(queries, keys, o.factor, generator);
          Tensor<TestType, 4> map;
          const auto y = prob_sparse_attention(q, k, v, samples, o, &map);
          const Reference r = plain(q, k, v, samples, o);
          CAPTURE(causal, queries, keys, width);
          // A running sum of 300 values grows to some 30.
          REQUIRE(largest_difference(y, r.out) < tolerance);
          REQUIRE(largest_difference(map, r.map) < tolerance);
          REQUIRE(identical(prob_sparse_attention(q, k, v, samples, o), y));
        }
}

TEST_CASE("prob_sparse_attention: gradients equal finite differences", "[prob_sparse_attention]") {
  for (const bool causal : {false, true})
    for (const auto& [queries, keys] :
         {std::pair<index_t, index_t>{12, 12}, {9, 14}, {14, 9}, {1, 5}}) {
      if (causal && queries != keys) continue;
      Generator generator(4);
      const auto samples = prob_sparse_samples(queries, keys, 1, generator);
      const auto r = grad_check(
          [&](const auto& q, const auto& k, const auto& v) {
            return prob_sparse_attention(q, k, v, samples, {1, 0, causal});
          },
          random<double>({2, queries, 2, 3}, 1), random<double>({2, keys, 2, 3}, 2),
          random<double>({2, keys, 2, 4}, 3));
      CAPTURE(causal, queries, keys, r.where);
      REQUIRE(r.ok());
    }
}

TEST_CASE("prob_sparse_attention: with one key every query gets its value",
          "[prob_sparse_attention]") {
  Generator generator(4);
  const auto v = random<float>({2, 1, 3, 5}, 3);
  for (const index_t queries : {1, 4}) {
    const auto samples = prob_sparse_samples(queries, 1, 5, generator);
    REQUIRE(samples.shape() == Shape<2>{queries, 0});
    const auto y =
        prob_sparse_attention(random<float>({2, queries, 3, 4}, 1), random<float>({2, 1, 3, 4}, 2),
                              v, samples, {5, 0, queries == 1});
    for (index_t t = 0; t < queries; ++t) REQUIRE(identical(slice(y, 1, t, t + 1), v));
  }
}

TEST_CASE("prob_sparse_attention: a batch entry does not depend on others or on threads",
          "[prob_sparse_attention]") {
  Generator generator(4);
  const auto samples = prob_sparse_samples(200, 200, 3, generator);
  const auto run = [&](index_t begin, index_t end) {
    auto q = slice(random<float>({3, 200, 4, 16}, 1), 0, begin, end);
    auto k = slice(random<float>({3, 200, 4, 16}, 2), 0, begin, end);
    auto v = slice(random<float>({3, 200, 4, 16}, 3), 0, begin, end);
    q.set_requires_grad(), k.set_requires_grad(), v.set_requires_grad();
    Tape tape;
    const auto y = prob_sparse_attention(q, k, v, samples, {3, 0, true});
    const auto g = tape.gradients(y, slice(random<float>({3, 200, 4, 16}, 5), 0, begin, end));
    return std::vector{y, g.of(q), g.of(k), g.of(v)};
  };
  const auto all = run(0, 3);
  const auto last = run(2, 3);
  for (std::size_t i = 0; i < 4; ++i) REQUIRE(identical(slice(all[i], 0, 2, 3), last[i]));
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  const auto threaded = run(0, 3);
  for (std::size_t i = 0; i < 4; ++i) REQUIRE(identical(all[i], threaded[i]));
}

TEST_CASE("prob_sparse_attention: memory grows with L log L, not with L squared",
          "[prob_sparse_attention]") {
  const auto bytes = [](index_t length) {
    Generator generator(4);
    const auto q = random<float>({1, length, 1, 8}, 1);
    const auto samples = prob_sparse_samples(length, length, 1, generator);
    Arena arena;
    {
      const ArenaScope scope(&arena);
      prob_sparse_attention(q, q, q, samples, {1, 0, true});
    }
    arena.fit();
    return static_cast<double>(arena.capacity());
  };
  // A matrix of floats would be 256 MiB; the active rows are 9 of 8192.
  REQUIRE(bytes(8192) < 4e6);
  REQUIRE(bytes(8192) < 9.5 * bytes(1024));
}

TEST_CASE("prob_sparse_attention: NaN in a query reaches that query's result alone",
          "[prob_sparse_attention]") {
  Generator generator(4);
  const auto samples = prob_sparse_samples(30, 30, 1, generator);
  auto q = random<float>({1, 30, 1, 4}, 1);
  q(0, 11, 0, 2) = NAN;
  const auto y = prob_sparse_attention(q, random<float>({1, 30, 1, 4}, 2),
                                       random<float>({1, 30, 1, 4}, 3), samples, {1, 0, false});
  for (index_t t = 0; t < 30; ++t) REQUIRE(std::isnan(y(0, t, 0, 1)) == (t == 11));
}

TEST_CASE("prob_sparse_attention: wrong shapes and samples are named", "[prob_sparse_attention]") {
  Generator generator(4);
  const Tensor<float, 4> q({2, 6, 3, 4}), k({2, 8, 3, 4}), v({2, 8, 3, 5});
  auto samples = prob_sparse_samples(6, 8, 1, generator);
  REQUIRE_THROWS_WITH(
      prob_sparse_attention(q, k, v, samples, {1, 0, true}),
      "prob_sparse_attention: q is [2, 6, 3, 4] and k [2, 8, 3, 4], expected Tq = Tk "
      "with a causal mask");
  REQUIRE_THROWS_WITH(prob_sparse_attention(q, k, v, samples, {2, 0, false}),
                      "prob_sparse_attention: samples are [6, 3], expected [6, 6] ([Tq, min(factor "
                      "ceil(ln Tk), Tk)] with factor 2)");
  REQUIRE_THROWS_WITH(
      prob_sparse_attention(q, Tensor<float, 4>({2, 8, 3, 5}), v, samples, {1, 0, false}),
      "prob_sparse_attention: k is [2, 8, 3, 5], expected [B=2, Tk >= 1, H=3, P=4] "
      "(from q [2, 6, 3, 4])");
  samples(2, 1) = 8;
  REQUIRE_THROWS_WITH(prob_sparse_attention(q, k, v, samples, {1, 0, false}),
                      "prob_sparse_attention: sample 8 at [2, 1] is out of range [0, Tk=8)");
}

TEST_CASE("prob_sparse_samples: the same seed draws the same keys, all of them in time",
          "[prob_sparse_attention]") {
  Generator a(7), b(7), c(8);
  const auto x = prob_sparse_samples(50, 9, 2, a);
  REQUIRE(identical(x, prob_sparse_samples(50, 9, 2, b)));
  REQUIRE_FALSE(identical(x, prob_sparse_samples(50, 9, 2, c)));
  std::set<std::int32_t> seen(x.span().begin(), x.span().end());
  REQUIRE(seen.size() == 9);
}

TEST_CASE("AttentionLayer: without a sampler the same input gives the same result",
          "[prob_sparse_attention]") {
  AttentionLayerConfig config;
  config.d_model = 8;
  config.n_heads = 2;
  config.factor = 1;
  config.kind = AttentionKind::prob_sparse;
  REQUIRE_THROWS_WITH(AttentionLayer<float>(config),
                      "AttentionLayer: kind is prob_sparse, expected its form with it: "
                      "&prob_sparse<T> of sequin/blocks/prob_sparse.hpp");
  AttentionLayer<float> layer(config, &prob_sparse<float>);
  Generator generator(1);
  layer.initialize(generator);
  const auto x = wavy<float, 3>({2, 40, 8}, 0.1);
  REQUIRE(identical(layer.forward(x, x, x), layer.forward(x, x, x)));
  KeySampler one(1), two(1), other(2);
  ForwardContext<float> context;
  context.key_sampler = &one;
  const auto y = layer.forward(x, x, x, context);
  REQUIRE_FALSE(identical(layer.forward(x, x, x, context), y));  // the next draw
  context.key_sampler = &two;
  REQUIRE(identical(layer.forward(x, x, x, context), y));
  Generator draws(1);
  KeySampler given({prob_sparse_samples(40, 40, 1, draws)});
  context.key_sampler = &given;
  REQUIRE(identical(layer.forward(x, x, x, context), y));
  REQUIRE_THROWS_AS(layer.forward(x, x, x, context), ConfigError);
  given.rewind();
  REQUIRE(identical(layer.forward(x, x, x, context), y));
}
