/// The gated memory block of MossFormer2 in a causal form.
#pragma once

#include "sequin/blocks/causal_ff_conv.hpp"
#include "sequin/blocks/causal_fsmn.hpp"
#include "sequin/blocks/fsmn.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a CausalGatedFsmn.
struct CausalGatedFsmnConfig {
  index_t dim = 0;
  index_t inner_channels = 64;
  index_t lorder = 20;  ///< steps that the memory sees, the current one included
  index_t taps = 17;    ///< of the convolutions
};

/// What a CausalGatedFsmn remembers of B sequences.
template <Scalar T>
struct CausalGatedFsmnState : StreamState<CausalGatedFsmnState<T>> {
  CausalFFConvState<T> to_u, to_v;
  CausalFsmnState<T> fsmn;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.child("to_u", s.to_u...);
    v.child("to_v", s.to_v...);
    v.child("fsmn", s.fsmn...);
  }
};

/// x + conv2(norm2(b * a + r)), r = norm1(prelu(conv1 x)), a = fsmn(to_u r), b = to_v r. Ours: the
/// GatedFsmnBlock of MossFormer2 with causal convolutions and the one-sided memory of CausalFsmn.
template <Scalar T>
class CausalGatedFsmn : public GatedFsmnParts<T> {
 public:
  using State = CausalGatedFsmnState<T>;

  CausalFFConv<T> to_u, to_v;
  CausalFsmn<T> fsmn;

  CausalGatedFsmn() = default;
  /// Throws ConfigError.
  explicit CausalGatedFsmn(const CausalGatedFsmnConfig& c)
      : GatedFsmnParts<T>(checked(c).dim, c.inner_channels) {
    to_u = CausalFFConv<T>(c.inner_channels, c.inner_channels, FFConvNorm::layer_norm, c.taps);
    to_v = CausalFFConv<T>(c.inner_channels, c.inner_channels, FFConvNorm::layer_norm, c.taps);
    fsmn = CausalFsmn<T>(CausalFsmnConfig{c.inner_channels, c.inner_channels, c.lorder});
  }

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.to_u = to_u.initial_state(batch);
    state.to_v = to_v.initial_state(batch);
    state.fsmn = fsmn.initial_state(batch);
    return state;
  }
  StreamTiming timing() const noexcept { return to_u.timing().then(fsmn.timing()); }

  /// x (B, T, D) -> (B, T, D). With a state, the sequence continues where the last call ended: any
  /// cutting into calls gives the bits of one call. Throws ShapeError. Real-time safe under an
  /// arena.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr) const {
    const auto memory = [&](const Tensor<T, 3>& r) {
      return fsmn.forward(to_u.forward(r, state ? &state->to_u : nullptr),
                          state ? &state->fsmn : nullptr);
    };
    const auto gate = [&](const Tensor<T, 3>& r) {
      return to_v.forward(r, state ? &state->to_v : nullptr);
    };
    return probe(*this, this->around(x, memory, gate));
  }

  void initialize(Generator& generator) {
    this->conv1.initialize(generator);
    this->conv2.initialize(generator);
    to_u.initialize(generator);
    to_v.initialize(generator);
    fsmn.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("conv1", this->conv1);
    v.parameter("prelu.weight", this->slope);
    v.child("norm1", this->norm1);
    v.child("to_u", to_u);
    v.child("to_v", to_v);
    v.child("fsmn", fsmn);
    v.child("norm2", this->norm2);
    v.child("conv2", this->conv2);
  }

 private:
  static const CausalGatedFsmnConfig& checked(const CausalGatedFsmnConfig& c) {
    if (c.dim < 1 || c.inner_channels < 1)
      throw ConfigError("CausalGatedFsmn: dim is " + std::to_string(c.dim) +
                        " and inner_channels " + std::to_string(c.inner_channels) +
                        ", expected >= 1");
    return c;
  }
};

}  // namespace sequin::inline SEQUIN_ABI
