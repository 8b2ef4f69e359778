/// Softmax and its logarithm over rows, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/row_groups.hpp"
#include "sequin/kernels/row_sum.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// The sum of n values; lanes are added in a fixed order.
template <class T>
T row_total(const T* x, index_t n) {
  return sum_of<T>(
      n, [](const simd::Vec<T>& v) { return v; }, x);
}

/// What rows of softmax are shifted by and the sums of y = e^(x - shift). A NaN anywhere in a row
/// makes its sum NaN, whatever the shift then is.
template <class T>
struct SoftmaxRows {
  T shift[kRowGroup], total[kRowGroup];
  bool empty[kRowGroup];  ///< -inf alone

  /// `count` rows of a group of `group`; the rows after them come near.
  SoftmaxRows(const T* x, index_t count, index_t group, index_t n, T* y) {
    using V = simd::Vec<T>;
    for (index_t r = 0; r < count; ++r) {
      const T top = largest_of(n, x + r * n);
      empty[r] = top == -std::numeric_limits<T>::infinity();
      shift[r] = empty[r] ? T{0} : top;
    }
    for (index_t r = 0; r < count; ++r) {
      const V s(shift[r]);
      write_row<T>(
          n, x + (r + group) * n, y + r * n,
          [&](const V& v) { return simd::exp_nonpositive<T>(v - s); }, x + r * n);
    }
    for (index_t r = 0; r < count; ++r) total[r] = row_total(y + r * n, n);
  }
};

}  // namespace detail

/// Rows of n values; y may be x. A row of -inf alone gives zeros. Real-time safe.
template <class T>
void softmax_forward(const T* x, index_t rows, index_t n, T* y) {
  using V = simd::Vec<T>;
  // Two at least: exponentials, not memory, decide, and a sum alone is waited for.
  const index_t group = (std::max)(index_t{2}, detail::row_group(n));
  for (index_t first = 0; first < rows; first += group, x += group * n, y += group * n) {
    const index_t count = (std::min)(group, rows - first);
    const detail::SoftmaxRows<T> sums(x, count, group, n, y);
    for (index_t r = 0; r < count; ++r) {
      const V factor(sums.empty[r] ? sums.total[r] : T{1} / sums.total[r]);
      simd::transform<T>(
          n, y + r * n, [&](const V& v) { return v * factor; }, y + r * n);
    }
  }
}

/// dx = y (dy - sum(y dy)).
template <class T>
void softmax_backward(const T* y, const T* dy, index_t rows, index_t n, T* dx) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    const V s(detail::sum_of<T>(
        n, [](const V& a, const V& b) { return a * b; }, y, dy));
    simd::transform<T>(
        n, dx, [&](const V& a, const V& b) { return a * (b - s); }, y, dy);
  }
}

/// y = x - max - log(sum(e^(x - max))). A row of -inf alone stays so. Real-time safe.
template <class T>
void log_softmax_forward(const T* x, index_t rows, index_t n, T* y) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, x += n, y += n) {
    const detail::SoftmaxRows<T> row(x, 1, 1, n, y);
    const V shift(row.shift[0]), log_total(row.empty[0] ? row.total[0] : std::log(row.total[0]));
    simd::transform<T>(
        n, y, [&](const V& v) { return v - shift - log_total; }, x);
  }
}

/// dx = dy - e^y sum(dy).
template <class T>
void log_softmax_backward(const T* y, const T* dy, index_t rows, index_t n, T* dx) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    const V s(detail::row_total(dy, n));
    simd::transform<T>(
        n, dx, [&](const V& a, const V& b) { return b - simd::exp_nonpositive<T>(a) * s; }, y, dy);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::softmax_forward);
SEQUIN_INSTANTIATE(kernels::softmax_backward);
SEQUIN_INSTANTIATE(kernels::log_softmax_forward);
SEQUIN_INSTANTIATE(kernels::log_softmax_backward);
