/// The gated feed-forward block of today's Transformers.
#pragma once

#include "sequin/blocks/linear.hpp"
#include "sequin/ops/elementwise.hpp"

namespace sequin::inline SEQUIN_ABI {

/// down(act(gate x) * up x): `MistralMLP` of transformers, `TimeMoeTemporalBlock` of Time-MoE, both
/// without biases. Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
template <Scalar T>
class SwiGLU {
 public:
  using value_type = T;

  Linear<T> gate_proj, up_proj, down_proj;

  SwiGLU() = default;
  SwiGLU(index_t width, index_t inner, Activation activation = Activation::silu, bool bias = false)
      : gate_proj(width, inner, bias),
        up_proj(width, inner, bias),
        down_proj(inner, width, bias),
        activation_(activation) {}

  /// x (..., D) -> (..., D). Throws ShapeError.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x) const {
    return probe(*this, down_proj.forward(gate_proj.forward(x, activation_) * up_proj.forward(x)));
  }

  void initialize(Generator& generator) {
    gate_proj.initialize(generator);
    up_proj.initialize(generator);
    down_proj.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("gate_proj", gate_proj);
    v.child("up_proj", up_proj);
    v.child("down_proj", down_proj);
  }

 private:
  Activation activation_ = Activation::silu;
};

}  // namespace sequin::inline SEQUIN_ABI
