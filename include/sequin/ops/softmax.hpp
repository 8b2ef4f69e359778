/// Softmax over the last axis.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/softmax.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T, std::size_t Rank, class Forward, class Backward>
Tensor<T, Rank> row_map(const Tensor<T, Rank>& x, Forward forward, Backward backward) {
  static_assert(Rank >= 1);
  const index_t n = x.cols();
  const index_t rows = x.rows();
  auto y = Tensor<T, Rank>::empty(x.shape());
  T* const to = y.data();
  parallel_for(rows, 4096 / (n + 1) + 1, [&](index_t begin, index_t end) {
    forward(x.data() + begin * n, end - begin, n, to + begin * n);
  });
  if (Recorder* tape = recording(x)) {
    const auto yv = tape->track(y);
    tape->push([y, n, rows, backward, xv = x.var(), yv](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      auto dx = Tensor<T, Rank>::empty(y.shape());
      T* const out = dx.data();
      parallel_for(rows, 4096 / (n + 1) + 1, [&](index_t begin, index_t end) {
        backward(y.data() + begin * n, dy.data() + begin * n, end - begin, n, out + begin * n);
      });
      g.add(xv, dx);
    });
  }
  return y;
}

}  // namespace detail

/// e^x / sum(e^x) over the last axis. A row of -inf alone (everything masked) gives zeros; NaN in a
/// row makes the row NaN.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> softmax(const Tensor<T, Rank>& x) {
  return detail::row_map(x, kernels::softmax_forward<T>, kernels::softmax_backward<T>);
}

/// log(softmax(x)) over the last axis, without cancellation.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> log_softmax(const Tensor<T, Rank>& x) {
  return detail::row_map(x, kernels::log_softmax_forward<T>, kernels::log_softmax_backward<T>);
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(softmax);
SEQUIN_INSTANTIATE_RANKS(log_softmax);
