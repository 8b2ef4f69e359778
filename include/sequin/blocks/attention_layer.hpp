/// Multi-head attention with its four projections, under the names of the time-series models.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/ops/attention.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Every query against every key, or `prob_sparse_attention` (blocks/prob_sparse.hpp).
enum class AttentionKind { full, prob_sparse };

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
  AttentionKind kind = AttentionKind::full;
  index_t factor = 5;  ///< of prob_sparse, which knows no dropout
};

/// What stands between the projections of an AttentionLayer of another kind than full: q (B, Tq, H,
/// P), k (B, Tk, H, P), v (B, Tk, H, Pv) -> (B, Tq, H, Pv).
template <Scalar T>
using AttentionForm = Tensor<T, 4> (*)(const AttentionLayerConfig& config, const Tensor<T, 4>& q,
                                       const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                                       const ForwardContext<T>& context);

/// `AttentionLayer` with `FullAttention` or `ProbAttention` of layers/SelfAttention_Family.py
/// (thuml/iTransformer) and models/attn.py (zhouhaoyi/Informer2020).
template <Scalar T>
class AttentionLayer {
 public:
  using value_type = T;

  Linear<T> query_projection, key_projection, value_projection, out_projection;

  AttentionLayer() = default;
  /// `form` is that of a kind which is not full: &prob_sparse<T>. Throws ConfigError when a size is
  /// not positive or the form is missing.
  explicit AttentionLayer(const AttentionLayerConfig& config, AttentionForm<T> form = nullptr)
      : config_(config), form_(config.kind == AttentionKind::full ? nullptr : form) {
    if (config.kind != AttentionKind::full && form == nullptr)
      detail::fail<ConfigError>(
          {"AttentionLayer: kind is prob_sparse, expected its form with it: &prob_sparse<T> of "
           "sequin/blocks/prob_sparse.hpp"});
    if (config.d_model < 1 || config.n_heads < 1)
      detail::fail<ConfigError>({"AttentionLayer: d_model is ", config.d_model, " and n_heads ",
                                 config.n_heads, ", expected >= 1"});
    const index_t head_dim = config.d_model / config.n_heads;
    if (config_.d_keys == 0) config_.d_keys = head_dim;
    if (config_.d_values == 0) config_.d_values = head_dim;
    if (config_.d_keys < 1 || config_.d_values < 1)
      detail::fail<ConfigError>({"AttentionLayer: n_heads is ", config.n_heads,
                                 ", expected at most d_model = ", config.d_model});
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
    Tensor<T, 4> o = form_ == nullptr ? full(q, k, v, context) : form_(config_, q, k, v, context);
    if (config_.mix) o = transpose(o, 1, 2);
    const Tensor<T, 3> joined =
        reshape<3>(o, {queries.extent(0), queries.extent(1), heads * config_.d_values});
    return probe(*this, out_projection.forward(joined));
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
  Tensor<T, 4> full(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                    const ForwardContext<T>& context) const {
    AttentionOptions options;
    options.scale = config_.scale;
    options.causal = config_.causal;
    if (context.training()) {
      options.dropout = config_.dropout;
      options.generator = context.dropout_generator;
    }
    if (context.attention_maps) context.attention_maps.add(q, k.view(), options, {});
    return attention(q, k, v, options);
  }

  AttentionLayerConfig config_;
  AttentionForm<T> form_ = nullptr;
};

}  // namespace sequin::inline SEQUIN_ABI
