// Grouped heads of keys, uniform rows of finite masks, keys and values in a cache.
#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/attention.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <limits>

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;

template <class T>
Tensor<T, 4> random_tensor(const Shape<4>& shape, std::uint64_t seed) {
  auto t = Tensor<T, 4>::empty(shape);
  Generator generator(seed);
  for (T& x : t.span()) x = generator.normal<T>();
  return t;
}

/// The definition with a finite mask: blocked scores get the lowest finite number added.
struct Reference {
  Tensor<double, 4> map, out;

  Reference(const Tensor<double, 4>& q, const Tensor<double, 4>& k, const Tensor<double, 4>& v,
            bool causal, const Tensor<bool, 2>& mask)
      : map({q.extent(0), q.extent(2), q.extent(1), k.extent(1)}),
        out({q.extent(0), q.extent(1), q.extent(2), v.extent(3)}) {
    const index_t group = q.extent(2) / k.extent(2);
    const index_t keys = k.extent(1);
    for (index_t b = 0; b < q.extent(0); ++b)
      for (index_t h = 0; h < q.extent(2); ++h)
        for (index_t i = 0; i < q.extent(1); ++i) {
          double top = -INFINITY;
          double sum = 0;
          for (index_t j = 0; j < keys; ++j) {
            double s = 0;
            for (index_t p = 0; p < q.extent(3); ++p) s += q(b, i, h, p) * k(b, j, h / group, p);
            s /= std::sqrt(static_cast<double>(q.extent(3)));
            const bool later = causal && j > i + keys - q.extent(1);
            if (later || (mask.defined() && !mask(b, j)))
              s += std::numeric_limits<double>::lowest();
            map(b, h, i, j) = s;
            top = (std::max)(top, s);
          }
          for (index_t j = 0; j < keys; ++j)
            sum += map(b, h, i, j) = std::exp(map(b, h, i, j) - top);
          for (index_t j = 0; j < keys; ++j) {
            map(b, h, i, j) /= sum;
            for (index_t c = 0; c < v.extent(3); ++c)
              out(b, i, h, c) += map(b, h, i, j) * v(b, j, h / group, c);
          }
        }
  }
};

/// Batch entry b has 2 b + 1 removed keys in front, the last one all of them.
Tensor<bool, 2> left_padding(index_t batch, index_t keys) {
  Tensor<bool, 2> mask({batch, keys}, true);
  for (index_t b = 0; b < batch; ++b)
    for (index_t j = 0; j < keys; ++j) mask(b, j) = b + 1 < batch && j > 2 * b;
  return mask;
}

struct Case {
  index_t queries, keys, heads, key_heads, width, value_width;
};

const Case kCases[] = {{1, 1, 1, 1, 1, 1},    {1, 9, 4, 2, 3, 5},    {7, 7, 6, 2, 8, 4},
                       {5, 11, 3, 1, 7, 17},  {13, 130, 4, 4, 9, 2}, {133, 133, 2, 1, 16, 16},
                       {390, 400, 2, 1, 4, 3}};

AttentionOptions options_of(bool causal, bool masked, const Case& c) {
  AttentionOptions options;
  options.causal = causal;
  options.uniform_when_blocked = true;
  if (masked) options.key_mask = left_padding(3, c.keys);
  return options;
}

}  // namespace

TEST_CASE("attention: groups share keys, and blocked rows are uniform, as with finite masks") {
  for (const Case& c : kCases)
    for (const bool causal : {false, true})
      for (const bool masked : {false, true}) {
        INFO(c.queries << " x " << c.keys << " " << c.heads << "/" << c.key_heads << causal
                       << masked);
        const auto q = random_tensor<double>({3, c.queries, c.heads, c.width}, 1);
        const auto k = random_tensor<double>({3, c.keys, c.key_heads, c.width}, 2);
        const auto v = random_tensor<double>({3, c.keys, c.key_heads, c.value_width}, 3);
        const AttentionOptions options = options_of(causal, masked, c);
        const Reference r(q, k, v, causal, options.key_mask);
        CHECK(largest_difference(attention(q, k, v, options), r.out) < 1e-13);
        CHECK(largest_difference(attention_weights(q, k, options), r.map) < 1e-14);
        const auto single = attention(q.cast<float>(), k.cast<float>(), v.cast<float>(), options);
        CHECK(largest_difference(single, r.out) < 1e-5);
      }
}

TEST_CASE("attention: gradients of grouped heads are those of finite differences") {
  for (const Case& c : {Case{1, 4, 2, 1, 3, 2}, Case{6, 6, 4, 2, 3, 2}, Case{5, 9, 3, 3, 2, 4}})
    for (const bool causal : {false, true})
      for (const bool masked : {false, true}) {
        INFO(c.queries << " x " << c.keys << causal << masked);
        // Every query sees a key here; of blocked rows the differences would see no score.
        const auto result = grad_check(
            [&](const auto& q, const auto& k, const auto& v) {
              AttentionOptions options = options_of(causal, masked, c);
              if (masked) options.key_mask = Tensor<bool, 2>({3, c.keys}, true);
              for (index_t b = 0; masked && b < 3; ++b) options.key_mask(b, c.keys - 1) = b == 0;
              return attention(q, k, v, options);
            },
            random_tensor<double>({3, c.queries, c.heads, c.width}, 1),
            random_tensor<double>({3, c.keys, c.key_heads, c.width}, 2),
            random_tensor<double>({3, c.keys, c.key_heads, c.value_width}, 3));
        INFO(result.where);
        CHECK(result.ok(1e-7));
      }
}

TEST_CASE("attention: a blocked row passes the gradient of an unmasked row of equal scores") {
  // Where all scores of a row are equal, no mask at all gives the same uniform softmax; torch then
  // gives both the same gradients, as it does not see that the mask swamps the scores.
  for (const bool same_group : {false, true}) {
    auto q = random_tensor<double>({1, 3, 2, 4}, 1);
    auto k = random_tensor<double>({1, 5, same_group ? 1 : 2, 4}, 2);
    auto v = random_tensor<double>({1, 5, same_group ? 1 : 2, 3}, 3);
    // Keys that agree with every query equally: the first coordinate alone counts, and is equal.
    for (index_t i = 0; i < 3; ++i)
      for (index_t h = 0; h < 2; ++h)
        for (index_t p = 1; p < 4; ++p) q(0, i, h, p) = 0;
    for (index_t j = 0; j < 5; ++j)
      for (index_t h = 0; h < k.extent(2); ++h) k(0, j, h, 0) = 0.5;
    const auto dy = random_tensor<double>({1, 3, 2, 3}, 4);
    const auto gradients = [&](const AttentionOptions& options) {
      for (auto* t : {&q, &k, &v}) t->set_requires_grad();
      Tape tape;
      const Gradients g = tape.gradients(attention(q, k, v, options), dy);
      return std::array{g.of(q), g.of(k), g.of(v)};
    };
    AttentionOptions blocked;
    blocked.uniform_when_blocked = true;
    blocked.key_mask = Tensor<bool, 2>({1, 5}, false);
    const auto a = gradients(blocked);
    const auto b = gradients({});
    for (std::size_t i = 0; i < 3; ++i) CHECK(largest_difference(a[i], b[i]) < 1e-15);
  }
}

TEST_CASE("attention: float gradients of groups are the same on any number of threads") {
  const auto gradients = [] {
    auto q = random_tensor<float>({2, 150, 4, 16}, 1);
    auto k = random_tensor<float>({2, 150, 2, 16}, 2);
    auto v = random_tensor<float>({2, 150, 2, 16}, 3);
    for (auto* t : {&q, &k, &v}) t->set_requires_grad();
    AttentionOptions options;
    options.causal = true;
    options.uniform_when_blocked = true;
    options.key_mask = left_padding(2, 150);
    Tape tape;
    const auto out = attention(q, k, v, options);
    const Gradients g = tape.gradients(out, out.clone());
    return std::array{g.of(q), g.of(k), g.of(v)};
  };
  const auto alone = gradients();
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  const auto many = gradients();
  for (std::size_t i = 0; i < 3; ++i) CHECK(identical(alone[i], many[i]));
}

TEST_CASE("attention: keys in a longer cache are those of tensors, bit for bit") {
  const index_t capacity = 40;
  for (const index_t queries : {1, 5})
    for (const bool masked : {false, true}) {
      const index_t keys = 23;
      const auto q = random_tensor<float>({2, queries, 4, 6}, 1);
      const auto k = random_tensor<float>({2, keys, 2, 6}, 2);
      const auto v = random_tensor<float>({2, keys, 2, 6}, 3);
      Tensor<float, 4> k_cache({2, capacity, 2, 6}, std::numeric_limits<float>::quiet_NaN());
      Tensor<float, 4> v_cache = k_cache.clone();
      Tensor<bool, 2> mask_cache({2, capacity}, true);
      AttentionOptions options;
      options.causal = true;
      options.uniform_when_blocked = true;
      if (masked) options.key_mask = left_padding(2, keys);
      for (index_t b = 0; b < 2; ++b)
        for (index_t j = 0; j < keys; ++j) {
          for (index_t h = 0; h < 2; ++h)
            for (index_t p = 0; p < 6; ++p) {
              k_cache(b, j, h, p) = k(b, j, h, p);
              v_cache(b, j, h, p) = v(b, j, h, p);
            }
          if (masked) mask_cache(b, j) = options.key_mask(b, j);
        }
      const Shape<4> strides{capacity * 12, 12, 6, 1};
      const View<const float, 4> kv(std::as_const(k_cache).data(), k.shape(), strides);
      const View<const float, 4> vv(std::as_const(v_cache).data(), v.shape(), strides);
      View<const bool, 2> mv;
      if (masked)
        mv = View<const bool, 2>(std::as_const(mask_cache).data(), Shape<2>{2, keys},
                                 Shape<2>{capacity, 1});
      AttentionOptions cached = options;
      cached.key_mask = {};
      CHECK(identical(attention(q, kv, vv, cached, mv), attention(q, k, v, options)));
      CHECK(identical(attention_weights(q, kv, cached, mv), attention_weights(q, k, options)));
    }
}

TEST_CASE("attention: a number of key heads that does not divide is refused, and views on a tape") {
  const Tensor<float, 4> q({1, 2, 4, 3});
  const Tensor<float, 4> three({1, 2, 3, 3});
  CHECK_THROWS_WITH(attention(q, three, three),
                    "attention: k is [1, 2, 3, 3], expected [B=1, Tk, H=4, P=3] (from q [1, 2, 4, "
                    "3])");
  Tensor<float, 4> x({1, 2, 4, 3});
  x.set_requires_grad();
  Tape tape;
  CHECK_THROWS_AS(attention(x, q.view(), q.view(), AttentionOptions{}), ConfigError);
}
