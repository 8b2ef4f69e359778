/// The largest entries of the last axis.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/top_k.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// What `top_k` found: (N, k) each, in descending order of value.
template <Scalar T>
struct TopK {
  Tensor<T, 2> values;
  Tensor<std::int64_t, 2> indices;
};

/// The k largest of each row of x (N, X) and where they are, as torch.topk; of equal ones the first
/// comes first, NaN counts as largest. The values pass gradients to where they came from.
/// Throws ShapeError unless 0 <= k <= X. Real-time safe under an arena.
template <Scalar T>
TopK<T> top_k(const Tensor<T, 2>& x, index_t k) {
  const index_t rows = x.extent(0);
  const index_t n = x.extent(1);
  if (k < 0 || k > n)
    throw ShapeError("top_k: k is " + std::to_string(k) + ", expected 0 to X=" + std::to_string(n) +
                     " (X from x " + to_string(x.shape()) + ")");
  TopK<T> top{Tensor<T, 2>::empty({rows, k}), Tensor<std::int64_t, 2>::empty({rows, k})};
  T* const values = top.values.data();
  std::int64_t* const indices = top.indices.data();
  parallel_for(rows, 4096 / (n * k + 1) + 1, [&](index_t begin, index_t end) {
    kernels::top_k_forward(x.data() + begin * n, end - begin, n, k, values + begin * k,
                           indices + begin * k);
  });
  if (Recorder* tape = recording(x))
    tape->push([at = top.indices, xv = x.var(), yv = tape->track(top.values)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, 2> dx(xv.shape);
      T* const to = dx.data();
      for (index_t i = 0; i < dy.size(); ++i)
        to[i / dy.extent(1) * xv.shape[1] + at.data()[i]] = dy.data()[i];
      g.add(xv, dx);
    });
  return top;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(top_k);
