/// The gated feed-forward block of Mamba's language model.
#pragma once

#include "sequin/blocks/linear.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `GatedMLP` of mamba_ssm/modules/mlp.py: [y, g] = fc1(x); fc2(y * silu(g)), no biases. The width
/// is `d_intermediate` rounded up to a multiple of 128.
template <Scalar T>
class GatedMLP {
 public:
  using value_type = T;

  Linear<T> fc1, fc2;

  GatedMLP() = default;
  GatedMLP(index_t d_model, index_t d_intermediate)
      : fc1(d_model, 2 * hidden_width(d_intermediate), false),
        fc2(hidden_width(d_intermediate), d_model, false) {}

  static index_t hidden_width(index_t d_intermediate) noexcept {
    return (d_intermediate + 127) / 128 * 128;
  }

  /// x (B, T, D) -> (B, T, D).
  Tensor<T, 3> forward(const Tensor<T, 3>& x) const {
    const Tensor<T, 3> both = fc1.forward(x);
    const index_t width = fc2.weight.extent(1);
    return probe(*this,
                 fc2.forward(slice(both, 2, 0, width) * silu(slice(both, 2, width, 2 * width))));
  }

  void initialize(Generator& generator) {
    fc1.initialize(generator);
    fc2.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("fc1", fc1);
    v.child("fc2", fc2);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
