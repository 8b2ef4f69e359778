/// The attention map itself, for those who want to look at it.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/attention.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Tasks [begin, end) of attention_tasks(a): map (B, H, Tq, Tk) = dropout(softmax(scale q k^T)),
/// the probabilities that `attention_forward` uses. a.v may be empty. Scratch as attention_forward.
/// Real-time safe.
template <class T>
void attention_weights_forward(const AttentionProblem<T>& a, index_t begin, index_t end,
                               const View<T, 4>& map, T* scratch) {
  using Vec = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const detail::ForwardScratch<T> w(a, scratch);
  const index_t blocks = (a.queries() + detail::kForwardQueries - 1) / detail::kForwardQueries;
  for (index_t task = begin; task < end; ++task) {
    const index_t b = task / blocks / a.heads();
    const index_t h = task / blocks % a.heads();
    const index_t first = task % blocks * detail::kForwardQueries;
    const index_t rows = (std::min)(detail::kForwardQueries, a.queries() - first);
    T* const to = map.data() + b * map.stride(0) + h * map.stride(1) + first * map.stride(2);
    detail::start_block(a, w, b, h, first, rows);
    detail::for_each_tile(a, w, b, h, first + rows,
                          [&](index_t j0, index_t keys, const bool* keep) {
                            detail::row_groups(rows, [&](auto group, index_t i) {
                              constexpr index_t count = group();
                              const detail::GroupLimits<count> limits(a, first + i, j0, keys);
                              if (limits.most == 0) return;
                              T shrink[static_cast<std::size_t>(count)];
                              detail::group_scores<count>(a, w, limits, keep, i, shrink);
                              for (index_t r = 0; r < count; ++r) {
                                T* const s = w.s + r * w.s_stride;
                                std::copy_n(s, limits.limit[r], to + (i + r) * map.stride(2) + j0);
                                detail::powers(s, detail::round_up(limits.limit[r], lanes),
                                               w.max[i + r], shrink[r], w.sum + (i + r) * lanes);
                              }
                            });
                          });
    for (index_t i = 0; i < rows; ++i) {
      T* const row = to + i * map.stride(2);
      const index_t seen = a.limit(first + i);
      const Vec max(w.max[i] == -std::numeric_limits<T>::infinity() ? T{0} : w.max[i]);
      const Vec normaliser(detail::reciprocal_of_sum(w.sum + i * lanes));
      simd::transform(
          seen, row,
          [&](const Vec& s) { return detail::exp2_nonpositive<T>(s - max) * normaliser; }, row);
      std::fill(row + seen, row + a.keys(), T{0});
      if (a.drop_below != 0)
        detail::drop(a, (b * a.heads() + h) * a.queries() + first + i, 0, row, seen);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::attention_weights_forward);
