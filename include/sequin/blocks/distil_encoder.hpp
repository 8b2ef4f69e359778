/// Informer's encoder: post-norm layers with distilling layers between them.
#pragma once

#include "sequin/blocks/distil_conv.hpp"
#include "sequin/blocks/encoder.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `Encoder` of zhouhaoyi/Informer2020: layers, a `DistilConv` after each but the last, a norm.
template <Scalar T>
class DistilEncoder {
 public:
  using value_type = T;

  std::vector<EncoderLayer<T>> attn_layers;
  std::vector<DistilConv<T>> conv_layers;  ///< empty: the length stays
  LayerNorm<T> norm;

  DistilEncoder() = default;
  /// `padding`: of the distilling layers, 0 for none of them; `form` as of AttentionLayer.
  DistilEncoder(const EncoderLayerConfig& config, index_t layers, index_t padding,
                AttentionForm<T> form = nullptr)
      : norm(config.attention.d_model) {
    attn_layers.reserve(static_cast<std::size_t>(layers));
    for (index_t i = 0; i < layers; ++i) attn_layers.emplace_back(config, form);
    if (padding == 0) return;
    conv_layers.reserve(static_cast<std::size_t>(layers - 1));
    for (index_t i = 0; i + 1 < layers; ++i)
      conv_layers.emplace_back(config.attention.d_model, padding);
  }

  /// x (B, T, D) -> (B, T / 2^(layers - 1) about, D). Throws ShapeError.
  Tensor<T, 3> forward(Tensor<T, 3> x, const ForwardContext<T>& context = {}) const {
    for (std::size_t i = 0; i < attn_layers.size(); ++i) {
      x = attn_layers[i].forward(x, context);
      if (i < conv_layers.size()) x = conv_layers[i].forward(x, context);
    }
    return probe(*this, norm.forward(x));
  }

  void initialize(Generator& generator) {
    for (auto& layer : attn_layers) layer.initialize(generator);
    for (auto& layer : conv_layers) layer.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.children("attn_layers", attn_layers);
    v.children("conv_layers", conv_layers);
    v.child("norm", norm);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
