/// What finite masks make of a query whose keys are all blocked: a uniform softmax.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/attention_tile.hpp"

#include <cstddef>

namespace sequin::inline SEQUIN_ABI::kernels {

// A mask that adds the most negative finite number swamps every score of such a query with the same
// value: its softmax is 1 / Tk over all keys, future ones included. The tile kernels leave these
// rows zero; the functions here fill them in, in time linear in the keys.

/// How many queries of batch entry `b` see no key: they come first, as later ones see more.
template <class T>
index_t blocked_queries(const AttentionProblem<T>& a, index_t b) noexcept {
  if (a.keys() == 0) return 0;
  index_t open = 0;  // the first key that the mask leaves
  if (const bool* const keep = a.mask(b, 0))
    while (open < a.keys() && !keep[open]) ++open;
  index_t count = 0;
  while (count < a.queries() && a.limit(count) <= open) ++count;
  return count;
}

namespace detail {

/// mean[c] of the values of a head over all keys, summed in double.
template <class T>
void mean_of_values(const AttentionProblem<T>& a, index_t b, index_t key_head, T* mean) {
  constexpr index_t block = 32;
  for (index_t c0 = 0; c0 < a.value_width(); c0 += block) {
    const index_t n = (std::min)(block, a.value_width() - c0);
    double sum[static_cast<std::size_t>(block)] = {};
    for (index_t j = 0; j < a.keys(); ++j) {
      const T* const v = row_of(a.v, b, j, key_head) + c0;
      for (index_t c = 0; c < n; ++c) sum[c] += static_cast<double>(v[c]);
    }
    for (index_t c = 0; c < n; ++c)
      mean[c0 + c] = static_cast<T>(sum[c] / static_cast<double>(a.keys()));
  }
}

/// y += factor x, n elements.
template <class T>
SEQUIN_NO_INLINE void add_scaled(T* y, const T* x, T factor, index_t n) {
  const simd::Vec<T> f(factor);
  simd::transform(
      n, y, [&](const auto& u, const auto& v) { return simd::fma<T>(u, f, v); }, x, y);
}

}  // namespace detail

/// Tasks [begin, end) of B * H: writes the rows of `out` that belong to blocked queries.
/// Real-time safe.
template <class T>
void attention_uniform_forward(const AttentionProblem<T>& a, index_t begin, index_t end,
                               const View<T, 4>& out) {
  for (index_t task = begin; task < end; ++task) {
    const index_t b = task / a.heads();
    const index_t h = task % a.heads();
    const index_t count = blocked_queries(a, b);
    if (count == 0) continue;
    T* const first = detail::row_of(out, b, 0, h);
    detail::mean_of_values(a, b, a.key_head(h), first);
    for (index_t i = 1; i < count; ++i)
      std::copy_n(first, a.value_width(), first + i * out.stride(1));
  }
}

/// Elements of scratch that `attention_uniform_backward` needs.
template <class T>
index_t attention_uniform_scratch(const AttentionProblem<T>& a) noexcept {
  return 2 * a.value_width() * (1 + a.width());
}

/// Tasks [begin, end) of B * G: adds to dq, dk and dv (as `AttentionGradients`) what flows through
/// blocked queries. As with torch, a gradient also reaches the scores that the mask swamped: with
/// m the mean of the values, ds_ij = dout_i . (v_j - m) / Tk. Real-time safe.
template <class T>
void attention_uniform_backward(const AttentionProblem<T>& a, index_t begin, index_t end,
                                const View<const T, 4>& dout, const View<T, 4>& dq,
                                const View<T, 4>& dk, const View<T, 4>& dv, T* scratch) {
  const index_t width = a.width();
  const index_t values = a.value_width();
  T* const mean = scratch;
  T* const total = mean + values;             // sum of dout_i
  T* const outer = total + values;            // sum of dout_i^T q_i, (Pv, P)
  T* const centred = outer + values * width;  // sum of (v_j - m)^T k_j, (Pv, P)
  const T share = T{1} / static_cast<T>(a.keys());
  for (index_t task = begin; task < end; ++task) {
    const index_t b = task / a.key_heads();
    const index_t key_head = task % a.key_heads();
    const index_t count = blocked_queries(a, b);
    if (count == 0) continue;
    detail::mean_of_values(a, b, key_head, mean);
    std::fill_n(total, values + 2 * values * width, T{0});
    for (index_t j = 0; j < a.keys(); ++j) {
      const T* const v = detail::row_of(a.v, b, j, key_head);
      for (index_t c = 0; c < values; ++c)
        detail::add_scaled(centred + c * width, detail::row_of(a.k, b, j, key_head), v[c] - mean[c],
                           width);
    }
    for (index_t h = key_head * a.group(); h < (key_head + 1) * a.group(); ++h)
      for (index_t i = 0; i < count; ++i) {
        const T* const d = detail::row_of(dout, b, i, h);
        for (index_t c = 0; c < values; ++c) {
          total[c] += d[c];
          detail::add_scaled(outer + c * width, detail::row_of(a.q, b, i, h), d[c], width);
          detail::add_scaled(detail::row_of(dq, b, i, h), centred + c * width,
                             a.scale * share * d[c], width);
        }
      }
    for (index_t j = 0; j < a.keys(); ++j) {
      const T* const v = detail::row_of(a.v, b, j, key_head);
      detail::add_scaled(detail::row_of(dv, b, j, key_head), total, share, values);
      for (index_t c = 0; c < values; ++c)
        detail::add_scaled(detail::row_of(dk, b, j, key_head), outer + c * width,
                           a.scale * share * (v[c] - mean[c]), width);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::attention_uniform_forward);
SEQUIN_INSTANTIATE(kernels::attention_uniform_backward);
