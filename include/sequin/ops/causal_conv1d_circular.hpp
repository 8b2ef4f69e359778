/// The official circular form of the causal convolution's state.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/ops/causal_conv1d.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

/// Continues with x [B, T, E] from circular buffers, each row of the batch at its own place (the
/// official `causal_conv1d_update` with `cache_seqlens`): reads the K - 1 samples before position
/// seen[b] of `state` [B, E, S], S >= K - 1, all positions modulo S, and writes x from there on.
/// The caller adds T to `seen` [B], the number of samples seen so far. weight [E, K] or [E, 1, K].
/// Not differentiable. Throws ShapeError. Allocates y and K - 1 rows.
template <Scalar T, std::size_t WeightRank>
Tensor<T, 3> causal_conv1d_circular(const Tensor<T, 3>& x, const Tensor<T, WeightRank>& weight,
                                    const CausalConv1dOptions<T>& options, Tensor<T, 3>& state,
                                    const Tensor<std::int32_t, 1>& seen) {
  const detail::CausalConv1dCall<T> call{x, detail::conv_taps(weight), options, state};
  detail::check_causal_conv1d(call);
  if (!state.defined())
    throw ShapeError("causal_conv1d: the circular state is undefined, expected [B, E, S]");
  if (seen.extent(0) != x.extent(0))
    throw ShapeError("causal_conv1d: seen is " + to_string(seen.shape()) +
                     ", expected [B=" + std::to_string(x.extent(0)) + "]");
  const index_t channels = x.extent(2);
  const index_t kept = state.extent(2);
  const index_t before = call.taps() - 1;
  const auto place = [&](index_t b, index_t offset) {
    const index_t p = (static_cast<index_t>(seen.data()[b]) + offset) % kept;
    return p < 0 ? p + kept : p;
  };
  Tensor<T, 3> rows({x.extent(0), before, channels});
  T* const buffer = state.data();
  T* const history = rows.data();
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t k = 0; k < before; ++k)
      for (index_t e = 0; e < channels; ++e)
        history[(b * before + k) * channels + e] =
            buffer[(b * channels + e) * kept + place(b, k - before)];
  auto y = Tensor<T, 3>::empty(x.shape());
  if (y.size() == 0) return y;
  const auto in = call.inputs(rows);
  const auto y_view = y.view();
  parallel_for(kernels::causal_conv1d_items(in), 1, [&](index_t begin, index_t end) {
    kernels::causal_conv1d_forward(in, y_view, begin, end);
  });
  if (kept == 0) return y;
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < x.extent(1); ++t)
      for (index_t e = 0; e < channels; ++e)
        buffer[(b * channels + e) * kept + place(b, t)] =
            x.data()[(b * x.extent(1) + t) * channels + e];
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(causal_conv1d_circular, 2);
SEQUIN_INSTANTIATE(causal_conv1d_circular, 3);
