/// Multi-head attention with its four projections, under the names of the time-series models.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/ops/attention.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Sizes of an AttentionLayer.
struct AttentionLayerConfig {
  index_t d_model = 0;
  index_t n_heads = 1;
  index_t d_keys = 0;    ///< per head; 0: d_model / n_heads, rounded down
  index_t d_values = 0;  ///< per head; 0: d_model / n_heads, rounded down
  bool causal = false;   ///< official `mask_flag`
  double scale = 0;      ///< 0: 1 / sqrt(d_keys)
  double dropout = 0;    ///< of the attention map, while training
  bool mix = false;      ///< join the heads transposed, (B, H, T, P) read as (B, T, H*P)
};

/// `AttentionLayer(FullAttention)` of layers/SelfAttention_Family.py (thuml/iTransformer,
/// zhouhaoyi/Informer2020).
template <Scalar T>
class AttentionLayer {
 public:
  using value_type = T;

  Linear<T> query_projection, key_projection, value_projection, out_projection;

  AttentionLayer() = default;
  /// Throws ConfigError when a size is not positive.
  explicit AttentionLayer(const AttentionLayerConfig& config) : config_(config) {
    if (config.d_model < 1 || config.n_heads < 1)
      throw ConfigError("AttentionLayer: d_model is " + std::to_string(config.d_model) +
                        " and n_heads " + std::to_string(config.n_heads) + ", expected >= 1");
    const index_t head_dim = config.d_model / config.n_heads;
    if (config_.d_keys == 0) config_.d_keys = head_dim;
    if (config_.d_values == 0) config_.d_values = head_dim;
    if (config_.d_keys < 1 || config_.d_values < 1)
      throw ConfigError("AttentionLayer: n_heads is " + std::to_string(config.n_heads) +
                        ", expected at most d_model = " + std::to_string(config.d_model));
    const index_t keys = config_.d_keys * config.n_heads;
    const index_t values = config_.d_values * config.n_heads;
    query_projection = Linear<T>(config.d_model, keys);
    key_projection = Linear<T>(config.d_model, keys);
    value_projection = Linear<T>(config.d_model, values);
    out_projection = Linear<T>(values, config.d_model);
  }

  /// queries (B, Tq, D), keys and values (B, Tk, D) -> (B, Tq, D). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& queries, const Tensor<T, 3>& keys,
                       const Tensor<T, 3>& values, const ForwardContext<T>& context = {}) const {
    const index_t heads = config_.n_heads;
    const auto split = [heads](const Tensor<T, 3>& x) {
      return reshape<4>(x, Shape<4>{x.extent(0), x.extent(1), heads, x.extent(2) / heads});
    };
    const Tensor<T, 4> q = split(query_projection.forward(queries));
    const Tensor<T, 4> k = split(key_projection.forward(keys));
    const Tensor<T, 4> v = split(value_projection.forward(values));
    AttentionOptions options;
    options.scale = config_.scale;
    options.causal = config_.causal;
    if (context.dropout_generator != nullptr) {
      options.dropout = config_.dropout;
      options.generator = context.dropout_generator;
    }
    if (context.attention_maps != nullptr)
      context.attention_maps->push_back(attention_weights(q, k, options));
    Tensor<T, 4> o = attention(q, k, v, options);
    if (config_.mix) o = transpose(o, 1, 2);
    return out_projection.forward(
        reshape<3>(o, {queries.extent(0), queries.extent(1), heads * config_.d_values}));
  }

  void initialize(Generator& generator) {
    query_projection.initialize(generator);
    key_projection.initialize(generator);
    value_projection.initialize(generator);
    out_projection.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("query_projection", query_projection);
    v.child("key_projection", key_projection);
    v.child("value_projection", value_projection);
    v.child("out_projection", out_projection);
  }

  const AttentionLayerConfig& config() const noexcept { return config_; }

 private:
  AttentionLayerConfig config_;
};

}  // namespace sequin::inline SEQUIN_ABI
