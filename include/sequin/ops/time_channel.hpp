/// Swaps time-major [B, T, E] and channel-major [B, E, T] tensors.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/lane_transpose.hpp"

namespace sequin::inline SEQUIN_ABI {

/// y[b, j, i] = x[b, i, j]: from the library's time-major layout to the channel-major one of the
/// official functions, or back. Recorded. Copies.
template <Scalar T>
Tensor<T, 3> swap_time_channels(const Tensor<T, 3>& x) {
  const Shape<3> shape{x.extent(0), x.extent(2), x.extent(1)};
  auto y = Tensor<T, 3>::empty(shape);
  const index_t n = x.extent(1) * x.extent(2);
  const T* const from = x.data();
  T* const to = y.data();
  parallel_for(x.extent(0), 1, [=](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b)
      kernels::transpose(from + b * n, shape[1], shape[2], shape[1], to + b * n, shape[2]);
  });
  if (Recorder* tape = recording(x)) {
    tape->push([xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, swap_time_channels(dy));
    });
  }
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(swap_time_channels);
