/// The long short-term memory: layers, directions, whole sequences and single steps.
#pragma once

#include "sequin/blocks/recurrent.hpp"
#include "sequin/ops/lstm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What an Lstm remembers of B sequences. A copy is independent.
template <Scalar T>
struct LstmState : StreamState<LstmState<T>> {
  /// (B, H) for each layer and direction, in the order of PyTorch's h_0 and c_0.
  std::vector<StateTensor<T, 2>> h, c;
  bool turned = false;  ///< from which end the next step reads the weights; no result depends on it

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensors("h", s.h...);
    v.tensors("c", s.c...);
  }
};

/// `torch.nn.LSTM` with batch_first and without projection (proj_size is 0); Hochreiter and
/// Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with the forget gate of
/// Gers, Schmidhuber and Cummins (2000).
template <Scalar T>
class Lstm : public detail::RecurrentLayers<T, kernels::kLstmGates> {
 public:
  using State = LstmState<T>;

  Lstm() = default;
  /// Throws ConfigError.
  explicit Lstm(const RecurrentConfig& config)
      : detail::RecurrentLayers<T, kernels::kLstmGates>("Lstm", config) {}

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.h = this->zero_states(batch);
    state.c = this->zero_states(batch);
    return state;
  }

  /// x (B, T, I) -> (B, T, H), or (B, T, 2 H) with both directions, any T >= 0. With a state, the
  /// sequence continues from it and it becomes h_n and c_n: in one direction any cutting into calls
  /// gives the bits of one call. When something is recorded its tensors become new, tracked ones.
  /// Throws ShapeError. Real-time safe under an arena when prepared.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr,
                       const ForwardContext<T>& context = {}) const {
    if (state != nullptr) {
      this->check_states("Lstm", state->h.size());
      this->check_states("Lstm", state->c.size());
    }
    return probe(*this,
                 this->through_layers(x, context,
                                      [&](const Tensor<T, 3>& from, const RecurrentParameters<T>& p,
                                          const RecurrentOptions<T>& options, std::size_t i) {
                                        LstmLayerState<T> one;
                                        if (state != nullptr) one = {state->h[i], state->c[i]};
                                        auto y = lstm(from, p, &one, options);
                                        if (state != nullptr) {
                                          state->h[i] = std::move(one.h);
                                          state->c[i] = std::move(one.c);
                                        }
                                        return y;
                                      }));
  }

  /// One step of every row: x (B, I) -> y (B, H), as Gru::step.
  bool step(std::span<const T> x, State& state, std::span<T> y) const noexcept {
    if (state.h.size() != this->cells.size() || state.c.size() != state.h.size() || state.h.empty())
      return false;
    const index_t hidden = this->config().hidden_size;
    const bool turned = state.turned;
    const bool done = this->step_through(
        x, state.h.front().extent(0), y,
        [&](const kernels::RecurrentWeights<T>& w, const T* from, std::size_t i, index_t b,
            T* out) {
          kernels::lstm_step(w, from, std::as_const(state.h[i]).data() + b * hidden,
                             state.c[i].data() + b * hidden, out, turned);
        },
        [&](std::size_t i, index_t b) { return state.h[i].data() + b * hidden; });
    if (done) state.turned = !turned;
    return done;
  }

  /// The same for Session, prepared or not; the result is the arena's.
  Tensor<T, 2> step(std::span<const T> x, State& state) const {
    const index_t batch = state.h.front().extent(0);
    auto y = Tensor<T, 2>::empty({batch, this->config().hidden_size});
    if (step(x, state, y.span())) return y;
    const auto given = Tensor<T, 3>({batch, 1, this->config().input_size}, x);
    return forward(given, &state).template reshaped<2>(y.shape());
  }
};

}  // namespace sequin::inline SEQUIN_ABI
