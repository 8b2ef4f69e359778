/// ScaleNorm: rows divided by their length.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/row_sum.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

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
  const T root = static_cast<T>(1 / std::sqrt(static_cast<double>(d)));
  const T least = static_cast<T>(eps);
  auto y = Tensor<T, Rank>::empty(x.shape());
  auto norm = Tensor<T, 1>::empty({rows});  // |x| / sqrt(D), not clamped
  T* const to = y.data();
  T* const norms = norm.data();
  const T gain = g.data()[0];
  const index_t grain = 8192 / (d + 1) + 1;
  parallel_for(rows, grain, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const T* const from = x.data() + r * d;
      norms[r] = std::sqrt(kernels::detail::sum_of<T>(
                     d, [](const V& v) { return v * v; }, from)) *
                 root;
      const V factor(gain / (norms[r] < least ? least : norms[r]));
      simd::transform<T>(
          d, to + r * d, [&](const V& v) { return v * factor; }, from);
    }
  });
  Tape* const tape = recording(x, g);
  if (tape == nullptr) return y;
  tape->push([x, norm, gain, least, rows, d, grain, xv = x.var(), gv = g.var(),
              yv = tape->track(y)](Gradients& gradients) {
    const auto dy = gradients.take(yv);
    if (!dy.defined()) return;
    auto dots = Tensor<double, 1>::empty({rows});  // of x and dy
    auto dx = Tensor<T, Rank>::empty(x.shape());
    double* const dot = dots.data();
    T* const out = dx.data();
    const T* const lengths = norm.data();
    parallel_for(rows, grain, [&](index_t begin, index_t end) {
      for (index_t r = begin; r < end; ++r) {
        const T* const from = x.data() + r * d;
        const T* const up = dy.data() + r * d;
        // In double: the terms cancel nearly to nothing, and all rows' add up to one number.
        double product = 0;
        for (index_t i = 0; i < d; ++i)
          product += static_cast<double>(from[i]) * static_cast<double>(up[i]);
        dot[r] = product;
        const bool clamped = lengths[r] < least;
        const T n = clamped ? least : lengths[r];
        const V factor(gain / n);
        const V pull(clamped ? T{0} : static_cast<T>(dot[r]) / (n * n * static_cast<T>(d)));
        simd::transform<T>(
            d, out + r * d, [&](const V& v, const V& u) { return factor * (u - v * pull); }, from,
            up);
      }
    });
    gradients.add(xv, dx);
    if (!gradients.wants(gv)) return;
    double total = 0;
    for (index_t r = 0; r < rows; ++r)
      total += std::as_const(dots).data()[r] / static_cast<double>((std::max)(lengths[r], least));
    gradients.add(gv, Tensor<T, 1>({1}, static_cast<T>(total)));
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(scale_norm);
