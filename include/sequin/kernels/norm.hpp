/// LayerNorm and RMSNorm of rows, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/row_groups.hpp"
#include "sequin/kernels/row_sum.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI::kernels {

/// Rows of `n` values: y = (x - mean) * rstd * weight + bias, mean and rstd of each row returned
/// when asked for. weight and bias may be nullptr. The variance is taken about the mean (two
/// passes). y may be x. Real-time safe.
template <class T>
void layer_norm_forward(const T* x, const T* weight, const T* bias, T eps, index_t rows, index_t n,
                        T* y, T* mean_out, T* rstd_out) {
  using V = simd::Vec<T>;
  const index_t group = detail::row_group(n);
  // Lanes beyond the row must not count: they are handled apart.
  const index_t whole = n / simd::kLanes<T> * simd::kLanes<T>;
  T mean[detail::kRowGroup], rstd[detail::kRowGroup];
  for (index_t first = 0; first < rows; first += group) {
    const index_t count = (std::min)(group, rows - first);
    for (index_t r = 0; r < count; ++r)
      mean[r] = detail::sum_of<T>(
                    n, [](const V& v) { return v; }, x + (first + r) * n) /
                static_cast<T>(n);
    for (index_t r = 0; r < count; ++r) {
      const T* const from = x + (first + r) * n;
      const V m(mean[r]);
      T squares = detail::sum_of<T>(
          whole, [&](const V& v) { return (v - m) * (v - m); }, from);
      for (index_t i = whole; i < n; ++i) squares += (from[i] - mean[r]) * (from[i] - mean[r]);
      rstd[r] = T{1} / std::sqrt(squares / static_cast<T>(n) + eps);
    }
    for (index_t r = 0; r < count; ++r) {
      const T* const from = x + (first + r) * n;
      const T* const next = detail::row_ahead(from, group, n);
      T* const to = y + (first + r) * n;
      const V m(mean[r]), s(rstd[r]);
      if (weight != nullptr && bias != nullptr) {
        detail::write_row<T>(
            n, next, to,
            [&](const V& v, const V& w, const V& b) { return simd::fma<T>((v - m) * s, w, b); },
            from, weight, bias);
      } else if (weight != nullptr) {
        detail::write_row<T>(
            n, next, to, [&](const V& v, const V& w) { return (v - m) * s * w; }, from, weight);
      } else {
        detail::write_row<T>(
            n, next, to, [&](const V& v) { return (v - m) * s; }, from);
        if (bias != nullptr)
          simd::transform<T>(
              n, to, [](const V& v, const V& b) { return v + b; }, to, bias);
      }
    }
    if (mean_out != nullptr) std::copy_n(mean, count, mean_out + first);
    if (rstd_out != nullptr) std::copy_n(rstd, count, rstd_out + first);
  }
}

/// dx of rows, given their mean and rstd: with h = (x - mean) rstd and e = dy * weight,
/// dx = rstd (e - mean(e) - h mean(e h)).
template <class T>
void layer_norm_backward(const T* x, const T* weight, const T* mean, const T* rstd, const T* dy,
                         index_t rows, index_t n, T* dx) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, x += n, dy += n, dx += n) {
    const V m(mean[r]), s(rstd[r]);
    T sum_e, sum_eh;
    // dy is 0 in the lanes beyond the row.
    if (weight != nullptr) {
      sum_e = detail::sum_of<T>(
          n, [](const V& d, const V& w) { return d * w; }, dy, weight);
      sum_eh = detail::sum_of<T>(
          n, [&](const V& d, const V& w, const V& v) { return d * w * ((v - m) * s); }, dy, weight,
          x);
    } else {
      sum_e = detail::sum_of<T>(
          n, [](const V& d) { return d; }, dy);
      sum_eh = detail::sum_of<T>(
          n, [&](const V& d, const V& v) { return d * ((v - m) * s); }, dy, x);
    }
    const V a(sum_e / static_cast<T>(n)), b(sum_eh / static_cast<T>(n));
    const auto combine = [&](const V& e, const V& v) { return s * (e - a - (v - m) * s * b); };
    if (weight != nullptr) {
      simd::transform<T>(
          n, dx, [&](const V& d, const V& w, const V& v) { return combine(d * w, v); }, dy, weight,
          x);
    } else {
      simd::transform<T>(n, dx, combine, dy, x);
    }
  }
}

/// Columns [begin, end) of dweight = sum over rows of dy * h and dbias = sum of dy; either may be
/// nullptr. In row order.
template <class T>
void layer_norm_backward_weights(const T* x, const T* mean, const T* rstd, const T* dy,
                                 index_t rows, index_t n, index_t begin, index_t end, T* dweight,
                                 T* dbias) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, x += n, dy += n) {
    if (dweight != nullptr) {
      const V m(mean == nullptr ? T{0} : mean[r]), s(rstd[r]);
      simd::transform<T>(
          end - begin, dweight + begin,
          [&](const V& sum, const V& d, const V& v) { return simd::fma<T>(d, (v - m) * s, sum); },
          dweight + begin, dy + begin, x + begin);
    }
    if (dbias != nullptr)
      simd::transform<T>(
          end - begin, dbias + begin, [](const V& sum, const V& d) { return sum + d; },
          dbias + begin, dy + begin);
  }
}

/// Rows of `n` values: y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps). y may be x.
/// Real-time safe.
template <class T>
void rms_norm_forward(const T* x, const T* weight, T eps, index_t rows, index_t n, T* y,
                      T* rstd_out) {
  using V = simd::Vec<T>;
  const index_t group = detail::row_group(n);
  T rstd[detail::kRowGroup];
  for (index_t first = 0; first < rows; first += group) {
    const index_t count = (std::min)(group, rows - first);
    for (index_t r = 0; r < count; ++r) {
      const T squares = detail::sum_of<T>(
          n, [](const V& v) { return v * v; }, x + (first + r) * n);
      rstd[r] = T{1} / std::sqrt(squares / static_cast<T>(n) + eps);
    }
    for (index_t r = 0; r < count; ++r) {
      const T* const from = x + (first + r) * n;
      const T* const next = detail::row_ahead(from, group, n);
      T* const to = y + (first + r) * n;
      const V s(rstd[r]);
      if (weight != nullptr) {
        detail::write_row<T>(
            n, next, to, [&](const V& v, const V& w) { return v * s * w; }, from, weight);
      } else {
        detail::write_row<T>(
            n, next, to, [&](const V& v) { return v * s; }, from);
      }
    }
    if (rstd_out != nullptr) std::copy_n(rstd, count, rstd_out + first);
  }
}

/// dx of rows, given their rstd: with h = x rstd and e = dy * weight, dx = rstd (e - h mean(e h)).
template <class T>
void rms_norm_backward(const T* x, const T* weight, const T* rstd, const T* dy, index_t rows,
                       index_t n, T* dx) {
  using V = simd::Vec<T>;
  for (index_t r = 0; r < rows; ++r, x += n, dy += n, dx += n) {
    const V s(rstd[r]);
    const T sum = weight != nullptr
                      ? detail::sum_of<T>(
                            n, [&](const V& d, const V& w, const V& v) { return d * w * (v * s); },
                            dy, weight, x)
                      : detail::sum_of<T>(
                            n, [&](const V& d, const V& v) { return d * (v * s); }, dy, x);
    const V b(sum / static_cast<T>(n));
    if (weight != nullptr) {
      simd::transform<T>(
          n, dx, [&](const V& d, const V& w, const V& v) { return s * (d * w - v * s * b); }, dy,
          weight, x);
    } else {
      simd::transform<T>(
          n, dx, [&](const V& d, const V& v) { return s * (d - v * s * b); }, dy, x);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::layer_norm_forward);
SEQUIN_INSTANTIATE(kernels::layer_norm_backward);
SEQUIN_INSTANTIATE(kernels::layer_norm_backward_weights);
SEQUIN_INSTANTIATE(kernels::rms_norm_forward);
SEQUIN_INSTANTIATE(kernels::rms_norm_backward);
