/// Normalisation of the last axis with learned scale: LayerNorm, RMSNorm and either by
/// configuration.
#pragma once

#include "sequin/core/parameter.hpp"
#include "sequin/ops/norm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `torch.nn.LayerNorm` over the last axis: biased variance, eps inside the root, weight and bias.
template <Scalar T>
class LayerNorm {
 public:
  using value_type = T;

  Tensor<T, 1> weight;
  Tensor<T, 1> bias;
  double eps = 1e-5;

  LayerNorm() = default;
  explicit LayerNorm(index_t width, double epsilon = 1e-5)
      : weight({width}, T{1}), bias(Shape<1>{width}), eps(epsilon) {}

  /// x (..., width). Throws ShapeError.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x) const {
    return probe(*this, layer_norm(x, weight, bias, eps));
  }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
  }
};

/// v / sqrt(mean(v^2) + eps) * weight over the last axis (Zhang and Sennrich, NeurIPS 2019).
template <Scalar T>
class RMSNorm {
 public:
  using value_type = T;

  Tensor<T, 1> weight;
  double eps = 1e-5;

  RMSNorm() = default;
  explicit RMSNorm(index_t width, double epsilon = 1e-5) : weight({width}, T{1}), eps(epsilon) {}

  /// x (..., width). Throws ShapeError.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x) const {
    return probe(*this, rms_norm(x, weight, eps));
  }

  void visit(Visitor<T>& v) { v.parameter("weight", weight); }
};

/// RMSNorm or LayerNorm, as a config says (`rms_norm` of Mamba): without a bias it is RMSNorm.
template <Scalar T>
class Norm {
 public:
  using value_type = T;

  Tensor<T, 1> weight;
  Tensor<T, 1> bias;  ///< undefined for RMSNorm
  double eps = 1e-5;

  Norm() = default;
  Norm(index_t width, bool rms, double epsilon) : weight({width}, T{1}), eps(epsilon) {
    if (!rms) bias = Tensor<T, 1>({width});
  }

  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x) const {
    return probe(*this,
                 bias.defined() ? layer_norm(x, weight, bias, eps) : rms_norm(x, weight, eps));
  }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
