/// Scaled dot-product attention, backward: the probabilities are computed again, tile by tile.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/simd_reduce.hpp"
#include "sequin/kernels/attention_dropout.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Gradients of attention: dq as q, dk as k, dv as v, each with a contiguous last axis.
template <class T>
struct AttentionGradients {
  View<T, 4> dq, dk, dv;
};

namespace detail {

inline constexpr index_t kBackwardQueries = 96;
inline constexpr index_t kBackwardKeys = kDropoutBlock;

/// What one head needs, carved from the caller's memory.
template <class T>
struct BackwardScratch {
  index_t q_stride, v_stride;
  T *q, *dout, *dq, *delta, *k_panels, *v_panels, *k_rows, *dk, *dv, *p, *ds;
  index_t size;  ///< elements

  BackwardScratch(const AttentionProblem<T>& a, T* at) noexcept
      : q_stride(padded_row<T>(a.width())), v_stride(padded_row<T>(a.value_width())) {
    Carver<T> memory{at};
    q = memory.take(a.queries() * q_stride);
    dout = memory.take(a.queries() * v_stride);
    dq = memory.take(a.queries() * q_stride);
    delta = memory.take(a.queries());
    k_panels = memory.take(kBackwardKeys * a.width());
    v_panels = memory.take(kBackwardKeys * a.value_width());
    k_rows = memory.take(kBackwardKeys * q_stride);
    dk = memory.take(kBackwardKeys * q_stride);
    dv = memory.take(kBackwardKeys * v_stride);
    p = memory.take(kBackwardQueries * kBackwardKeys);
    ds = memory.take(kBackwardQueries * kBackwardKeys);
    size = memory.used;
  }
};

template <class T>
T dot(const T* a, const T* b, index_t n) {
  constexpr index_t lanes = simd::kLanes<T>;
  simd::Vec<T> sum(T{0});
  index_t i = 0;
  for (; i + lanes <= n; i += lanes)
    sum = simd::fma<T>(simd::load<T>(a + i), simd::load<T>(b + i), sum);
  if (i < n)
    sum =
        simd::fma<T>(simd::load_partial<T>(a + i, n - i), simd::load_partial<T>(b + i, n - i), sum);
  return simd::reduce_add<T>(sum);
}

/// Scores s become dropped probabilities, products dp = dO . v become gradients of the scores:
/// p = 2^(s - max) normaliser, ds = p (factor dp - delta), s = factor p, for j < n.
template <class T>
void backward_row(T* s, T* dp, index_t n, T max, T normaliser, T delta, const T* factor) {
  using Vec = simd::Vec<T>;
  const Vec reference(max == -std::numeric_limits<T>::infinity() ? T{0} : max);
  const Vec scale(normaliser);
  const Vec shift(delta);
  for (index_t j = 0; j < n; j += simd::kLanes<T>) {
    const Vec p = exp2_nonpositive<T>(simd::load<T>(s + j) - reference) * scale;
    const Vec d = simd::load<T>(dp + j);
    if (factor == nullptr) {
      simd::store<T>(s + j, p);
      simd::store<T>(dp + j, p * (d - shift));
    } else {
      const Vec f = simd::load<T>(factor + j);
      simd::store<T>(s + j, p * f);
      simd::store<T>(dp + j, p * (f * d - shift));
    }
  }
}

/// The same without dropout for a row whose keys are all in this tile: delta is the mean of dp by
/// these very p, so that ds adds up to 0 but for its own rounding. The gradient that all keys have
/// in common, a key projection's bias, is 0 by mathematics and would otherwise gather the
/// difference to the forward pass from every row.
template <class T>
void backward_whole_row(T* s, T* dp, index_t n, T max, T normaliser) {
  using Vec = simd::Vec<T>;
  const Vec reference(max == -std::numeric_limits<T>::infinity() ? T{0} : max);
  const Vec scale(normaliser), none(T{0});
  Vec total(T{0}), weighted(T{0});
  for (index_t j = 0; j < n; j += simd::kLanes<T>) {
    const Vec p = exp2_nonpositive<T>(simd::load<T>(s + j) - reference) * scale;
    simd::store<T>(s + j, p);
    total = total + p;
    // What a key that is not seen holds, NaN included, has no influence on the others.
    weighted = simd::fma<T>(p, simd::select<T>(p != none, simd::load<T>(dp + j), none), weighted);
  }
  const T sum = simd::reduce_add<T>(total);
  const Vec shift(sum != T{0} ? simd::reduce_add<T>(weighted) / sum : T{0});
  for (index_t j = 0; j < n; j += simd::kLanes<T>)
    simd::store<T>(dp + j, simd::load<T>(s + j) * (simd::load<T>(dp + j) - shift));
}

/// Queries [i0, i0 + rows) against the packed tile of keys [j0, j0 + keys).
template <class T>
void backward_tile(const AttentionProblem<T>& a, const BackwardScratch<T>& w, index_t b, index_t h,
                   index_t i0, index_t rows, index_t j0, index_t keys, const T* max,
                   const T* normaliser) {
  const T* const q = w.q + i0 * w.q_stride;
  const T* const dout = w.dout + i0 * w.v_stride;
  const bool* const keep = a.mask(b, j0);
  scores(rows, keys, a.width(), q, w.q_stride, w.k_panels, log2_scale(a), w.p, kBackwardKeys);
  scores(rows, keys, a.value_width(), dout, w.v_stride, w.v_panels, T{1}, w.ds, kBackwardKeys);
  const index_t n = round_up(keys, simd::kLanes<T>);
  const index_t head = (b * a.heads() + h) * a.queries();
  for (index_t r = 0; r < rows; ++r) {
    const index_t i = i0 + r;
    T* const s = w.p + r * kBackwardKeys;
    const index_t limit = std::clamp(a.limit(i) - j0, index_t{0}, keys);
    if (limit < n || keep != nullptr) mask_scores(s, n, limit, keep);
    if (a.drop_below == 0 && a.keys() <= kBackwardKeys) {
      backward_whole_row(s, w.ds + r * kBackwardKeys, n, max[head + i], normaliser[head + i]);
      continue;
    }
    T factor[static_cast<std::size_t>(kDropoutBlock)];
    if (a.drop_below != 0) dropout_factors(a, head + i, j0 / kDropoutBlock, factor);
    backward_row(s, w.ds + r * kBackwardKeys, n, max[head + i], normaliser[head + i], w.delta[i],
                 a.drop_below != 0 ? factor : nullptr);
  }
  const index_t width = round_up(a.width(), kPanel<T>);
  accumulate(keys, round_up(a.value_width(), kPanel<T>), rows, w.p, index_t{1}, kBackwardKeys, dout,
             w.v_stride, w.dv, w.v_stride);
  accumulate(keys, width, rows, w.ds, index_t{1}, kBackwardKeys, q, w.q_stride, w.dk, w.q_stride);
  accumulate(rows, width, keys, w.ds, kBackwardKeys, index_t{1}, w.k_rows, w.q_stride,
             w.dq + i0 * w.q_stride, w.q_stride);
}

/// Rows of `from`, times `factor`, to strided rows, or added to what is there.
template <class T>
void unpack_rows(const T* from, index_t stride, index_t rows, index_t width, T factor, T* to,
                 index_t to_stride, bool add = false) {
  const simd::Vec<T> f(factor);
  for (index_t i = 0; i < rows; ++i, to += to_stride, from += stride) {
    if (add)
      simd::transform(
          width, to, [&](const auto& x, const auto& y) { return simd::fma<T>(x, f, y); }, from, to);
    else
      simd::transform(
          width, to, [&](const auto& x) { return x * f; }, from);
  }
}

/// All gradients of query head `h`. The first head that shares its keys writes theirs, the others
/// add.
template <class T>
void backward_head(const AttentionProblem<T>& a, const BackwardScratch<T>& w, index_t b, index_t h,
                   const View<const T, 4>& out, const View<const T, 4>& dout, const T* max,
                   const T* normaliser, const AttentionGradients<T>& g) {
  const index_t queries = a.queries();
  const index_t key_head = a.key_head(h);
  const bool add = h % a.group() != 0;
  pack_rows(row_of(a.q, b, 0, h), a.q.stride(1), queries, a.width(), nullptr, w.q, w.q_stride);
  pack_rows(row_of(dout, b, 0, h), dout.stride(1), queries, a.value_width(), nullptr, w.dout,
            w.v_stride);
  for (index_t i = 0; i < queries; ++i)
    w.delta[i] = dot(row_of(out, b, i, h), w.dout + i * w.v_stride, a.value_width());
  std::fill_n(w.dq, queries * w.q_stride, T{0});
  for (index_t j0 = 0; j0 < a.keys(); j0 += kBackwardKeys) {
    const index_t keys = (std::min)(kBackwardKeys, a.keys() - j0);
    const bool* const keep = a.mask(b, j0);
    const T* const k = row_of(a.k, b, j0, key_head);
    pack_transposed(k, a.k.stride(1), keys, a.width(), keep, w.k_panels);
    pack_rows(k, a.k.stride(1), keys, a.width(), keep, w.k_rows, w.q_stride);
    pack_transposed(row_of(a.v, b, j0, key_head), a.v.stride(1), keys, a.value_width(), keep,
                    w.v_panels);
    std::fill_n(w.dk, keys * w.q_stride, T{0});
    std::fill_n(w.dv, keys * w.v_stride, T{0});
    // The first query that may see a key of this tile.
    const index_t first = a.causal ? std::clamp(j0 - (a.keys() - queries), index_t{0}, queries) : 0;
    for (index_t i = first; i < queries; i += kBackwardQueries)
      backward_tile(a, w, b, h, i, (std::min)(kBackwardQueries, queries - i), j0, keys, max,
                    normaliser);
    unpack_rows(w.dk, w.q_stride, keys, a.width(), a.scale, row_of(g.dk, b, j0, key_head),
                g.dk.stride(1), add);
    unpack_rows(w.dv, w.v_stride, keys, a.value_width(), T{1}, row_of(g.dv, b, j0, key_head),
                g.dv.stride(1), add);
  }
  unpack_rows(w.dq, w.q_stride, queries, a.width(), a.scale, row_of(g.dq, b, 0, h), g.dq.stride(1));
}

}  // namespace detail

/// Elements of scratch, aligned to 64 bytes, that `attention_backward` needs.
template <class T>
index_t attention_backward_scratch(const AttentionProblem<T>& a) noexcept {
  return detail::BackwardScratch<T>(a, nullptr).size;
}

/// Tasks [begin, end) of B * G: all gradients of that batch entry and of the query heads that share
/// a head of keys, from those of the output `dout`, from the output and from what
/// `attention_forward` left in `max` and `normaliser`. Real-time safe. Dao, "FlashAttention-2",
/// arXiv 2307.08691, algorithm 2; the largest score and the sum are kept apart because their
/// logarithm's sum would lose the latter where scores are large.
template <class T>
void attention_backward(const AttentionProblem<T>& a, index_t begin, index_t end,
                        const View<const T, 4>& out, const View<const T, 4>& dout, const T* max,
                        const T* normaliser, const AttentionGradients<T>& g, T* scratch) {
  const detail::BackwardScratch<T> w(a, scratch);
  for (index_t task = begin; task < end; ++task) {
    const index_t b = task / a.key_heads();
    const index_t key_head = task % a.key_heads();
    for (index_t h = key_head * a.group(); h < (key_head + 1) * a.group(); ++h)
      detail::backward_head(a, w, b, h, out, dout, max, normaliser, g);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::attention_backward);
