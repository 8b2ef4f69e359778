/// ProbSparse attention of heads: which queries are active, what they and the others give.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/view.hpp"
#include "sequin/kernels/gemm.hpp"
#include "sequin/kernels/softmax.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

// A task is one head of one batch entry. Time and memory are O(Tq U + u Tk) times the width: no
// Tq x Tk matrix.

namespace sequin::inline SEQUIN_ABI::kernels {

/// What all tasks share. q (B, Tq, H, P), k (B, Tk, H, P), v (B, Tk, H, Pv), last axes adjacent.
template <class T>
struct ProbSparseProblem {
  View<const T, 4> q, k, v;
  const std::int32_t* samples = nullptr;  ///< (Tq, sampled), keys
  index_t sampled = 0, active = 0;
  T scale{1};
  bool causal = false;

  index_t heads() const noexcept { return q.extent(2); }
  index_t tasks() const noexcept { return q.extent(0) * q.extent(2); }
  index_t queries() const noexcept { return q.extent(1); }
  index_t keys() const noexcept { return k.extent(1); }
  index_t width() const noexcept { return q.extent(3); }
  index_t value_width() const noexcept { return v.extent(3); }
};

namespace detail {

/// Keys that pass through the products at a time: their packed form stays in the second-level
/// cache, and long chains of additions are cut.
inline constexpr index_t kKeyBlock = 256;

/// The first row of head `task` of a tensor (B, T, H, P).
template <class T>
T* head_of(const View<T, 4>& x, index_t task) noexcept {
  return x.data() + task / x.extent(2) * x.stride(0) + task % x.extent(2) * x.stride(2);
}

/// Rows `which` of x, times `factor`, one after the other.
template <class T>
void gather_rows(const T* x, index_t step, const std::int32_t* which, index_t count, index_t width,
                 T factor, T* to) {
  for (index_t r = 0; r < count; ++r)
    for (index_t p = 0; p < width; ++p)
      to[r * width + p] = factor * x[static_cast<index_t>(which[r]) * step + p];
}

/// C (m x keys) = A (m x width) X^T, row j of X being x + j * step; `packed` has room for
/// packed_size(width, kKeyBlock).
template <class T>
void times_transposed(const T* a, index_t m, index_t width, const T* x, index_t step, index_t keys,
                      T* packed, T* c) {
  for (index_t j = 0; j < keys; j += kKeyBlock) {
    GemmProblem<T> g;
    g.n = (std::min)(kKeyBlock, keys - j);
    g.k = width;
    pack_b(x + j * step, index_t{1}, step, width, g.n, packed);
    g.a = a;
    g.a_row = width;
    g.b = packed;
    g.c = c + j;
    g.c_row = keys;
    gemm(g, index_t{0}, m, index_t{0}, g.n);
  }
}

/// C (m x width, contiguous) = A (m x keys) X.
template <class T>
void times_rows(const T* a, index_t m, index_t keys, const T* x, index_t step, index_t width,
                T* c) {
  for (index_t j = 0; j < keys; j += kKeyBlock) {
    GemmProblem<T> g;
    g.n = width;
    g.k = (std::min)(kKeyBlock, keys - j);
    g.a = a + j;
    g.a_row = keys;
    g.b = x + j * step;
    g.b_row = step;
    g.c = c;
    g.c_row = width;
    g.accumulate = j > 0;
    gemm(g, index_t{0}, m, index_t{0}, width);
  }
}

/// C (keys x width, rows `step` apart) = A^T (keys x m) X (m x width, contiguous).
template <class T>
void transposed_times(const T* a, index_t m, index_t keys, const T* x, index_t width, T* c,
                      index_t step) {
  GemmProblem<T> g;
  g.n = width;
  g.k = m;
  g.a = a;
  g.a_row = 1;
  g.a_k = keys;
  g.b = x;
  g.b_row = width;
  g.c = c;
  g.c_row = step;
  gemm(g, index_t{0}, keys, index_t{0}, width);
}

/// Keys that active query at `position` sees.
template <class T>
index_t visible_keys(const ProbSparseProblem<T>& a, std::int32_t position) noexcept {
  return a.causal ? static_cast<index_t>(position) + 1 : a.keys();
}

/// scores (u x Tk) = softmax(scaled queries K^T), 0 for keys that are not seen.
template <class T>
void active_weights(const ProbSparseProblem<T>& a, const std::int32_t* active, const T* k,
                    const T* queries, T* packed, T* scores) {
  times_transposed(queries, a.active, a.width(), k, a.k.stride(1), a.keys(), packed, scores);
  for (index_t r = 0; r < a.active; ++r) {
    T* const row = scores + r * a.keys();
    const index_t seen = visible_keys(a, active[r]);
    softmax_forward(row, index_t{1}, seen, row);
    std::fill(row + seen, row + a.keys(), T{0});
  }
}

}  // namespace detail

/// Elements of scratch for each thread of the forward and of the backward pass.
template <class T>
index_t prob_sparse_scratch(const ProbSparseProblem<T>& a, bool backward) noexcept {
  const index_t rows = a.active * (backward ? 2 : 1);
  const index_t packed = packed_size<T>((std::max)(a.width(), a.value_width()), detail::kKeyBlock);
  return a.queries() + packed + rows * (a.keys() + a.width() + a.value_width());
}

/// The u active queries of a task, ascending: those with the largest
/// M_t = max_j q_t . k_j - sum_j q_t . k_j / Tk over the sampled keys j. NaN counts as the largest,
/// of equal ones the earlier is taken. `measure` and `order` have room for Tq. Real-time safe.
template <class T>
void prob_sparse_choose(const ProbSparseProblem<T>& a, index_t task, T* measure,
                        std::int32_t* order, std::int32_t* active) {
  using V = simd::Vec<T>;
  const T* const q = detail::head_of(a.q, task);
  const T* const k = detail::head_of(a.k, task);
  const T share = T{1} / static_cast<T>(a.keys());
  for (index_t t = 0; t < a.queries(); ++t) {
    const T* const query = q + t * a.q.stride(1);
    T best = -std::numeric_limits<T>::infinity();
    T sum = 0;
    for (index_t j = 0; j < a.sampled; ++j) {
      const T* const key = k + static_cast<index_t>(a.samples[t * a.sampled + j]) * a.k.stride(1);
      const T score = detail::sum_of<T>(
          a.width(), [](const V& x, const V& y) { return x * y; }, query, key);
      best = score > best ? score : best;
      sum += score;
    }
    // NaN in a score is in the sum.
    measure[t] = best - sum * share;
    order[t] = static_cast<std::int32_t>(t);
  }
  const auto before = [measure](std::int32_t x, std::int32_t y) {
    const T mx = measure[x];
    const T my = measure[y];
    const bool nan_x = mx != mx;
    const bool nan_y = my != my;
    if (nan_x != nan_y) return nan_x;
    if (!nan_x && mx != my) return mx > my;
    return x < y;
  };
  if (a.active < a.queries())
    std::nth_element(order, order + a.active, order + a.queries(), before);
  std::copy_n(order, a.active, active);
  std::sort(active, active + a.active);
}

/// out (B, Tq, H, Pv) of a task: attention for the active queries; for the others the mean of all
/// values, or when causal the sum of those up to the query. Sums in double. `map`, where given, is
/// rows of Tk weights that the active queries' rows are written to. Real-time safe.
template <class T>
void prob_sparse_forward(const ProbSparseProblem<T>& a, index_t task, const std::int32_t* active,
                         const View<T, 4>& out, T* map, T* scratch) {
  const index_t width = a.value_width();
  const T* const v = detail::head_of(a.v, task);
  T* const y = detail::head_of(out, task);
  constexpr index_t block = 64;
  for (index_t first = 0; first < width; first += block) {
    const index_t columns = (std::min)(block, width - first);
    double sum[block] = {};
    for (index_t t = 0; t < a.keys(); ++t) {
      const T* const value = v + t * a.v.stride(1) + first;
      for (index_t p = 0; p < columns; ++p) sum[p] += static_cast<double>(value[p]);
      if (!a.causal) continue;
      for (index_t p = 0; p < columns; ++p)
        y[t * out.stride(1) + first + p] = static_cast<T>(sum[p]);
    }
    if (a.causal) continue;
    T mean[block];
    for (index_t p = 0; p < columns; ++p)
      mean[p] = static_cast<T>(sum[p] / static_cast<double>(a.keys()));
    for (index_t t = 0; t < a.queries(); ++t)
      std::copy_n(mean, columns, y + t * out.stride(1) + first);
  }
  if (a.active == 0) return;
  T* const queries = scratch;
  T* const result = queries + a.active * a.width();
  T* const scores = result + a.active * width;
  T* const packed = scores + a.active * a.keys();
  detail::gather_rows(detail::head_of(a.q, task), a.q.stride(1), active, a.active, a.width(),
                      a.scale, queries);
  detail::active_weights(a, active, detail::head_of(a.k, task), static_cast<const T*>(queries),
                         packed, scores);
  detail::times_rows(static_cast<const T*>(scores), a.active, a.keys(), v, a.v.stride(1), width,
                     result);
  for (index_t r = 0; r < a.active; ++r) {
    const auto t = static_cast<index_t>(active[r]);
    std::copy_n(result + r * width, width, y + t * out.stride(1));
    if (map != nullptr) std::copy_n(scores + r * a.keys(), a.keys(), map + t * a.keys());
  }
}

/// Gradients of a task given dy (B, Tq, H, Pv): writes its part of dk and dv, and the active
/// queries' rows of dq, whose other rows stay. The weights are computed again. Real-time safe.
template <class T>
void prob_sparse_backward(const ProbSparseProblem<T>& a, index_t task, const std::int32_t* active,
                          const View<const T, 4>& dy, const View<T, 4>& dq, const View<T, 4>& dk,
                          const View<T, 4>& dv, T* scratch) {
  const index_t width = a.value_width();
  const T* const k = detail::head_of(a.k, task);
  const T* const d = detail::head_of(dy, task);
  T* const to_v = detail::head_of(dv, task);
  T* const queries = scratch;
  T* const outer = queries + a.active * a.width();
  T* const weights = outer + a.active * width;
  T* const dscores = weights + a.active * a.keys();
  T* const dqueries = dscores + a.active * a.keys();
  T* const packed = dqueries + a.active * a.width();
  detail::gather_rows(detail::head_of(a.q, task), a.q.stride(1), active, a.active, a.width(),
                      a.scale, queries);
  detail::gather_rows(d, dy.stride(1), active, a.active, width, T{1}, outer);
  detail::active_weights(a, active, k, static_cast<const T*>(queries), packed, weights);
  detail::times_transposed(static_cast<const T*>(outer), a.active, width,
                           detail::head_of(a.v, task), a.v.stride(1), a.keys(), packed, dscores);
  for (index_t r = 0; r < a.active; ++r) {
    T* const row = dscores + r * a.keys();
    const index_t seen = detail::visible_keys(a, active[r]);
    softmax_backward(weights + r * a.keys(), row, index_t{1}, seen, row);
    std::fill(row + seen, row + a.keys(), T{0});
  }
  detail::transposed_times(static_cast<const T*>(weights), a.active, a.keys(),
                           static_cast<const T*>(outer), width, to_v, dv.stride(1));
  detail::transposed_times(static_cast<const T*>(dscores), a.active, a.keys(),
                           static_cast<const T*>(queries), a.width(), detail::head_of(dk, task),
                           dk.stride(1));
  detail::times_rows(static_cast<const T*>(dscores), a.active, a.keys(), k, a.k.stride(1),
                     a.width(), dqueries);
  for (index_t r = 0; r < a.active; ++r)
    for (index_t p = 0; p < a.width(); ++p)
      detail::head_of(dq, task)[static_cast<index_t>(active[r]) * dq.stride(1) + p] =
          a.scale * dqueries[r * a.width() + p];

  // What the other queries took from the values: backwards, so that when causal the sum over later
  // queries is at hand.
  constexpr index_t block = 64;
  for (index_t first = 0; first < width; first += block) {
    const index_t columns = (std::min)(block, width - first);
    double sum[block] = {};
    index_t left = a.active;
    for (index_t t = a.queries(); t-- > 0;) {
      if (left > 0 && active[left - 1] == t)
        --left;
      else
        for (index_t p = 0; p < columns; ++p)
          sum[p] += static_cast<double>(d[t * dy.stride(1) + first + p]);
      if (!a.causal) continue;
      for (index_t p = 0; p < columns; ++p)
        to_v[t * dv.stride(1) + first + p] += static_cast<T>(sum[p]);
    }
    if (a.causal) continue;
    for (index_t t = 0; t < a.keys(); ++t)
      for (index_t p = 0; p < columns; ++p)
        to_v[t * dv.stride(1) + first + p] +=
            static_cast<T>(sum[p] / static_cast<double>(a.keys()));
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::prob_sparse_choose);
SEQUIN_INSTANTIATE(kernels::prob_sparse_forward);
SEQUIN_INSTANTIATE(kernels::prob_sparse_backward);
