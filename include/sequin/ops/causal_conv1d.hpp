/// Depthwise causal convolution along time, recorded, with its state carried by the caller.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/causal_conv1d_backward.hpp"
#include "sequin/ops/time_channel.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What a causal convolution may have besides samples and weights.
template <Scalar T>
struct CausalConv1dOptions {
  Tensor<T, 1> bias{};  ///< [E]; undefined: none
  bool silu = false;    ///< the official activation "silu" or "swish"
};

template <Scalar T>
struct CausalConv1dResult {
  Tensor<T, 3> y;            ///< [B, T, E]
  Tensor<T, 3> final_state;  ///< [B, E, S]: the last S raw samples, oldest first
};

namespace detail {

template <Scalar T>
struct CausalConv1dCall {
  Tensor<T, 3> x;
  Tensor<T, 2> weight;  // [E, K], under the caller's name
  CausalConv1dOptions<T> options;
  Tensor<T, 3> state;  // [B, E, S]; undefined: zeros, S = K - 1

  index_t taps() const noexcept { return weight.extent(1); }
  index_t kept() const noexcept { return state.defined() ? state.extent(2) : taps() - 1; }
  Shape<3> state_shape() const noexcept { return {x.extent(0), x.extent(2), kept()}; }

  /// `rows` is the state with its axes swapped, needed where it is long or for backward.
  kernels::CausalConv1dInputs<T> inputs(const Tensor<T, 3>& rows) const {
    kernels::CausalConv1dInputs<T> in{
        x.view(), weight.view(), options.bias.data(), {}, options.silu};
    if (rows.defined()) {
      in.history = rows.view();
    } else if (state.defined() && kept() > 0) {
      const Shape<3> shape{x.extent(0), kept(), x.extent(2)};
      in.history = {state.data(), shape, Shape<3>{x.extent(2) * kept(), 1, kept()}};
      // One column is a row already, whatever its stride says.
      if (kept() == 1) in.history = {state.data(), shape};
    }
    return in;
  }
};

template <Scalar T>
void check_causal_conv1d(const CausalConv1dCall<T>& call) {
  const Shape<3>& x = call.x.shape();
  if (!call.x.defined()) throw ShapeError("causal_conv1d: x is undefined, expected [B, T, E]");
  const index_t taps = call.weight.defined() ? call.taps() : 0;
  if (taps < 1 || call.weight.extent(0) != x[2])
    fail<ShapeError>({"causal_conv1d: weight is ", call.weight.shape(), ", expected [E=", x[2],
                      ", K>=1] (x is ", x, ")"});
  if (call.options.bias.defined() && call.options.bias.extent(0) != x[2])
    fail<ShapeError>({"causal_conv1d: bias is ", call.options.bias.shape(), ", expected [E=", x[2],
                      "] (x is ", x, ")"});
  if (!call.state.defined()) return;
  const Shape<3>& s = call.state.shape();
  if (s[0] != x[0] || s[1] != x[2] || s[2] < taps - 1)
    fail<ShapeError>({"causal_conv1d: the state is ", s, ", expected [B=", x[0], ", E=", x[2],
                      ", S>=", taps - 1, "] (x is ", x, ")"});
}

template <Scalar T>
void causal_conv1d_backward(const CausalConv1dCall<T>& call, const Var<T, 3>& y,
                            const Var<T, 3>& last, Gradients& g) {
  auto dy = g.take(y);
  const auto dlast = g.take(last);
  if (!dy.defined() && !dlast.defined()) return;
  if (!dy.defined()) dy = Tensor<T, 3>(y.shape);
  const Tensor<T, 3> rows = call.state.defined() ? swap_time_channels(call.state) : Tensor<T, 3>();
  auto in = call.inputs(rows);
  const index_t items = kernels::causal_conv1d_items(in);
  const index_t channels = in.channels();
  Tensor<T, 3> da = dy;
  if (in.silu) {
    in.silu = false;
    da = Tensor<T, 3>::empty(dy.shape());
    const auto view = da.view();
    parallel_for(items, 1, [&](index_t begin, index_t end) {
      kernels::causal_conv1d_forward(in, view, begin, end);
    });
    T* const to = da.data();
    const T* const from = dy.data();
    parallel_for(da.size(), 4096, [=](index_t begin, index_t end) {
      kernels::causal_conv1d_backward_silu(static_cast<const T*>(to) + begin, from + begin,
                                           end - begin, to + begin);
    });
  }
  const View<const T, 3> da_view = std::as_const(da).view();
  if (g.wants(call.weight.var()) || g.wants(call.options.bias.var())) {
    auto dweight = Tensor<T, 2>(call.weight.shape());
    auto dbias = Tensor<T, 1>({channels});
    T* const to_weight = dweight.data();
    T* const to_bias = dbias.data();
    parallel_for(kernels::causal_conv1d_strips<T>(channels), 1, [&](index_t begin, index_t end) {
      kernels::causal_conv1d_backward_weight(in, da_view, to_weight, to_bias, begin, end);
    });
    g.add(call.weight.var(), dweight);
    if (call.options.bias.defined()) g.add(call.options.bias.var(), dbias);
  }
  const bool wants_state = call.state.defined() && g.wants(call.state.var());
  if (!g.wants(call.x.var()) && !wants_state) return;
  auto dx = Tensor<T, 3>::empty(call.x.shape());
  const auto dx_view = dx.view();
  parallel_for(items, 1, [&](index_t begin, index_t end) {
    kernels::causal_conv1d_backward_input(in, da_view, dx_view, begin, end);
  });
  const index_t kept = call.kept();
  Tensor<T, 3> dhistory({in.batch(), kept, channels});
  const auto dhistory_view = dhistory.view();
  if (wants_state)
    parallel_for(channels, 64, [&](index_t begin, index_t end) {
      kernels::causal_conv1d_backward_history(in, da_view, dhistory_view, begin, end);
    });
  if (dlast.defined()) {
    // The state after is the last S samples of the state before, then x.
    const index_t length = in.length();
    for (index_t b = 0; b < in.batch(); ++b)
      for (index_t e = 0; e < channels; ++e)
        for (index_t j = 0; j < kept; ++j) {
          const index_t t = length - kept + j;
          (t >= 0 ? dx_view(b, t, e) : dhistory_view(b, kept + t, e)) += dlast(b, e, j);
        }
  }
  g.add(call.x.var(), dx);
  if (wants_state) g.add(call.state.var(), swap_time_channels(dhistory));
}

/// y of a checked call; `next` [B, E, S] gets the state after. It may be the call's own state.
template <Scalar T>
Tensor<T, 3> run_causal_conv1d(const CausalConv1dCall<T>& call, Tensor<T, 3>& next,
                               Recorder* tape) {
  const bool long_state = call.state.defined() && call.kept() > kernels::kConvStateRows;
  const Tensor<T, 3> rows = long_state ? swap_time_channels(call.state.detach()) : Tensor<T, 3>();
  const auto in = call.inputs(rows);
  auto y = Tensor<T, 3>::empty(call.x.shape());
  if (y.size() > 0) {
    const auto y_view = y.view();
    parallel_for(kernels::causal_conv1d_items(in), 1, [&](index_t begin, index_t end) {
      kernels::causal_conv1d_forward(in, y_view, begin, end);
    });
    const auto next_view = next.view();
    parallel_for(in.channels(), 256, [&](index_t begin, index_t end) {
      kernels::causal_conv1d_advance(in.x, next_view, begin, end);
    });
  }
  if (tape != nullptr) {
    const auto yv = tape->track(y);
    const auto sv = tape->track(next);
    tape->push([call, yv, sv](auto& g) -> void { causal_conv1d_backward(call, yv, sv, g); });
  }
  return y;
}

/// [E, K] from the official [E, 1, K], under the same name for autograd.
template <Scalar T, std::size_t Rank>
Tensor<T, 2> conv_taps(const Tensor<T, Rank>& weight) {
  static_assert(Rank == 2 || Rank == 3, "weight is [E, K] or [E, 1, K]");
  if constexpr (Rank == 2) {
    return weight;
  } else {
    if (weight.extent(1) != 1)
      fail<ShapeError>({"causal_conv1d: weight is ", weight.shape(), ", expected [E, 1, K]"});
    auto taps = weight.reshaped(Shape<2>{weight.extent(0), weight.extent(2)});
    taps.set_var(weight.var().id);
    return taps;
  }
}

}  // namespace detail

/// Depthwise causal convolution (a correlation; the official `causal_conv1d_fn`, here time-major):
///
///     y[t] = act(bias + sum_k weight[k] xx[t + k]),  xx = the K - 1 samples before, then x
///
/// x [B, T, E]; weight [E, K] or [E, 1, K], any K >= 1; `initial_state` [B, E, S], S >= K - 1, the
/// raw samples before x, oldest first; undefined means K - 1 zeros. Differentiable in everything,
/// final state included. Any cut of a sequence into calls that pass the state on gives the same
/// bits. Throws ShapeError.
template <Scalar T, std::size_t WeightRank>
CausalConv1dResult<T> causal_conv1d(const Tensor<T, 3>& x, const Tensor<T, WeightRank>& weight,
                                    const CausalConv1dOptions<T>& options = {},
                                    const Tensor<T, 3>& initial_state = {}) {
  const detail::CausalConv1dCall<T> call{x, detail::conv_taps(weight), options, initial_state};
  detail::check_causal_conv1d(call);
  auto next = initial_state.defined() ? initial_state.clone() : Tensor<T, 3>(call.state_shape());
  Recorder* const tape = recording(x, weight, options.bias, initial_state);
  auto y = detail::run_causal_conv1d(call, next, tape);
  return {y, next};
}

/// The same with the state carried: `state` [B, E, S] is read and moved on (the official
/// `causal_conv1d_update`, any number of steps); undefined means K - 1 zeros. When nothing is
/// recorded its own elements are overwritten and y is all that is allocated (with S > 16 a copy of
/// the state too); when something is, it becomes a new, tracked tensor. Real-time safe under an
/// arena.
template <Scalar T, std::size_t WeightRank>
Tensor<T, 3> causal_conv1d(const Tensor<T, 3>& x, const Tensor<T, WeightRank>& weight,
                           const CausalConv1dOptions<T>& options, Tensor<T, 3>* state) {
  const detail::CausalConv1dCall<T> call{x, detail::conv_taps(weight), options, *state};
  detail::check_causal_conv1d(call);
  Recorder* const tape = recording(x, weight, options.bias, *state);
  if (!state->defined())
    *state = Tensor<T, 3>(call.state_shape());
  else if (tape != nullptr)
    *state = state->clone();
  return detail::run_causal_conv1d(call, *state, tape);
}

/// The official layout: x and y [B, E, T]. Transposes and calls the time-major form.
template <Scalar T, std::size_t WeightRank>
CausalConv1dResult<T> causal_conv1d_channel_major(const Tensor<T, 3>& x,
                                                  const Tensor<T, WeightRank>& weight,
                                                  const CausalConv1dOptions<T>& options = {},
                                                  const Tensor<T, 3>& initial_state = {}) {
  auto result = causal_conv1d(swap_time_channels(x), weight, options, initial_state);
  result.y = swap_time_channels(result.y);
  return result;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::check_causal_conv1d);
SEQUIN_INSTANTIATE(detail::run_causal_conv1d);
SEQUIN_INSTANTIATE(causal_conv1d_channel_major, 2);
SEQUIN_INSTANTIATE(causal_conv1d_channel_major, 3);
