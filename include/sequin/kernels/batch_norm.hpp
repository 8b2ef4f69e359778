/// Normalisation of columns over all rows, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>
#include <cmath>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// Columns that are summed side by side, in double.
inline constexpr index_t kSumColumns = 256;

/// f(first column, width) for blocks of at most kSumColumns.
template <class F>
void in_column_blocks(index_t begin, index_t end, F&& f) {
  for (index_t first = begin; first < end; first += kSumColumns)
    f(first, (std::min)(kSumColumns, end - first));
}

}  // namespace detail

/// Mean and biased variance (two passes) of columns [begin, end) of x (rows, n), rows >= 1.
/// Real-time safe.
template <class T>
void column_moments(const T* x, index_t rows, index_t n, index_t begin, index_t end, T* mean,
                    T* variance) {
  const auto count = static_cast<double>(rows);
  detail::in_column_blocks(begin, end, [&](index_t first, index_t width) {
    double total[detail::kSumColumns] = {};
    double squares[detail::kSumColumns] = {};
    for (index_t r = 0; r < rows; ++r)
      for (index_t j = 0; j < width; ++j) total[j] += static_cast<double>(x[r * n + first + j]);
    for (index_t j = 0; j < width; ++j) total[j] /= count;
    for (index_t r = 0; r < rows; ++r)
      for (index_t j = 0; j < width; ++j) {
        const double d = static_cast<double>(x[r * n + first + j]) - total[j];
        squares[j] += d * d;
      }
    for (index_t j = 0; j < width; ++j) {
      mean[first + j] = static_cast<T>(total[j]);
      variance[first + j] = static_cast<T>(squares[j] / count);
    }
  });
}

/// y = (x - mean) rstd weight + bias, column by column, for rows of n values. Real-time safe.
template <class T>
void batch_norm_forward(const T* x, const T* mean, const T* rstd, const T* weight, const T* bias,
                        index_t rows, index_t n, T* y) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r)
    simd::transform<T>(
        n, y + r * n,
        [](const V& v, const V& m, const V& s, const V& w, const V& b) {
          return simd::fma<T>((v - m) * s, w, b);
        },
        x + r * n, mean, rstd, weight, bias);
}

/// dweight = sum of dy h and dbias = sum of dy with h = (x - mean) rstd, columns [begin, end).
template <class T>
void batch_norm_backward_weights(const T* x, const T* mean, const T* rstd, const T* dy,
                                 index_t rows, index_t n, index_t begin, index_t end, T* dweight,
                                 T* dbias) {
  detail::in_column_blocks(begin, end, [&](index_t first, index_t width) {
    double products[detail::kSumColumns] = {};
    double total[detail::kSumColumns] = {};
    for (index_t r = 0; r < rows; ++r)
      for (index_t j = 0; j < width; ++j) {
        const index_t c = first + j;
        const auto d = static_cast<double>(dy[r * n + c]);
        products[j] += d * static_cast<double>((x[r * n + c] - mean[c]) * rstd[c]);
        total[j] += d;
      }
    for (index_t j = 0; j < width; ++j) {
      dweight[first + j] = static_cast<T>(products[j]);
      dbias[first + j] = static_cast<T>(total[j]);
    }
  });
}

/// dx given what batch_norm_backward_weights gave for all `count` rows of the batch; count 0: mean
/// and rstd did not come from x. dx = weight rstd (dy - dbias / count - h dweight / count).
template <class T>
void batch_norm_backward(const T* x, const T* mean, const T* rstd, const T* weight,
                         const T* dweight, const T* dbias, index_t count, const T* dy, index_t rows,
                         index_t n, T* dx) {
  using V = simd::Vec<T>;
  const V share(count == 0 ? T{0} : T{1} / static_cast<T>(count));
  for (index_t r = 0; r < rows; ++r)
    if (count == 0)
      simd::transform<T>(
          n, dx + r * n, [](const V& d, const V& s, const V& w) { return d * (s * w); }, dy + r * n,
          rstd, weight);
    else
      simd::transform<T>(
          n, dx + r * n,
          [&](const V& d, const V& v, const V& m, const V& s, const V& w, const V& dw,
              const V& db) { return s * w * (d - share * (db + (v - m) * s * dw)); },
          dy + r * n, x + r * n, mean, rstd, weight, dweight, dbias);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::column_moments);
SEQUIN_INSTANTIATE(kernels::batch_norm_forward);
SEQUIN_INSTANTIATE(kernels::batch_norm_backward_weights);
SEQUIN_INSTANTIATE(kernels::batch_norm_backward);
