/// The rectifier with a learned slope.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/column_sum.hpp"

#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// x where x >= 0, slope * x elsewhere: x (..., C), slope (1) for all or (C), one a channel.
/// torch.nn.PReLU on time-major data. Throws ShapeError. Real-time safe under an arena. He et al.,
/// arXiv 1502.01852.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> prelu(const Tensor<T, Rank>& x, const Tensor<T, 1>& slope) {
  using V = simd::Vec<T>;
  const index_t c = x.cols();
  const bool one = slope.extent(0) == 1;
  if (!one && slope.extent(0) != c)
    throw ShapeError("prelu: slope is " + to_string(slope.shape()) + ", expected [1] or [C=" +
                     std::to_string(c) + "] (C from x " + to_string(x.shape()) + ")");
  const auto bend = [](const V& v, const V& a, const V& d) {
    return simd::select<T>(v >= V(T{0}), d, a * d);
  };
  // f(x, slope) of d: the forward pass with d = x, the backward with d = dy.
  const auto run = [x, slope, c, one, bend](const T* d) {
    auto y = Tensor<T, Rank>::empty(x.shape());
    T* const to = y.data();
    const T* const from = x.data();
    const T* const a = slope.data();
    if (one) {
      const V s(a[0]);
      parallel_for(x.size(), index_t{16384}, [&](index_t begin, index_t end) {
        simd::transform<T>(
            end - begin, to + begin, [&](const V& v, const V& e) { return bend(v, s, e); },
            from + begin, d + begin);
      });
    } else {
      parallel_for(x.rows(), 16384 / (c + 1) + 1, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r)
          simd::transform<T>(
              c, to + r * c, [&](const V& v, const V& s, const V& e) { return bend(v, s, e); },
              from + r * c, a, d + r * c);
      });
    }
    return y;
  };
  auto y = run(x.data());
  if (Recorder* tape = recording(x, slope))
    tape->push([run, x, c, one, xv = x.var(), sv = slope.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      if (g.wants(xv)) g.add(xv, run(dy.data()));
      if (!g.wants(sv)) return;
      std::vector<double> sums(static_cast<std::size_t>(c));
      parallel_for(c, index_t{16}, [&](index_t begin, index_t end) {
        kernels::detail::for_columns<T>(begin, end, [&](index_t j, index_t width) {
          kernels::detail::column_sum<T>(
              x.rows(), c, width, sums.data() + j,
              [](const V& v, const V& d) { return simd::select<T>(v >= V(T{0}), V(T{0}), v * d); },
              x.data() + j, dy.data() + j);
        });
      });
      Tensor<T, 1> ds(sv.shape);
      if (one) {
        double total = 0;
        for (const double s : sums) total += s;
        ds(0) = static_cast<T>(total);
      } else {
        for (index_t j = 0; j < c; ++j) ds(j) = static_cast<T>(sums[static_cast<std::size_t>(j)]);
      }
      g.add(sv, ds);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(prelu);
