/// The feed-forward module of MossFormer with a convolution that sees the past alone.
#pragma once

#include "sequin/blocks/ff_conv.hpp"
#include "sequin/core/stream_state.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/ops/causal_conv1d.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What a CausalFFConv remembers of B sequences: the last K - 1 steps of z.
template <Scalar T>
struct CausalFFConvState : StreamState<CausalFFConvState<T>> {
  StateTensor<T, 3> tail;  ///< (B, E, K - 1), oldest first

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("tail", s.tail...);
  }
};

/// norm(C) -> linear C -> E -> SiLU = z; z + DW(z), DW a depthwise convolution of K taps of which
/// the last meets the current step. Ours: FFConvM, whose convolution is centred, made causal, and
/// without its dropout.
template <Scalar T>
class CausalFFConv : public FFConvParts<T> {
 public:
  using State = CausalFFConvState<T>;
  using FFConvParts<T>::conv_weight;

  CausalFFConv() = default;
  /// Throws ConfigError when `taps` is below 1.
  CausalFFConv(index_t in, index_t out, FFConvNorm norm, index_t taps)
      : FFConvParts<T>(in, out, norm) {
    if (taps < 1)
      throw ConfigError("CausalFFConv: taps is " + std::to_string(taps) + ", expected >= 1");
    conv_weight = Tensor<T, 3>({out, 1, taps});
  }

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.tail = Tensor<T, 3>({batch, conv_weight.extent(0), conv_weight.extent(2) - 1});
    return state;
  }
  StreamTiming timing() const noexcept { return {conv_weight.extent(2), 0, 0}; }

  /// x (B, T, C) -> (B, T, E). With a state, the sequence continues where the last call ended: any
  /// cutting into calls gives the bits of one call. Throws ShapeError. Real-time safe under an
  /// arena.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr) const {
    const Tensor<T, 3> z = this->activated(x);
    const CausalConv1dOptions<T> plain;
    return probe(*this,
                 z + (state == nullptr ? causal_conv1d(z, conv_weight, plain).y
                                       : causal_conv1d(z, conv_weight, plain, &state->tail)));
  }

  void visit(Visitor<T>& v) {
    this->visit_norm(v, "norm");
    v.child("linear", this->linear);
    v.parameter("conv.weight", conv_weight);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
