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

/// What FFConvM and its causal form have in common: norm(C) -> linear C -> E -> SiLU, and the
/// weight of a depthwise convolution of K taps.
template <Scalar T>
class FFConvParts {
 public:
  using value_type = T;

  ScaleNorm<T> scale;
  LayerNorm<T> layer;
  Linear<T> linear;
  Tensor<T, 3> conv_weight;  ///< (E, 1, K)

  void initialize(Generator& generator) {
    linear.initialize(generator);
    Tensor<T, 1> none;
    init::torch_default(conv_weight, none, generator);
  }

 protected:
  FFConvParts() = default;
  FFConvParts(index_t in, index_t out, FFConvNorm norm) : linear(in, out), norm_(norm) {
    if (norm == FFConvNorm::layer_norm) layer = LayerNorm<T>(in);
  }

  /// x (B, T, C) -> (B, T, E): what is convolved.
  Tensor<T, 3> activated(const Tensor<T, 3>& x) const {
    const Tensor<T, 3> normed =
        norm_ == FFConvNorm::layer_norm ? layer.forward(x) : scale.forward(x);
    return linear.forward(normed, Activation::silu);
  }
  void visit_norm(Visitor<T>& v, std::string_view name) {
    if (norm_ == FFConvNorm::layer_norm)
      v.child(name, layer);
    else
      v.child(name, scale);
  }

 private:
  FFConvNorm norm_ = FFConvNorm::scale_norm;
};

/// `FFConvM` of MossFormer2: norm(C) -> linear C -> E -> SiLU = z; z + DW(z), DW a depthwise
/// convolution over time with as much padding as keeps the length. Dropout ends it in training.
template <Scalar T>
class FFConvM : public FFConvParts<T> {
 public:
  using FFConvParts<T>::conv_weight;
  static constexpr double kDropout = 0.1;  ///< the official constant

  FFConvM() = default;
  /// Throws ConfigError when `kernel` is even.
  FFConvM(index_t in, index_t out, FFConvNorm norm, index_t kernel = 17)
      : FFConvParts<T>(in, out, norm) {
    if (kernel < 1 || kernel % 2 == 0)
      throw ConfigError("FFConvM: kernel_size is " + std::to_string(kernel) +
                        ", expected an odd number");
    conv_weight = Tensor<T, 3>({out, 1, kernel});
  }

  /// x (B, T, C) -> (B, T, E). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    const Tensor<T, 3> y = depthwise_conv1d(this->activated(x), conv_weight,
                                            {(conv_weight.extent(2) - 1) / 2, 1, true});
    return probe(*this, dropout(y, kDropout, context));
  }

  void visit(Visitor<T>& v) {
    this->visit_norm(v, "mdl.0");
    v.child("mdl.1", this->linear);
    v.parameter("mdl.3.sequential.1.conv.weight", conv_weight);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
