/// ScaleNorm: rows divided by their length.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/row_sum.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The sum of a[i] b[i] in double.
template <Scalar T>
double dot_in_double(const T* a, const T* b, index_t n) {
  constexpr index_t kLanes = 8;
  double lanes[kLanes] = {};
  index_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (index_t j = 0; j < kLanes; ++j)
      lanes[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  for (; i < n; ++i) lanes[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace detail

/// x / max(|x| / sqrt(D), eps) * g over the last axis: x (..., D), g (1) -> (..., D). Where the
/// length is clamped the gradient takes it for a constant, in a row of zeros too. Throws
/// ShapeError. Nguyen and Salazar, arXiv 1910.05895, in the form of lucidrains' FLASH (arXiv
/// 2202.10447).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> scale_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& g, double eps = 1e-5) {
  using V = simd::Vec<T>;
  if (g.extent(0) != 1)
    throw ShapeError("scale_norm: g is " + to_string(g.shape()) + ", expected [1]");
  const index_t rows = x.rows();
  const index_t d = x.cols();
  const double root = 1 / std::sqrt(static_cast<double>(d));
  auto y = Tensor<T, Rank>::empty(x.shape());
  auto norm = Tensor<double, 1>::empty({rows});  // |x| / sqrt(D), not clamped
  T* const to = y.data();
  double* const norms = norm.data();
  const double gain = static_cast<double>(g.data()[0]);
  const index_t grain = 8192 / (d + 1) + 1;
  parallel_for(rows, grain, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const T* const from = x.data() + r * d;
      // In double: what a row is divided by is rounded once, not in each of four steps.
      norms[r] = std::sqrt(detail::dot_in_double(from, from, d)) * root;
      const V factor(static_cast<T>(gain / (norms[r] < eps ? eps : norms[r])));
      simd::transform<T>(
          d, to + r * d, [&](const V& v) { return v * factor; }, from);
    }
  });
  Recorder* const tape = recording(x, g);
  if (tape == nullptr) return y;
  tape->push([x, norm, gain, eps, rows, d, grain, xv = x.var(), gv = g.var(),
              yv = tape->track(y)](auto& gradients) -> void {
    const auto dy = gradients.take(yv);
    if (!dy.defined()) return;
    auto dots = Tensor<double, 1>::empty({rows});  // of x and dy
    auto dx = Tensor<T, Rank>::empty(x.shape());
    double* const dot = dots.data();
    T* const out = dx.data();
    const double* const lengths = norm.data();
    parallel_for(rows, grain, [&](index_t begin, index_t end) {
      for (index_t r = begin; r < end; ++r) {
        const T* const from = x.data() + r * d;
        const T* const up = dy.data() + r * d;
        // In double: the terms cancel nearly to nothing, and all rows' add up to one number.
        dot[r] = detail::dot_in_double(from, up, d);
        const bool clamped = lengths[r] < eps;
        const double n = clamped ? eps : lengths[r];
        const V factor(static_cast<T>(gain / n));
        const V pull(static_cast<T>(clamped ? 0.0 : dot[r] / (n * n * static_cast<double>(d))));
        simd::transform<T>(
            d, out + r * d, [&](const V& v, const V& u) { return factor * (u - v * pull); }, from,
            up);
      }
    });
    gradients.add(xv, dx);
    if (!gradients.wants(gv)) return;
    double total = 0;
    for (index_t r = 0; r < rows; ++r)
      total += std::as_const(dots).data()[r] / (std::max)(lengths[r], eps);
    gradients.add(gv, Tensor<T, 1>({1}, static_cast<T>(total)));
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(scale_norm);
