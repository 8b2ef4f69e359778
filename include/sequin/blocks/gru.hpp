/// The gated recurrent unit: layers, directions, whole sequences and single steps.
#pragma once

#include "sequin/blocks/recurrent.hpp"
#include "sequin/ops/gru.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What a Gru remembers of B sequences. A copy is independent.
template <Scalar T>
struct GruState : StreamState<GruState<T>> {
  /// (B, H) for each layer and direction, in the order of PyTorch's h_0.
  std::vector<StateTensor<T, 2>> h;
  bool turned = false;  ///< from which end the next step reads the weights; no result depends on it

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensors("h", s.h...);
  }
};

/// `torch.nn.GRU` with batch_first; Cho et al., "Learning Phrase Representations using RNN
/// Encoder-Decoder for Statistical Machine Translation", arXiv 1406.1078, with the reset gate after
/// the product as there.
///
///     Gru<float> block({.input_size = 1, .hidden_size = 32});
///     prepare(block);
///     auto state = block.initial_state(1);
///     block.step({&sample, 1}, state, output);
template <Scalar T>
class Gru : public detail::RecurrentLayers<T, kernels::kGruGates> {
 public:
  using State = GruState<T>;

  Gru() = default;
  /// Throws ConfigError.
  explicit Gru(const RecurrentConfig& config)
      : detail::RecurrentLayers<T, kernels::kGruGates>("Gru", config) {}

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.h = this->zero_states(batch);
    return state;
  }

  /// x (B, T, I) -> (B, T, H), or (B, T, 2 H) with both directions, any T >= 0. With a state, the
  /// sequence continues from it and it becomes h_n: in one direction any cutting into calls gives
  /// the bits of one call. When something is recorded its tensors become new, tracked ones.
  /// Throws ShapeError. Real-time safe under an arena when prepared.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr,
                       const ForwardContext<T>& context = {}) const {
    if (state != nullptr) this->check_states("Gru", state->h.size());
    return probe(*this, this->through_layers(
                            x, context,
                            [&](const Tensor<T, 3>& from, const RecurrentParameters<T>& p,
                                const RecurrentOptions<T>& options, std::size_t i) {
                              Tensor<T, 2> none;
                              return gru(from, p, state == nullptr ? &none : &state->h[i], options);
                            }));
  }

  /// One step of every row: x (B, I) -> y (B, H), row by row, the bits of `forward`. Allocates
  /// nothing, throws nothing, takes no arena: the least there is between a sample and its answer.
  /// Returns false, with the state as it was, when a size is wrong, the block has two directions or
  /// is not prepared. y is no part of x or the state.
  bool step(std::span<const T> x, State& state, std::span<T> y) const noexcept {
    if (state.h.size() != this->cells.size() || state.h.empty()) return false;
    const index_t hidden = this->config().hidden_size;
    const bool turned = state.turned;
    const bool done = this->step_through(
        x, state.h.front().extent(0), y,
        [&](const kernels::RecurrentWeights<T>& w, const T* from, std::size_t i, index_t b,
            T* out) {
          kernels::gru_step(w, from, std::as_const(state.h[i]).data() + b * hidden, out, turned);
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
