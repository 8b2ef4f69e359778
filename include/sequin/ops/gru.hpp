/// The gated recurrent unit over time, recorded, with its state carried by the caller.
#pragma once

#include "sequin/kernels/gru_backward.hpp"
#include "sequin/ops/recurrent.hpp"

namespace sequin::inline SEQUIN_ABI {

template <Scalar T>
struct GruResult {
  Tensor<T, 3> y;           ///< (B, T, H): h of every step
  Tensor<T, 2> last_state;  ///< (B, H)
};

namespace detail {

template <Scalar T>
struct GruCall {
  Tensor<T, 3> x;
  RecurrentParameters<T> parameters;
  Tensor<T, 2> before;  // (B, H), under the caller's name
  bool reverse = false;
};

template <Scalar T>
void gru_backward(const GruCall<T>& call, const Tensor<T, 3>& y, const Tensor<T, 1>& kept,
                  const Var<T, 3>& yv, const Var<T, 2>& last, Gradients& g) {
  const auto dy = g.take(yv);
  auto dstate = own_gradient(g, last);
  const index_t batch = y.extent(0);
  const index_t hidden = y.extent(2);
  const Shape<2> shape{batch * y.extent(1), kernels::kGruGates * hidden};
  auto dx_gates = Tensor<T, 2>::empty(shape);
  auto dh_gates = Tensor<T, 2>::empty(shape);
  const Tensor<T, 1> panels = backward_panels(call.parameters.weight_hh);
  const kernels::GruGradients<T> k{
      dy.data(),     kept.data(),   y.data(),        call.before.data(),
      panels.data(), dstate.data(), dx_gates.data(), dh_gates.data(),
      y.extent(1),   hidden,        call.reverse};
  parallel_for(batch, index_t{1},
               [&](index_t begin, index_t end) { kernels::gru_backward(k, begin, end); });
  add_recurrent_gradients(g, call.x, call.parameters, states_before(y, call.before, call.reverse),
                          dx_gates, dh_gates);
  g.add(call.before.var(), dstate);
}

/// Runs a checked call; `state` holds h before and gets h after.
template <Scalar T>
Tensor<T, 3> run_gru(const GruCall<T>& call, const RecurrentOptions<T>& options,
                     Tensor<T, 2>& state, Recorder* tape) {
  PackedRecurrent<T> own;
  const auto& w =
      recurrent_weights("gru", kernels::kGruGates, call.parameters, options, tape != nullptr, own);
  const index_t batch = call.x.extent(0);
  const index_t length = call.x.extent(1);
  const index_t columns = kernels::recurrent_columns<T>(kernels::kGruGates, w.hidden_size);
  const Tensor<T, 2> gates = input_gates(call.x, w, columns);
  auto y = Tensor<T, 3>::empty({batch, length, w.hidden_size});
  Tensor<T, 1> kept, scratch;
  if (tape != nullptr) kept = Tensor<T, 1>::empty({y.size() * kernels::kGruKept});
  if (batch >= kernels::detail::kRecurrentGemmRows)
    scratch = Tensor<T, 1>::empty({batch * columns});
  const kernels::GruSequences<T> s{w,           gates.data(),   state.data(), y.data(),
                                   kept.data(), scratch.data(), length,       call.reverse};
  parallel_for(batch, index_t{1},
               [&](index_t begin, index_t end) { kernels::gru_forward(s, begin, end); });
  if (tape != nullptr) {
    const Tensor<T, 3> untracked = y;
    const auto yv = tape->track(y);
    const auto sv = tape->track(state);
    tape->push([call, untracked, kept, yv, sv](auto& g) -> void {
      gru_backward(call, untracked, kept, yv, sv, g);
    });
  }
  return y;
}

}  // namespace detail

/// h_t = n + z (h_{t-1} - n) with r, z, n as torch.nn.GRU has them (kernels/gru.hpp has the
/// formulas): one layer, one direction. x (B, T, I) -> y (B, T, H). `state` (B, H) holds h before
/// and after; undefined means zeros. When nothing is recorded its own elements are overwritten;
/// when something is, it becomes a new, tracked tensor. Differentiable in x, the state and every
/// parameter.
///
/// Any cut of a sequence into calls gives the same bits, and so does each row of a batch alone.
/// Throws ShapeError: "gru: weight_ih is [12, 5], expected [3H, I] = [12, 6] (x is ...)", and
/// ConfigError when the weights were given up (prepare_for_inference) and are to be trained.
/// Real-time safe under an arena with fresh packed parameters.
template <Scalar T>
Tensor<T, 3> gru(const Tensor<T, 3>& x, const RecurrentParameters<T>& parameters,
                 Tensor<T, 2>* state, const RecurrentOptions<T>& options = {}) {
  detail::check_recurrent("gru", kernels::kGruGates, x, parameters, *state);
  Recorder* const tape = recording(x, parameters.weight_ih, parameters.weight_hh,
                                   parameters.bias_ih, parameters.bias_hh, *state);
  if (!state->defined())
    *state = Tensor<T, 2>(Shape<2>{x.extent(0), parameters.weight_hh.extent(1)});
  detail::GruCall<T> call{x, parameters, {}, options.reverse};
  if (tape != nullptr) {
    call.before = *state;
    *state = state->clone();
  }
  return detail::run_gru(call, options, *state, tape);
}

/// The same, the state after returned instead. `initial_state` undefined means zeros.
template <Scalar T>
GruResult<T> gru(const Tensor<T, 3>& x, const RecurrentParameters<T>& parameters,
                 const Tensor<T, 2>& initial_state = {}, const RecurrentOptions<T>& options = {}) {
  detail::check_recurrent("gru", kernels::kGruGates, x, parameters, initial_state);
  Tensor<T, 2> state = initial_state;
  if (state.defined() && recording(x, parameters.weight_ih, parameters.weight_hh,
                                   parameters.bias_ih, parameters.bias_hh, state) == nullptr)
    state = state.clone();
  auto y = gru(x, parameters, &state, options);
  return {y, state};
}

}  // namespace sequin::inline SEQUIN_ABI
