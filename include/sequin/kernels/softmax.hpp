/// Softmax and its logarithm over rows, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/vmath.hpp"
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

/// What a row of softmax is shifted by and the sum of y = e^(x - shift). A NaN anywhere in the row
/// makes the sum NaN, whatever the shift then is.
template <class T>
struct SoftmaxRow {
  T shift, total;
  bool empty;  ///< -inf alone

  SoftmaxRow(const T* x, index_t n, T* y) {
    using V = simd::Vec<T>;
    const T top = largest_of(n, x);
    empty = top == -std::numeric_limits<T>::infinity();
    shift = empty ? T{0} : top;
    const V s(shift);
    simd::transform<T>(
        n, y, [&](const V& v) { return simd::exp_nonpositive<T>(v - s); }, x);
    total = row_total(y, n);
  }
};

}  // namespace detail

/// Rows of n values; y may be x. A row of -inf alone gives zeros. Real-time safe.
template <class T>
void softmax_forward(const T* x, index_t rows, index_t n, T* y) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, x += n, y += n) {
    const detail::SoftmaxRow<T> row(x, n, y);
    const V factor(row.empty ? row.total : T{1} / row.total);
    simd::transform<T>(
        n, y, [&](const V& v) { return v * factor; }, y);
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
    const detail::SoftmaxRow<T> row(x, n, y);
    const V shift(row.shift), log_total(row.empty ? row.total : std::log(row.total));
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
