/// Pooling over time by the maximum.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/max_pool1d.hpp"

namespace sequin::inline SEQUIN_ABI {

/// y[t] = max of x[t stride - padding + k], 0 <= k < kernel, what lies outside being -inf:
/// x (B, T, C) -> (B, (T + 2 padding - kernel) / stride + 1, C). torch.nn.functional.max_pool1d,
/// time-major; the gradient goes to the first maximum, as there, and NaN is the largest.
/// Throws ConfigError unless 0 <= padding <= kernel / 2, ShapeError when x is too short.
template <Scalar T>
Tensor<T, 3> max_pool1d(const Tensor<T, 3>& x, index_t kernel, index_t stride, index_t padding) {
  if (kernel < 1 || stride < 1 || padding < 0 || padding > kernel / 2)
    throw ConfigError("max_pool1d: kernel is " + std::to_string(kernel) + ", stride " +
                      std::to_string(stride) + " and padding " + std::to_string(padding) +
                      ", expected >= 1, >= 1 and 0 to kernel / 2");
  const index_t length = x.extent(1);
  if (length < 1 || length + 2 * padding < kernel || length > 0x7fffffff)
    throw ShapeError("max_pool1d: x is " + to_string(x.shape()) + ", expected [B, T >= " +
                     std::to_string((std::max)(index_t{1}, kernel - 2 * padding)) + ", C]");
  const index_t batch = x.extent(0);
  const index_t channels = x.extent(2);
  const index_t steps = (length + 2 * padding - kernel) / stride + 1;
  auto y = Tensor<T, 3>::empty({batch, steps, channels});
  auto which = Tensor<std::int32_t, 3>::empty(y.shape());
  T* const to = y.data();
  std::int32_t* const at = which.data();
  const index_t grain = 8192 / (steps * channels + 1) + 1;
  parallel_for(batch, grain, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b)
      kernels::max_pool1d_forward(x.data() + b * length * channels, length, channels, kernel,
                                  stride, padding, index_t{0}, steps, to + b * steps * channels,
                                  at + b * steps * channels);
  });
  if (Recorder* tape = recording(x))
    tape->push([which, grain, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, 3> dx(xv.shape);
      T* const out = dx.data();
      const index_t in_size = xv.shape[1] * xv.shape[2];
      const index_t out_size = dy.extent(1) * dy.extent(2);
      parallel_for(xv.shape[0], grain, [&](index_t begin, index_t end) {
        for (index_t b = begin; b < end; ++b)
          kernels::max_pool1d_backward(dy.data() + b * out_size, which.data() + b * out_size,
                                       dy.extent(1), dy.extent(2), out + b * in_size);
      });
      g.add(xv, dx);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(max_pool1d);
