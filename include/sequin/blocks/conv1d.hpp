/// The dense convolution over time with its weights.
#pragma once

#include "sequin/blocks/initialize.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/ops/conv1d.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `torch.nn.Conv1d` (one group) on time-major data: weight (out, in, K), bias (out) or none.
template <Scalar T>
class Conv1d {
 public:
  using value_type = T;

  Tensor<T, 3> weight;
  Tensor<T, 1> bias;  ///< undefined without bias

  Conv1d() = default;
  Conv1d(index_t in, index_t out, index_t taps, const Conv1dOptions& options = {},
         bool has_bias = true)
      : weight({out, in, taps}), options_(options) {
    if (has_bias) bias = Tensor<T, 1>({out});
  }

  /// x (B, T, in) -> (B, T', out). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x) const {
    return probe(*this, conv1d(x, weight, bias, options_, &packed_));
  }

  void initialize(Generator& generator) { init::torch_default(weight, bias, generator); }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.derived(*this);
  }
  void refresh_derived() { packed_.pack(weight, options_.dilation); }

  const Conv1dOptions& options() const noexcept { return options_; }

 private:
  Conv1dOptions options_;
  PackedConv1dWeight<T> packed_;
};

}  // namespace sequin::inline SEQUIN_ABI
