/// The feed-forward module of MossFormer: norm, linear map, SiLU, depthwise convolution.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/ops/depthwise_conv1d.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/scale_norm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `ScaleNorm` of MossFormer2: x / max(|x| / sqrt(D), eps) * g, one learned number.
template <Scalar T>
class ScaleNorm {
 public:
  using value_type = T;

  Tensor<T, 1> g{{1}, T{1}};
  double eps = 1e-5;

  ScaleNorm() = default;
  explicit ScaleNorm(double epsilon) : eps(epsilon) {}

  /// x (..., D) -> (..., D).
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x) const {
    return probe(*this, scale_norm(x, g, eps));
  }

  void visit(Visitor<T>& v) { v.parameter("g", g); }
};

/// The norm at the head of an FFConvM.
enum class FFConvNorm { scale_norm, layer_norm };

/// `FFConvM` of MossFormer2: norm(C) -> linear C -> E -> SiLU = z; z + DW(z), DW a depthwise
/// convolution over time with as much padding as keeps the length. Dropout ends it in training.
template <Scalar T>
class FFConvM {
 public:
  using value_type = T;
  static constexpr double kDropout = 0.1;  ///< the official constant

  ScaleNorm<T> scale;
  LayerNorm<T> layer;
  Linear<T> linear;
  Tensor<T, 3> conv_weight;  ///< (E, 1, K)

  FFConvM() = default;
  /// Throws ConfigError when `kernel` is even.
  FFConvM(index_t in, index_t out, FFConvNorm norm, index_t kernel = 17)
      : linear(in, out), conv_weight({out, 1, kernel}), norm_(norm) {
    if (kernel < 1 || kernel % 2 == 0)
      throw ConfigError("FFConvM: kernel_size is " + std::to_string(kernel) +
                        ", expected an odd number");
    if (norm == FFConvNorm::layer_norm) layer = LayerNorm<T>(in);
  }

  /// x (B, T, C) -> (B, T, E). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    const Tensor<T, 3> normed =
        norm_ == FFConvNorm::layer_norm ? layer.forward(x) : scale.forward(x);
    const Tensor<T, 3> z = linear.forward(normed, Activation::silu);
    const Tensor<T, 3> y =
        depthwise_conv1d(z, conv_weight, {(conv_weight.extent(2) - 1) / 2, 1, true});
    return probe(*this, dropout(y, kDropout, context));
  }

  void initialize(Generator& generator) {
    linear.initialize(generator);
    Tensor<T, 1> none;
    init::torch_default(conv_weight, none, generator);
  }

  void visit(Visitor<T>& v) {
    if (norm_ == FFConvNorm::layer_norm)
      v.child("mdl.0", layer);
    else
      v.child("mdl.0", scale);
    v.child("mdl.1", linear);
    v.parameter("mdl.3.sequential.1.conv.weight", conv_weight);
  }

 private:
  FFConvNorm norm_ = FFConvNorm::scale_norm;
};

}  // namespace sequin::inline SEQUIN_ABI
