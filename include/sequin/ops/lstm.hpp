/// The long short-term memory over time, recorded, with its state carried by the caller.
#pragma once

#include "sequin/kernels/lstm_backward.hpp"
#include "sequin/ops/recurrent.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What an LSTM remembers: undefined tensors mean zeros.
template <Scalar T>
struct LstmLayerState {
  Tensor<T, 2> h;  ///< (B, H)
  Tensor<T, 2> c;  ///< (B, H)
};

template <Scalar T>
struct LstmResult {
  Tensor<T, 3> y;                ///< (B, T, H): h of every step
  LstmLayerState<T> last_state;  ///< h and c after the last
};

namespace detail {

template <Scalar T>
struct LstmCall {
  Tensor<T, 3> x;
  RecurrentParameters<T> parameters;
  LstmLayerState<T> before;  // under the caller's names
  bool reverse = false;
};

template <Scalar T>
void lstm_backward(const LstmCall<T>& call, const Tensor<T, 3>& y, const Tensor<T, 1>& kept,
                   const Var<T, 3>& yv, const Var<T, 2>& last_h, const Var<T, 2>& last_c,
                   Gradients& g) {
  const auto dy = g.take(yv);
  auto dstate = own_gradient(g, last_h);
  auto dcell = own_gradient(g, last_c);
  const index_t batch = y.extent(0);
  const index_t hidden = y.extent(2);
  auto dgates = Tensor<T, 2>::empty({batch * y.extent(1), kernels::kLstmGates * hidden});
  const Tensor<T, 1> panels = backward_panels(call.parameters.weight_hh);
  const kernels::LstmGradients<T> k{
      dy.data(),    kept.data(),   call.before.c.data(), panels.data(), dstate.data(),
      dcell.data(), dgates.data(), y.extent(1),          hidden,        call.reverse};
  parallel_for(batch, index_t{1},
               [&](index_t begin, index_t end) { kernels::lstm_backward(k, begin, end); });
  add_recurrent_gradients(g, call.x, call.parameters, states_before(y, call.before.h, call.reverse),
                          dgates, dgates);
  g.add(call.before.h.var(), dstate);
  g.add(call.before.c.var(), dcell);
}

/// Runs a checked call; `state` holds h and c before and gets those after.
template <Scalar T>
Tensor<T, 3> run_lstm(const LstmCall<T>& call, const RecurrentOptions<T>& options,
                      LstmLayerState<T>& state, Recorder* tape) {
  PackedRecurrent<T> own;
  const auto& w = recurrent_weights("lstm", kernels::kLstmGates, call.parameters, options,
                                    tape != nullptr, own);
  const index_t batch = call.x.extent(0);
  const index_t length = call.x.extent(1);
  const index_t columns = kernels::recurrent_columns<T>(kernels::kLstmGates, w.hidden_size);
  const Tensor<T, 2> gates = input_gates(call.x, w, columns);
  auto y = Tensor<T, 3>::empty({batch, length, w.hidden_size});
  Tensor<T, 1> kept, scratch;
  if (tape != nullptr) kept = Tensor<T, 1>::empty({y.size() * kernels::kLstmKept});
  if (batch >= kernels::detail::kRecurrentGemmRows)
    scratch = Tensor<T, 1>::empty({batch * columns});
  const kernels::LstmSequences<T> s{w,           gates.data(), state.h.data(), state.c.data(),
                                    y.data(),    kept.data(),  scratch.data(), length,
                                    call.reverse};
  parallel_for(batch, index_t{1},
               [&](index_t begin, index_t end) { kernels::lstm_forward(s, begin, end); });
  if (tape != nullptr) {
    const Tensor<T, 3> untracked = y;
    const auto yv = tape->track(y);
    const auto hv = tape->track(state.h);
    const auto cv = tape->track(state.c);
    tape->push([call, untracked, kept, yv, hv, cv](auto& g) -> void {
      lstm_backward(call, untracked, kept, yv, hv, cv, g);
    });
  }
  return y;
}

}  // namespace detail

/// c_t = f c_{t-1} + i g, h_t = o tanh(c_t) with the gates as torch.nn.LSTM has them
/// (kernels/lstm.hpp has the formulas): one layer, one direction, no projection. x (B, T, I) -> y
/// (B, T, H). The rest as of gru.
template <Scalar T>
Tensor<T, 3> lstm(const Tensor<T, 3>& x, const RecurrentParameters<T>& parameters,
                  LstmLayerState<T>* state, const RecurrentOptions<T>& options = {}) {
  detail::check_recurrent("lstm", kernels::kLstmGates, x, parameters, state->h, state->c);
  Recorder* const tape = recording(x, parameters.weight_ih, parameters.weight_hh,
                                   parameters.bias_ih, parameters.bias_hh, state->h, state->c);
  const Shape<2> shape{x.extent(0), parameters.weight_hh.extent(1)};
  if (!state->h.defined()) state->h = Tensor<T, 2>(shape);
  if (!state->c.defined()) state->c = Tensor<T, 2>(shape);
  detail::LstmCall<T> call{x, parameters, {}, options.reverse};
  if (tape != nullptr) {
    call.before = *state;
    *state = {state->h.clone(), state->c.clone()};
  }
  return detail::run_lstm(call, options, *state, tape);
}

/// The same, the state after returned instead.
template <Scalar T>
LstmResult<T> lstm(const Tensor<T, 3>& x, const RecurrentParameters<T>& parameters,
                   const LstmLayerState<T>& initial_state = {},
                   const RecurrentOptions<T>& options = {}) {
  detail::check_recurrent("lstm", kernels::kLstmGates, x, parameters, initial_state.h,
                          initial_state.c);
  LstmLayerState<T> state = initial_state;
  if (recording(x, parameters.weight_ih, parameters.weight_hh, parameters.bias_ih,
                parameters.bias_hh, state.h, state.c) == nullptr) {
    if (state.h.defined()) state.h = state.h.clone();
    if (state.c.defined()) state.c = state.c.clone();
  }
  auto y = lstm(x, parameters, &state, options);
  return {y, state};
}

}  // namespace sequin::inline SEQUIN_ABI
