/// The depthwise convolution over time, padded on both sides, and its form with several inputs a
/// channel.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/depthwise_conv1d.hpp"

#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// How `depthwise_conv1d` walks over time.
struct DepthwiseConv1dOptions {
  index_t padding = 0;    ///< zeros at each end
  index_t dilation = 1;   ///< steps between taps
  bool residual = false;  ///< y = x + the convolution; needs M = 1 and padding that keeps T
};

namespace detail {

/// x (B, T, C M): channel c M + m of each step to plane m, and back.
template <Scalar T>
Tensor<T, 4> split_channels(const Tensor<T, 3>& x, index_t m) {
  const index_t rows = x.rows();
  const index_t c = x.cols() / m;
  auto planes = Tensor<T, 4>::empty({m, x.extent(0), x.extent(1), c});
  T* const to = planes.data();
  parallel_for(rows, 8192 / (x.cols() + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r)
      for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < c; ++j) to[(i * rows + r) * c + j] = x.data()[(r * c + j) * m + i];
  });
  return planes;
}

template <Scalar T>
Tensor<T, 3> join_channels(const Tensor<T, 4>& planes) {
  const index_t m = planes.extent(0);
  const index_t c = planes.extent(3);
  const index_t rows = planes.extent(1) * planes.extent(2);
  auto x = Tensor<T, 3>::empty({planes.extent(1), planes.extent(2), c * m});
  T* const to = x.data();
  parallel_for(rows, 8192 / (c * m + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r)
      for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < c; ++j)
          to[(r * c + j) * m + i] = planes.data()[(i * rows + r) * c + j];
  });
  return x;
}

/// Weights (C, M, K) as taps (M, K, C), in reverse order when asked for.
template <Scalar T>
Tensor<T, 3> depthwise_taps(const T* weight, index_t c, index_t m, index_t k, bool reversed) {
  auto taps = Tensor<T, 3>::empty({m, k, c});
  for (index_t j = 0; j < c; ++j)
    for (index_t i = 0; i < m; ++i)
      for (index_t t = 0; t < k; ++t)
        taps(i, reversed ? k - 1 - t : t, j) = weight[(j * m + i) * k + t];
  return taps;
}

/// y (B, length_out, C) (+)= the convolution of x (B, length_in, C) with w (K, C).
template <Scalar T>
void run_depthwise(const kernels::DepthwiseConv1d& p, index_t batch, const T* x, const T* w, T* y) {
  constexpr index_t block = 64;
  const index_t blocks = (p.length_out + block - 1) / block;
  const index_t grain = 65536 / (block * p.channels * p.taps + 1) + 1;
  parallel_for(batch * blocks, grain, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const index_t b = i / blocks;
      const index_t t = i % blocks * block;
      kernels::depthwise_conv1d_forward(p, x + b * p.length_in * p.channels, w,
                                        y + b * p.length_out * p.channels, t,
                                        (std::min)(t + block, p.length_out));
    }
  });
}

}  // namespace detail

/// y[b, t, c] = sum_m sum_k weight[c, m, k] x[b, t + k dilation - padding, c M + m], steps outside
/// of x being 0: torch's conv1d or conv2d (of height T and width 1) with C groups, time-major. x
/// (B, T, C M), weight (C, M, K) or (C, M, K, 1) -> (B, T + 2 padding - dilation (K - 1), C).
/// Throws ShapeError, ConfigError. Real-time safe under an arena.
template <Scalar T, std::size_t WeightRank>
Tensor<T, 3> depthwise_conv1d(const Tensor<T, 3>& x, const Tensor<T, WeightRank>& weight,
                              const DepthwiseConv1dOptions& options = {}) {
  static_assert(WeightRank >= 3);
  const index_t c = weight.extent(0);
  const index_t m = weight.extent(1);
  const index_t taps = weight.extent(2);
  if (options.padding < 0 || options.dilation < 1)
    throw ConfigError("depthwise_conv1d: padding is " + std::to_string(options.padding) +
                      " and dilation " + std::to_string(options.dilation) +
                      ", expected >= 0 and >= 1");
  if (weight.size() != c * m * taps || taps < 1 || m < 1)
    throw ShapeError("depthwise_conv1d: weight is " + to_string(weight.shape()) +
                     ", expected [C, M >= 1, K >= 1]");
  if (x.extent(2) != c * m)
    throw ShapeError("depthwise_conv1d: x is " + to_string(x.shape()) + ", expected [B, T, C*M=" +
                     std::to_string(c * m) + "] (from weight " + to_string(weight.shape()) + ")");
  kernels::DepthwiseConv1d p;
  p.length_in = x.extent(1);
  p.length_out = p.length_in + 2 * options.padding - options.dilation * (taps - 1);
  p.channels = c;
  p.taps = taps;
  p.dilation = options.dilation;
  p.padding = options.padding;
  p.residual = options.residual;
  if (p.length_out < 0)
    throw ShapeError("depthwise_conv1d: x is " + to_string(x.shape()) + ", expected [B, T >= " +
                     std::to_string(p.length_in - p.length_out) + ", C*M]");
  if (p.residual && (m != 1 || p.length_out != p.length_in))
    throw ShapeError("depthwise_conv1d: weight is " + to_string(weight.shape()) +
                     ", expected [C, 1, K] with dilation (K - 1) = 2 padding where x is added");
  const index_t batch = x.extent(0);
  const Tensor<T, 4> planes = m == 1 ? x.template reshaped<4>({1, batch, p.length_in, c}).detach()
                                     : detail::split_channels(x, m);
  const auto w = detail::depthwise_taps(weight.data(), c, m, taps, false);
  auto y = Tensor<T, 3>::empty({batch, p.length_out, c});
  T* const to = y.data();
  for (index_t i = 0; i < m; ++i) {
    p.accumulate = i > 0;
    detail::run_depthwise(p, batch, planes.data() + i * batch * p.length_in * c,
                          std::as_const(w).data() + i * taps * c, to);
  }
  Recorder* const tape = recording(x, weight);
  if (tape == nullptr) return y;
  tape->push([planes, weight, p, batch, m, xv = x.var(), wv = weight.var(),
              yv = tape->track(y)](auto& g) -> void {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    const index_t channels = p.channels;
    if (g.wants(xv)) {
      const auto flipped = detail::depthwise_taps(weight.data(), channels, m, p.taps, true);
      kernels::DepthwiseConv1d back = p;
      back.length_in = p.length_out;
      back.length_out = p.length_in;
      back.padding = (p.taps - 1) * p.dilation - p.padding;
      back.accumulate = false;
      auto dx = Tensor<T, 4>::empty({m, batch, p.length_in, channels});
      T* const out = dx.data();
      for (index_t i = 0; i < m; ++i)
        detail::run_depthwise(back, batch, dy.data(), flipped.data() + i * p.taps * channels,
                              out + i * batch * p.length_in * channels);
      g.add(xv, m == 1 ? dx.template reshaped<3>(xv.shape) : detail::join_channels(dx));
    }
    if (!g.wants(wv)) return;
    auto dw = Tensor<T, WeightRank>::empty(wv.shape);
    T* const out = dw.data();
    for (index_t i = 0; i < m; ++i) {
      std::vector<double> sums(static_cast<std::size_t>(p.taps * channels));
      parallel_for(channels, index_t{16}, [&](index_t begin, index_t end) {
        kernels::depthwise_conv1d_backward_weights(
            p, planes.data() + i * batch * p.length_in * channels, dy.data(), batch, begin, end,
            sums.data());
      });
      for (index_t j = 0; j < channels; ++j)
        for (index_t k = 0; k < p.taps; ++k)
          out[(j * m + i) * p.taps + k] =
              static_cast<T>(sums[static_cast<std::size_t>(k * channels + j)]);
    }
    g.add(wv, dw);
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(depthwise_conv1d, 3);
SEQUIN_INSTANTIATE(depthwise_conv1d, 4);
