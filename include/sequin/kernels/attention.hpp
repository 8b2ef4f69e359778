/// Scaled dot-product attention, forward: tile by tile with an online softmax.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/simd_reduce.hpp"
#include "sequin/kernels/attention_dropout.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

inline constexpr index_t kForwardQueries = 384;  ///< queries that share a packed tile of keys
inline constexpr index_t kForwardKeys = 128;     ///< keys a tile; a multiple of kDropoutBlock
inline constexpr index_t kGroup = 6;             ///< queries whose scores exist at a time

/// What one query block needs, carved from the caller's memory.
template <class T>
struct ForwardScratch {
  index_t v_stride, s_stride;
  T *q, *out, *max, *sum, *k_panels, *v_rows, *s;

  ForwardScratch(const AttentionProblem<T>& a, T* at) noexcept
      : v_stride(padded_row<T>(a.value_width())),
        s_stride(round_up((std::min)(a.keys(), kForwardKeys), kPanel<T>)) {
    const index_t rows = (std::min)(a.queries(), kForwardQueries);
    const index_t keys = s_stride;
    Carver<T> memory{at};
    q = memory.take(rows * a.width());
    out = memory.take(rows * v_stride);
    max = memory.take(rows);
    sum = memory.take(rows * simd::kLanes<T>);
    k_panels = memory.take(keys * a.width());
    v_rows = memory.take(keys * v_stride);
    s = memory.take(kGroup * keys);
    size = memory.used;
  }
  index_t size;  ///< elements
};

/// The largest of s[0 .. n), n a multiple of the register and > 0. A NaN may be lost here; it comes
/// back through the exponentials.
template <class T>
T largest(const T* s, index_t n) {
  simd::Vec<T> tops = simd::load<T>(s);
  for (index_t j = simd::kLanes<T>; j < n; j += simd::kLanes<T>)
    tops = (xsimd::max)(simd::load<T>(s + j), tops);
  return simd::reduce_max<T>(tops);
}

/// s[j] = 2^(s[j] - max) for j < n; sum = shrink * sum + the powers, lane by lane.
template <class T>
void powers(T* s, index_t n, T max, T shrink, T* sum) {
  using Vec = simd::Vec<T>;
  const Vec reference(max == -std::numeric_limits<T>::infinity() ? T{0} : max);
  Vec total = simd::load<T>(sum) * Vec(shrink);
  for (index_t j = 0; j < n; j += simd::kLanes<T>) {
    const Vec p = exp2_nonpositive<T>(simd::load<T>(s + j) - reference);
    simd::store<T>(s + j, p);
    total = total + p;
  }
  simd::store<T>(sum, total);
}

/// Online softmax: takes the largest score of a further tile into `max` and gives in `shrink` by
/// how much what was accumulated under the old one shrinks. Any number of rows at a time.
template <class T>
void raise_maxima(index_t rows, const T* top, T* max, T* shrink) {
  simd::transform(
      rows, shrink,
      [](const auto& t, const auto& m) {
        // Not m - max(m, t): that is NaN where both are -inf and there is nothing to shrink.
        return exp2_nonpositive<T>(simd::select<T>(t > m, m - t, simd::Vec<T>(T{0})));
      },
      top, max);
  for (index_t r = 0; r < rows; ++r) max[r] = top[r] > max[r] ? top[r] : max[r];
}

/// How many keys of a tile each query of a group may see.
template <index_t Rows>
struct GroupLimits {
  index_t limit[static_cast<std::size_t>(Rows)];
  index_t all;  ///< the smallest
  index_t most = 0;

  template <class T>
  GroupLimits(const AttentionProblem<T>& a, index_t i0, index_t j0, index_t keys) : all(keys) {
    for (index_t r = 0; r < Rows; ++r) {
      limit[r] = std::clamp(a.limit(i0 + r) - j0, index_t{0}, keys);
      all = (std::min)(all, limit[r]);
      most = (std::max)(most, limit[r]);
    }
  }
};

/// Scores, in units of log 2 and masked, of queries [i0, i0 + Rows) of a block against a packed
/// tile; the maxima are raised, `shrink` says by how much what was accumulated shrinks.
template <index_t Rows, class T>
void group_scores(const AttentionProblem<T>& a, const ForwardScratch<T>& w,
                  const GroupLimits<Rows>& limits, const bool* keep, index_t i0, T* shrink) {
  using Vec = simd::Vec<T>;
  const Vec factor(log2_scale(a));
  for (index_t n = 0; n < limits.most; n += kPanel<T>)
    tile_rows<Rows>(w.q + i0 * a.width(), a.width(), 1, w.k_panels + n * a.width(), kPanel<T>,
                    a.width(), [&](index_t r, const Vec& low, const Vec& high) {
                      simd::store<T>(w.s + r * w.s_stride + n, low * factor);
                      simd::store<T>(w.s + r * w.s_stride + n + simd::kLanes<T>, high * factor);
                    });
  T top[static_cast<std::size_t>(Rows)];
  for (index_t r = 0; r < Rows; ++r) {
    T* const s = w.s + r * w.s_stride;
    const index_t n = round_up(limits.limit[r], simd::kLanes<T>);
    if (n != limits.limit[r] || keep != nullptr) mask_scores(s, n, limits.limit[r], keep);
    top[r] = n == 0 ? -std::numeric_limits<T>::infinity() : largest(s, n);
  }
  raise_maxima(Rows, top, w.max + i0, shrink);
}

/// The queries [i0, i0 + Rows) of a block against one packed tile of keys [j0, j0 + keys).
template <index_t Rows, class T>
void forward_group(const AttentionProblem<T>& a, const ForwardScratch<T>& w, index_t row,
                   const bool* keep, index_t first, index_t i0, index_t j0, index_t keys) {
  using Vec = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const GroupLimits<Rows> limits(a, first + i0, j0, keys);
  if (limits.most == 0) return;
  T shrink[static_cast<std::size_t>(Rows)];
  group_scores<Rows>(a, w, limits, keep, i0, shrink);
  for (index_t r = 0; r < Rows; ++r) {
    T* const s = w.s + r * w.s_stride;
    powers(s, round_up(limits.limit[r], lanes), w.max[i0 + r], shrink[r], w.sum + (i0 + r) * lanes);
    if (a.drop_below != 0) drop(a, row + i0 + r, j0, s, limits.limit[r]);
  }
  for (index_t c = 0; c < a.value_width(); c += kPanel<T>) {
    tile_rows<Rows>(w.s, w.s_stride, 1, w.v_rows + c, w.v_stride, limits.all,
                    [&](index_t r, const Vec& low, const Vec& high) {
                      T* const out = w.out + (i0 + r) * w.v_stride + c;
                      const Vec f(shrink[r]);
                      simd::store<T>(out, simd::fma<T>(simd::load<T>(out), f, low));
                      simd::store<T>(out + lanes,
                                     simd::fma<T>(simd::load<T>(out + lanes), f, high));
                    });
    // On the diagonal each query ends elsewhere: a key that it may not see is not even multiplied
    // by zero, so that its NaN stays its own.
    if (limits.all == limits.most) continue;
    for (index_t r = 0; r < Rows; ++r)
      accumulate(1, kPanel<T>, limits.limit[r] - limits.all, w.s + r * w.s_stride + limits.all,
                 index_t{0}, index_t{1}, w.v_rows + limits.all * w.v_stride + c, w.v_stride,
                 w.out + (i0 + r) * w.v_stride + c, w.v_stride);
  }
}

template <class T>
inline T reciprocal_of_sum(const T* lanes) noexcept {
  T sum = 0;
  for (index_t l = 0; l < simd::kLanes<T>; ++l) sum += lanes[l];
  return sum == T{0} ? T{0} : T{1} / sum;
}

/// A block of queries, packed, with nothing accumulated yet.
template <class T>
void start_block(const AttentionProblem<T>& a, const ForwardScratch<T>& w, index_t b, index_t h,
                 index_t first, index_t rows) {
  pack_rows(row_of(a.q, b, first, h), a.q.stride(1), rows, a.width(), nullptr, w.q, a.width());
  std::fill_n(w.max, rows, -std::numeric_limits<T>::infinity());
  std::fill_n(w.sum, rows * simd::kLanes<T>, T{0});
}

/// Calls f(j0, keys, keep) for each tile of keys that a query below `end` may see, its keys packed.
template <class T, class F>
void for_each_tile(const AttentionProblem<T>& a, const ForwardScratch<T>& w, index_t b, index_t h,
                   index_t end, F&& f) {
  const index_t seen = a.limit(end - 1);
  for (index_t j0 = 0; j0 < seen; j0 += kForwardKeys) {
    const index_t keys = (std::min)(kForwardKeys, a.keys() - j0);
    const bool* const keep = a.mask(b, j0);
    pack_transposed(row_of(a.k, b, j0, a.key_head(h)), a.k.stride(1), keys, a.width(), keep,
                    w.k_panels);
    f(j0, keys, keep);
  }
}

template <class T>
void forward_block(const AttentionProblem<T>& a, index_t b, index_t h, index_t first,
                   const View<T, 4>& out, T* max, T* normaliser, T* scratch) {
  constexpr index_t lanes = simd::kLanes<T>;
  const ForwardScratch<T> w(a, scratch);
  const index_t rows = (std::min)(kForwardQueries, a.queries() - first);
  const index_t row = (b * a.heads() + h) * a.queries() + first;
  start_block(a, w, b, h, first, rows);
  std::fill_n(w.out, rows * w.v_stride, T{0});
  for_each_tile(a, w, b, h, first + rows, [&](index_t j0, index_t keys, const bool* keep) {
    pack_rows(row_of(a.v, b, j0, a.key_head(h)), a.v.stride(1), keys, a.value_width(), keep,
              w.v_rows, w.v_stride);
    row_groups(rows, [&](auto group, index_t i) {
      forward_group<group()>(a, w, row, keep, first, i, j0, keys);
    });
  });
  T* to = row_of(out, b, first, h);
  for (index_t i = 0; i < rows; ++i, to += out.stride(1)) {
    const T scale = reciprocal_of_sum(w.sum + i * lanes);
    const simd::Vec<T> f(scale);
    simd::transform(
        a.value_width(), to, [&](const auto& x) { return x * f; }, w.out + i * w.v_stride);
    if (max != nullptr) {
      max[row + i] = w.max[i];
      normaliser[row + i] = scale;
    }
  }
}

}  // namespace detail

/// Number of independent tasks of a call: one for each batch entry, head and block of queries.
template <class T>
index_t attention_tasks(const AttentionProblem<T>& a) noexcept {
  return a.batch() * a.heads() *
         ((a.queries() + detail::kForwardQueries - 1) / detail::kForwardQueries);
}

/// Elements of scratch, aligned to 64 bytes, that `attention_forward` needs.
template <class T>
index_t attention_scratch(const AttentionProblem<T>& a) noexcept {
  return detail::ForwardScratch<T>(a, nullptr).size;
}

/// Tasks [begin, end) of out (B, Tq, H, Pv) = dropout(softmax(scale q k^T)) v, last axis of out
/// contiguous. A query that sees no key, or only scores of -inf, gives zeros. What a masked key
/// holds, NaN included, has no influence. `max` and `normaliser` (B, H, Tq), or both null, are for
/// `attention_backward`: the largest score in units of log 2, and one over the sum of the powers.
/// Tiles are counted from key 0, so a query's result does not depend on the others. Real-time safe.
/// Dao, "FlashAttention-2", arXiv 2307.08691, algorithm 1.
template <class T>
void attention_forward(const AttentionProblem<T>& a, index_t begin, index_t end,
                       const View<T, 4>& out, T* max, T* normaliser, T* scratch) {
  const index_t blocks = (a.queries() + detail::kForwardQueries - 1) / detail::kForwardQueries;
  for (index_t task = begin; task < end; ++task) {
    const index_t bh = task / blocks;
    detail::forward_block(a, bh / a.heads(), bh % a.heads(),
                          task % blocks * detail::kForwardQueries, out, max, normaliser, scratch);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::attention_forward);
