/// The post-norm Transformer decoder of the time-series models.
#pragma once

#include "sequin/blocks/attention_layer.hpp"
#include "sequin/blocks/norm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a decoder layer.
struct DecoderLayerConfig {
  AttentionLayerConfig self_attention;
  AttentionLayerConfig cross_attention;
  index_t d_ff = 0;
  Activation activation = Activation::gelu;
  double dropout = 0;
};

/// `DecoderLayer` of zhouhaoyi/Informer2020 and thuml/Time-Series-Library: x = norm1(x + self(x)),
/// x = norm2(x + cross(x, memory)), x = norm3(x + conv2(act(conv1 x))).
template <Scalar T>
class DecoderLayer {
 public:
  using value_type = T;

  AttentionLayer<T> self_attention, cross_attention;
  PointwiseConv1d<T> conv1, conv2;
  LayerNorm<T> norm1, norm2, norm3;

  DecoderLayer() = default;
  /// `form` as of AttentionLayer, for either. Throws ConfigError when a size is not positive.
  explicit DecoderLayer(const DecoderLayerConfig& config, AttentionForm<T> form = nullptr)
      : self_attention(config.self_attention, form),
        cross_attention(config.cross_attention, form),
        conv1(config.self_attention.d_model, config.d_ff),
        conv2(config.d_ff, config.self_attention.d_model),
        norm1(config.self_attention.d_model),
        norm2(config.self_attention.d_model),
        norm3(config.self_attention.d_model),
        activation_(config.activation),
        dropout_(config.dropout) {}

  /// x (B, T, D), memory (B, Tm, D) -> (B, T, D). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const Tensor<T, 3>& memory,
                       const ForwardContext<T>& context = {}) const {
    const auto drop = [&](const Tensor<T, 3>& y) { return dropout(y, dropout_, context); };
    const auto joined = [&](const Tensor<T, 3>& a, const Tensor<T, 3>& b,
                            const LayerNorm<T>& norm) {
      return add_layer_norm(a, drop(b), norm.weight, norm.bias, norm.eps);
    };
    const Tensor<T, 3> own = joined(x, self_attention.forward(x, x, x, context), norm1);
    const Tensor<T, 3> h =
        joined(own, cross_attention.forward(own, memory, memory, context), norm2);
    return probe(*this, joined(h, conv2.forward(drop(conv1.forward(h, activation_))), norm3));
  }

  void initialize(Generator& generator) {
    self_attention.initialize(generator);
    cross_attention.initialize(generator);
    conv1.initialize(generator);
    conv2.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("self_attention", self_attention);
    v.child("cross_attention", cross_attention);
    v.child("conv1", conv1);
    v.child("conv2", conv2);
    v.child("norm1", norm1);
    v.child("norm2", norm2);
    v.child("norm3", norm3);
  }

 private:
  Activation activation_ = Activation::gelu;
  double dropout_ = 0;
};

/// `Decoder`: layers, then a norm.
template <Scalar T>
class Decoder {
 public:
  using value_type = T;

  std::vector<DecoderLayer<T>> layers;
  LayerNorm<T> norm;

  Decoder() = default;
  /// `form` as of AttentionLayer.
  Decoder(const DecoderLayerConfig& config, index_t count, AttentionForm<T> form = nullptr)
      : norm(config.self_attention.d_model) {
    layers.reserve(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) layers.emplace_back(config, form);
  }

  /// x (B, T, D), memory (B, Tm, D) -> (B, T, D).
  Tensor<T, 3> forward(Tensor<T, 3> x, const Tensor<T, 3>& memory,
                       const ForwardContext<T>& context = {}) const {
    for (const auto& layer : layers) x = layer.forward(x, memory, context);
    return norm.forward(x);
  }

  void initialize(Generator& generator) {
    for (auto& layer : layers) layer.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.children("layers", layers);
    v.child("norm", norm);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
