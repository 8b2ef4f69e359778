/// The post-norm Transformer encoder of the time-series models.
#pragma once

#include "sequin/blocks/attention_layer.hpp"
#include "sequin/blocks/norm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Sizes of an encoder layer.
struct EncoderLayerConfig {
  AttentionLayerConfig attention;
  index_t d_ff = 0;
  Activation activation = Activation::gelu;
  double dropout = 0;
};

/// `EncoderLayer` of layers/Transformer_EncDec.py:
/// x = norm1(x + attention(x)); x = norm2(x + conv2(act(conv1 x))).
template <Scalar T>
class EncoderLayer {
 public:
  using value_type = T;

  AttentionLayer<T> attention;
  PointwiseConv1d<T> conv1, conv2;
  LayerNorm<T> norm1, norm2;

  EncoderLayer() = default;
  /// `form` as of AttentionLayer. Throws ConfigError when a size is not positive.
  explicit EncoderLayer(const EncoderLayerConfig& config, AttentionForm<T> form = nullptr)
      : attention(config.attention, form),
        conv1(config.attention.d_model, config.d_ff),
        conv2(config.d_ff, config.attention.d_model),
        norm1(config.attention.d_model),
        norm2(config.attention.d_model),
        activation_(config.activation),
        dropout_(config.dropout) {}

  /// x (B, T, D) -> (B, T, D).
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    const auto drop = [&](const Tensor<T, 3>& y) { return dropout(y, dropout_, context); };
    const Tensor<T, 3> attended = attention.forward(x, x, x, context);
    const Tensor<T, 3> h = add_layer_norm(x, drop(attended), norm1.weight, norm1.bias, norm1.eps);
    const Tensor<T, 3> y = drop(conv2.forward(drop(conv1.forward(h, activation_))));
    return probe(*this, add_layer_norm(h, y, norm2.weight, norm2.bias, norm2.eps));
  }

  void initialize(Generator& generator) {
    attention.initialize(generator);
    conv1.initialize(generator);
    conv2.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("attention", attention);
    v.child("conv1", conv1);
    v.child("conv2", conv2);
    v.child("norm1", norm1);
    v.child("norm2", norm2);
  }

 private:
  Activation activation_ = Activation::gelu;
  double dropout_ = 0;
};

/// `Encoder` of layers/Transformer_EncDec.py without convolutions between: layers, then a norm.
template <Scalar T>
class Encoder {
 public:
  using value_type = T;

  std::vector<EncoderLayer<T>> attn_layers;
  LayerNorm<T> norm;

  Encoder() = default;
  Encoder(const EncoderLayerConfig& config, index_t layers) : norm(config.attention.d_model) {
    attn_layers.reserve(static_cast<std::size_t>(layers));
    for (index_t i = 0; i < layers; ++i) attn_layers.emplace_back(config);
  }

  /// x (B, T, D) -> (B, T, D).
  Tensor<T, 3> forward(Tensor<T, 3> x, const ForwardContext<T>& context = {}) const {
    for (const auto& layer : attn_layers) x = layer.forward(x, context);
    return probe(*this, norm.forward(x));
  }

  void initialize(Generator& generator) {
    for (auto& layer : attn_layers) layer.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.children("attn_layers", attn_layers);
    v.child("norm", norm);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
