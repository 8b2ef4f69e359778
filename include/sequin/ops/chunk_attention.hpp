/// Joint local and global attention of FLASH: quadratic within groups, linear across them.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/random.hpp"
#include "sequin/ops/dropout.hpp"
#include "sequin/ops/matmul.hpp"

#include <algorithm>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// How `chunk_attention` cuts and masks.
struct ChunkAttentionOptions {
  index_t group_size = 256;
  bool causal = false;
  /// Causal alone: M is a mean of the groups before, each of which counts so much of what the next
  /// one does; 0: their sum.
  double mean_decay = 0;
  double dropout = 0;              ///< of the local weights, while training
  Generator* generator = nullptr;  ///< dropout draws from it
};

/// The four of the official `qk_offset_scale`, (B, T, Q) each, positions already turned in.
template <Scalar T>
struct ChunkAttentionInputs {
  Tensor<T, 3> quad_q, lin_q, quad_k, lin_k;
};

namespace detail {

/// What the finished groups weigh in the memory with one more; `weight` is 0 before the first.
template <Scalar T>
T next_memory_weight(double mean_decay, T weight) noexcept {
  return mean_decay <= 0 ? T{1} : static_cast<T>(mean_decay) * weight + T{1};
}

/// How much of the memory stays, and how much of a group's sum enters it.
template <Scalar T>
struct ChunkMemoryShare {
  T keep, take;

  ChunkMemoryShare(double mean_decay, T weight) noexcept
      : keep(mean_decay <= 0 ? T{1} : T{1} - T{1} / weight), take(T{1} / weight) {}
};

/// memory = share.keep memory + share.take sum.
template <Scalar T>
void remember_group(const ChunkMemoryShare<T>& share, const T* sum, index_t count, T* memory) {
  using V = simd::Vec<T>;
  const V keep(share.keep), take(share.take);
  simd::transform<T>(
      count, memory, [&](const V& m, const V& s) { return simd::fma<T>(take, s, keep * m); },
      static_cast<const T*>(memory), sum);
}

template <Scalar T>
struct ChunkAttentionCall {
  Tensor<T, 3> quad_q, lin_q, quad_k, lin_k, values;
  Tensor<T, 2> mask;
  index_t batch, length, width, inner, group;  // width: of queries; inner: of values
  bool causal;
  double mean_decay;
  T linear_scale;
  std::uint64_t key = 0;
  double dropout = 0;

  index_t groups() const noexcept { return (length + group - 1) / group; }
  index_t rows(index_t j) const noexcept { return (std::min)(group, length - j * group); }
  MatrixView<T> part(const Tensor<T, 3>& t, index_t b, index_t j) const noexcept {
    return {t.data() + (b * length + j * group) * t.extent(2), t.extent(2), 1};
  }
  index_t at(index_t b, index_t j) const noexcept { return (b * length + j * group) * inner; }

  /// relu(q k^T / group)^2 of one group to `a` (rows x rows); its root to `root` where asked for.
  void local_weights(index_t b, index_t j, T* a, T* root) const {
    using V = simd::Vec<T>;
    const index_t r = rows(j);
    multiply(part(quad_q, b, j), part(quad_k, b, j).transposed(), a, r, r, r, width);
    const V scale(T{1} / static_cast<T>(group));
    simd::transform<T>(
        r * r, a,
        [&](const V& v) {
          const V s = v * scale;
          return simd::select<T>(s <= V(T{0}), V(T{0}), s);
        },
        a);
    for (index_t i = 0; i < r; ++i) {
      if (causal) std::fill(a + i * r + i + 1, a + (i + 1) * r, T{0});
      if (!mask.defined()) continue;
      const T* const keep = mask.data() + b * length + j * group;
      for (index_t k = 0; k < r; ++k)
        if (keep[k] == T{0}) a[i * r + k] = T{0};
    }
    if (root != nullptr) std::copy_n(a, r * r, root);
    simd::transform<T>(
        r * r, a, [](const V& v) { return v * v; }, a);
  }
  void drop(index_t b, index_t j, T* a) const {
    if (dropout <= 0) return;
    const auto threshold = static_cast<std::uint32_t>(dropout * 65536.0 + 0.5);
    dropout_range(static_cast<const T*>(a), a, index_t{0}, rows(j) * rows(j),
                  key + static_cast<std::uint64_t>(b * groups() + j), threshold,
                  static_cast<T>(1 / (1 - dropout)));
  }
  /// lin_q of one group times the scale of the global part.
  Tensor<T, 2> scaled_queries(index_t b, index_t j) const {
    auto q = Tensor<T, 2>::empty({rows(j), width});
    const simd::Vec<T> s(linear_scale);
    simd::transform<T>(
        q.size(), q.data(), [&](const simd::Vec<T>& v) { return v * s; }, part(lin_q, b, j).data);
    return q;
  }
  /// What all groups before each, and it, weigh in the memory.
  Tensor<T, 1> weights() const {
    auto all = Tensor<T, 1>::empty(Shape<1>{groups()});
    T weight{0};
    for (index_t j = 0; j < groups(); ++j)
      all(j) = weight = next_memory_weight(causal ? mean_decay : 0, weight);
    return all;
  }
  /// Adds lin_k^T values of one group to the memory (Q x E).
  void remember(index_t b, index_t j, T weight, Tensor<T, 2>& memory) const {
    auto sum = Tensor<T, 2>::empty({width, inner});
    multiply(part(lin_k, b, j).transposed(), part(values, b, j), sum.data(), inner, width, inner,
             rows(j));
    remember_group({causal ? mean_decay : 0, weight}, std::as_const(sum).data(), sum.size(),
                   memory.data());
  }
  Tensor<T, 2> whole_memory(index_t b) const {
    Tensor<T, 2> memory({width, inner});
    for (index_t j = 0; j < groups(); ++j) remember(b, j, T{1}, memory);
    return memory;
  }
  Tensor<T, 1> packed(const Tensor<T, 2>& memory) const {
    return pack_b_parallel(memory.data(), inner, index_t{1}, width, inner);
  }
};

template <Scalar T>
Tensor<T, 3> chunk_attention_forward(const ChunkAttentionCall<T>& c) {
  auto y = Tensor<T, 3>::empty({c.batch, c.length, c.inner});
  auto a = Tensor<T, 1>::empty({c.rows(0) * c.rows(0)});
  const Tensor<T, 1> weights = c.weights();
  for (index_t b = 0; b < c.batch; ++b) {
    Tensor<T, 2> memory = c.causal ? Tensor<T, 2>({c.width, c.inner}) : c.whole_memory(b);
    Tensor<T, 1> panels;
    if (!c.causal) panels = c.packed(memory);
    for (index_t j = 0; j < c.groups(); ++j) {
      const index_t r = c.rows(j);
      c.local_weights(b, j, a.data(), nullptr);
      c.drop(b, j, a.data());
      const MatrixView<T> h = c.part(c.values, b, j);
      multiply({std::as_const(a).data(), r, 1}, h, y.data() + c.at(b, j), c.inner, r, c.inner, r);
      if (c.causal && j > 0) panels = c.packed(memory);
      if (!c.causal || j > 0)
        multiply_panels({c.scaled_queries(b, j).data(), c.width, 1}, panels, y.data() + c.at(b, j),
                        c.inner, r, c.inner, c.width, true);
      if (c.causal) c.remember(b, j, weights(j), memory);
    }
  }
  return y;
}

template <Scalar T>
void chunk_attention_backward(const ChunkAttentionCall<T>& c, const Tensor<T, 3>& dy,
                              ChunkAttentionCall<T>& d) {
  const index_t r0 = c.rows(0);
  auto a = Tensor<T, 1>::empty({r0 * r0});
  auto root = Tensor<T, 1>::empty({r0 * r0});
  auto da = Tensor<T, 1>::empty({r0 * r0});
  const Tensor<T, 1> weights = c.weights();
  const auto scale = [](T* p, index_t n, T by) {
    simd::transform<T>(
        n, p, [&](const simd::Vec<T>& v) { return v * simd::Vec<T>(by); }, p);
  };
  for (index_t b = 0; b < c.batch; ++b) {
    // Forward in time: what needs the memory that a group read.
    Tensor<T, 2> memory = c.causal ? Tensor<T, 2>({c.width, c.inner}) : c.whole_memory(b);
    for (index_t j = 0; j < c.groups(); ++j) {
      const index_t r = c.rows(j);
      const MatrixView<T> up = c.part(dy, b, j);
      const index_t q_at = (b * c.length + j * c.group) * c.width;
      T* const dlin_q = d.lin_q.data() + q_at;
      multiply(up, {std::as_const(memory).data(), 1, c.inner}, dlin_q, c.width, r, c.width,
               c.inner);
      scale(dlin_q, r * c.width, c.linear_scale);
      if (c.causal) c.remember(b, j, weights(j), memory);

      c.local_weights(b, j, a.data(), root.data());
      c.drop(b, j, a.data());
      const MatrixView<T> local{std::as_const(a).data(), r, 1};
      multiply(local.transposed(), up, d.values.data() + c.at(b, j), c.inner, r, c.inner, r);
      T* const ds = da.data();
      multiply(up, c.part(c.values, b, j).transposed(), ds, r, r, r, c.inner);
      c.drop(b, j, ds);
      const T two = T{2} / static_cast<T>(c.group);
      for (index_t i = 0; i < r * r; ++i) ds[i] *= two * std::as_const(root).data()[i];
      const MatrixView<T> s{std::as_const(da).data(), r, 1};
      multiply(s, c.part(c.quad_k, b, j), d.quad_q.data() + q_at, c.width, r, c.width, r);
      multiply(s.transposed(), c.part(c.quad_q, b, j), d.quad_k.data() + q_at, c.width, r, c.width,
               r);
    }
    // Backward in time: what is owed to the memory by the groups that read it.
    Tensor<T, 2> owed({c.width, c.inner});
    const auto collect = [&](index_t j) {
      multiply(MatrixView<T>{c.scaled_queries(b, j).data(), c.width, 1}.transposed(),
               c.part(dy, b, j), owed.data(), c.inner, c.width, c.inner, c.rows(j), true);
    };
    if (!c.causal)
      for (index_t j = 0; j < c.groups(); ++j) collect(j);
    for (index_t j = c.groups() - 1; j >= 0; --j) {
      const index_t r = c.rows(j);
      const ChunkMemoryShare<T> share(c.causal ? c.mean_decay : 0, weights(j));
      scale(owed.data(), owed.size(), share.take);
      multiply(c.part(c.values, b, j), {std::as_const(owed).data(), 1, c.inner},
               d.lin_k.data() + (b * c.length + j * c.group) * c.width, c.width, r, c.width,
               c.inner);
      multiply(c.part(c.lin_k, b, j), {std::as_const(owed).data(), c.inner, 1},
               d.values.data() + c.at(b, j), c.inner, r, c.inner, c.width, true);
      if (!c.causal) continue;
      scale(owed.data(), owed.size(), share.keep / share.take);
      collect(j);
    }
  }
}

inline void check_mean_decay(const ChunkAttentionOptions& o) {
  if (o.mean_decay >= 0 && o.mean_decay <= 1 && (o.causal || o.mean_decay == 0)) return;
  throw ConfigError("chunk_attention: mean_decay is " + std::to_string(o.mean_decay) +
                    (o.causal ? ", expected 0 to 1" : ", expected 0 unless causal"));
}

/// The call that these arguments mean. Throws ShapeError, ConfigError.
template <Scalar T>
ChunkAttentionCall<T> checked_chunk_attention(const ChunkAttentionInputs<T>& in,
                                              const Tensor<T, 3>& values,
                                              const ChunkAttentionOptions& options,
                                              const Tensor<T, 2>& mask) {
  ChunkAttentionCall<T> c;
  c.quad_q = in.quad_q, c.lin_q = in.lin_q, c.quad_k = in.quad_k, c.lin_k = in.lin_k;
  c.values = values;
  c.mask = mask;
  c.batch = values.extent(0), c.length = values.extent(1), c.inner = values.extent(2);
  c.width = in.quad_q.extent(2);
  c.group = options.group_size;
  c.causal = options.causal;
  c.mean_decay = options.mean_decay;
  check_mean_decay(options);
  if (c.group < 1)
    throw ConfigError("chunk_attention: group_size is " + std::to_string(c.group) +
                      ", expected >= 1");
  const Shape<3> expected{c.batch, c.length, c.width};
  for (const auto* t : {&in.quad_q, &in.lin_q, &in.quad_k, &in.lin_k})
    if (t->shape() != expected)
      throw ShapeError("chunk_attention: a query or key is " + to_string(t->shape()) +
                       ", expected [B, T, Q] = " + to_string(expected) + " (values are " +
                       to_string(values.shape()) + ")");
  if (mask.defined() && mask.shape() != Shape<2>{c.batch, c.length})
    throw ShapeError("chunk_attention: mask is " + to_string(mask.shape()) +
                     ", expected [B, T] = " + to_string(Shape<2>{c.batch, c.length}));
  c.linear_scale = T{1} / static_cast<T>(c.causal ? c.group : (std::max)(c.length, index_t{1}));
  return c;
}

}  // namespace detail

/// y (B, T, E) of values (B, T, E), for each group of `group_size` = g steps (the last may be
/// shorter, and is still divided by g):
///
///     y = relu(quad_q quad_k^T / g)^2 values + lin_q M,   M = sum over all steps lin_k^T values /
///     T
///
/// the first term within the group; with `causal` it sees no later step, and M is the sum over the
/// groups before, over g, or with `mean_decay` the weighted mean of the groups' sums, over g, which
/// stays bounded however long the sequence is (ours: the official sum grows with it). `mask`
/// (B, T), undefined or 0 where a key takes no part in the first term (the caller zeroes lin_k as
/// well). Values side by side share the weights: the official v and u are one tensor of twice the
/// width here. Memory grows with T, not with its square.
/// Throws ShapeError, ConfigError. Hua et al., "Transformer Quality in Linear Time", arXiv
/// 2202.10447; `cal_attention` of MossFormer2.
template <Scalar T>
Tensor<T, 3> chunk_attention(const ChunkAttentionInputs<T>& in, const Tensor<T, 3>& values,
                             const ChunkAttentionOptions& options = {},
                             const Tensor<T, 2>& mask = {}) {
  detail::ChunkAttentionCall<T> c = detail::checked_chunk_attention(in, values, options, mask);
  if (values.size() == 0) return Tensor<T, 3>(values.shape());
  if (options.generator != nullptr && options.dropout > 0) {
    c.dropout = options.dropout;
    c.key = options.generator->fork();
  }
  Tensor<T, 3> y = detail::chunk_attention_forward(c);
  if (Recorder* tape = recording(in.quad_q, in.lin_q, in.quad_k, in.lin_k, values))
    tape->push([c, yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      detail::ChunkAttentionCall<T> d;
      d.values = Tensor<T, 3>::empty(c.values.shape());
      for (auto* t : {&d.quad_q, &d.lin_q, &d.quad_k, &d.lin_k})
        *t = Tensor<T, 3>::empty(c.quad_q.shape());
      detail::chunk_attention_backward(c, dy, d);
      g.add(c.values.var(), d.values);
      g.add(c.quad_q.var(), d.quad_q);
      g.add(c.lin_q.var(), d.lin_q);
      g.add(c.quad_k.var(), d.quad_k);
      g.add(c.lin_k.var(), d.lin_k);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(chunk_attention);
