/// Elementwise arithmetic of two arrays that broadcast against each other.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>
#include <array>

namespace sequin::inline SEQUIN_ABI::kernels {

/// At most this many axes remain after neighbours that broadcast alike were joined.
inline constexpr std::size_t kMaxAxes = 8;

/// Two operands on a common index space; a stride of 0 repeats. The last axis is last.
struct BroadcastPlan {
  std::size_t rank = 0;
  std::array<index_t, kMaxAxes> extent{}, a_stride{}, b_stride{};

  /// Adds an axis inside the ones there are, joined with the last where memory allows.
  void add_axis(index_t n, index_t a, index_t b) noexcept {
    if (n == 1) return;
    if (rank > 0) {
      const std::size_t last = rank - 1;
      if (a_stride[last] == a * n && b_stride[last] == b * n) {
        extent[last] *= n;
        a_stride[last] = a;
        b_stride[last] = b;
        return;
      }
    }
    extent[rank] = n;
    a_stride[rank] = a;
    b_stride[rank] = b;
    ++rank;
  }

  /// Indices of all axes but the last.
  index_t rows() const noexcept {
    index_t n = 1;
    for (std::size_t i = 0; i + 1 < rank; ++i) n *= extent[i];
    return n;
  }
  index_t columns() const noexcept { return rank == 0 ? 1 : extent[rank - 1]; }

  /// Where row `r` of each operand begins.
  void row_offsets(index_t r, index_t& a, index_t& b) const noexcept {
    a = b = 0;
    for (std::size_t i = rank == 0 ? 0 : rank - 1; i-- > 0;) {
      const index_t at = r % extent[i];
      r /= extent[i];
      a += at * a_stride[i];
      b += at * b_stride[i];
    }
  }
};

namespace detail {

/// The operand of a row of a plan, to be read like a row of values.
template <class T>
struct RowOperand {
  const T* at;
  index_t step;  ///< 0: a register full of the one value that repeats
  alignas(64) T repeated[static_cast<std::size_t>(simd::kLanes<T>)];

  RowOperand(const T* values, index_t stride) : at(values), step(stride) {
    if (stride != 0) return;
    simd::store<T>(repeated, simd::set1<T>(*values));
    at = repeated;
  }
};

}  // namespace detail

/// out[r, j] = F{}(a, b) for rows [begin, end) of the plan; out is contiguous. F, which keeps no
/// state, takes registers. Real-time safe.
template <class T, class F>
void broadcast_rows(const BroadcastPlan& plan, const T* a, const T* b, T* out, index_t begin,
                    index_t end) {
  constexpr F f{};
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t n = plan.columns();
  const index_t sa = plan.rank == 0 ? 1 : plan.a_stride[plan.rank - 1];
  const index_t sb = plan.rank == 0 ? 1 : plan.b_stride[plan.rank - 1];
  for (index_t r = begin; r < end; ++r) {
    index_t at_a, at_b;
    plan.row_offsets(r, at_a, at_b);
    const detail::RowOperand<T> ra(a + at_a, sa), rb(b + at_b, sb);
    T* const to = out + r * n;
    index_t i = 0;
    for (; i + lanes <= n; i += lanes)
      simd::store<T>(to + i,
                     f(simd::load<T>(ra.at + i * ra.step), simd::load<T>(rb.at + i * rb.step)));
    if (i < n)
      simd::store_partial<T>(to + i,
                             f(simd::load_partial<T>(ra.at + i * ra.step, n - i),
                               simd::load_partial<T>(rb.at + i * rb.step, n - i)),
                             n - i);
  }
}

/// sum[...] += x over the axes that b repeats: plan's `a` is x, contiguous, `b` the sum, in double
/// as rows may be many and long. In the order of x. Real-time safe.
template <class T>
void reduce_broadcast(const BroadcastPlan& plan, const T* x, double* sum) {
  const index_t n = plan.columns();
  const index_t stride = plan.rank == 0 ? 1 : plan.b_stride[plan.rank - 1];
  for (index_t r = 0; r < plan.rows(); ++r) {
    index_t at_x, at_sum;
    plan.row_offsets(r, at_x, at_sum);
    const T* const px = x + at_x;
    double* const ps = sum + at_sum;
    if (stride == 0) {
      double total = 0;
      for (index_t j = 0; j < n; ++j) total += static_cast<double>(px[j]);
      *ps += total;
    } else {
      for (index_t j = 0; j < n; ++j) ps[j] += static_cast<double>(px[j]);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::reduce_broadcast);
