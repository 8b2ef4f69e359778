/// Causal self-attention with rotary positions, grouped heads and a cache.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/key_value_cache.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/ops/attention.hpp"
#include "sequin/ops/rotary.hpp"
#include "sequin/ops/shape.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a CausalSelfAttention.
struct CausalSelfAttentionConfig {
  index_t hidden_size = 0;
  index_t num_attention_heads = 1;
  index_t num_key_value_heads = 1;  ///< divides num_attention_heads
  bool qkv_bias = true;
  bool out_bias = false;
  double attention_dropout = 0;  ///< of the attention map, while training

  index_t head_dim() const noexcept { return hidden_size / num_attention_heads; }

  double parameter_count() const {
    const auto d = static_cast<double>(hidden_size);
    const auto kv = static_cast<double>(num_key_value_heads * head_dim());
    return d * (2 * d + 2 * kv) + (qkv_bias ? d + 2 * kv : 0) + (out_bias ? d : 0);
  }
};

/// `TimeMoeAttention` of Time-MoE, which is that of Llama with biases: key and value head g serves
/// query heads g H / G .. (g + 1) H / G - 1, rotary positions turn the whole of each head.
template <Scalar T>
class CausalSelfAttention {
 public:
  using value_type = T;

  Linear<T> q_proj, k_proj, v_proj, o_proj;

  CausalSelfAttention() = default;
  /// Throws ConfigError when the sizes do not divide each other or a head is of odd width.
  explicit CausalSelfAttention(const CausalSelfAttentionConfig& c) : config_(c) {
    const auto fail = [](const char* name, index_t value, const std::string& expected) {
      throw ConfigError(std::string("CausalSelfAttention: ") + name + " is " +
                        std::to_string(value) + ", expected " + expected);
    };
    if (c.num_attention_heads < 1 || c.hidden_size < 1 ||
        c.hidden_size % (2 * c.num_attention_heads) != 0)
      fail("hidden_size", c.hidden_size,
           "an even number of elements for each of num_attention_heads = " +
               std::to_string(c.num_attention_heads));
    if (c.num_key_value_heads < 1 || c.num_attention_heads % c.num_key_value_heads != 0)
      fail("num_key_value_heads", c.num_key_value_heads,
           "a divisor of num_attention_heads = " + std::to_string(c.num_attention_heads));
    const index_t kv = c.num_key_value_heads * c.head_dim();
    q_proj = Linear<T>(c.hidden_size, c.hidden_size, c.qkv_bias);
    k_proj = Linear<T>(c.hidden_size, kv, c.qkv_bias);
    v_proj = Linear<T>(c.hidden_size, kv, c.qkv_bias);
    o_proj = Linear<T>(c.hidden_size, c.hidden_size, c.out_bias);
  }

  const CausalSelfAttentionConfig& config() const noexcept { return config_; }

  /// x (B, T, D) -> (B, T, D). `rotary`: cosines and sines of the positions of x. `key_mask`,
  /// undefined or (B, Tk): false hides a key; a query that sees none weighs all alike, future ones
  /// included, as with transformers' finite masks. With a cache, Tk counts the cached keys first
  /// (the mask may be wider, what is beyond is not read), x's keys and values are added to it, and
  /// nothing may be recorded. Throws ShapeError, ConfigError. Real-time safe under an arena while
  /// the cache has room.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const RotaryTable<T>& rotary,
                       const Tensor<bool, 2>& key_mask = {}, KeyValueCache<T>* cache = nullptr,
                       const ForwardContext<T>& context = {}) const {
    const auto split = [&](const Tensor<T, 3>& y, index_t heads) {
      return reshape<4>(y, Shape<4>{x.extent(0), x.extent(1), heads, config_.head_dim()});
    };
    const index_t heads = config_.num_attention_heads;
    const index_t groups = config_.num_key_value_heads;
    const Tensor<T, 4> q = rotate(split(q_proj.forward(x), heads), rotary);
    const Tensor<T, 4> k = rotate(split(k_proj.forward(x), groups), rotary);
    const Tensor<T, 4> v = split(v_proj.forward(x), groups);
    AttentionOptions options;
    options.causal = true;
    options.uniform_when_blocked = key_mask.defined();
    if (context.dropout_generator != nullptr) {
      options.dropout = config_.attention_dropout;
      options.generator = context.dropout_generator;
    }
    Tensor<T, 4> o;
    if (cache == nullptr) {
      options.key_mask = key_mask;
      if (context.attention_maps)
        context.attention_maps.add(q, k.view(), options, options.key_mask.view());
      o = attention(q, k, v, options);
    } else {
      if (recording(q, k, v) != nullptr)
        throw ConfigError("CausalSelfAttention: a cache cannot be recorded; use it under NoGrad");
      cache->append(k, v);
      const View<const bool, 2> mask = first_keys(key_mask, *cache);
      if (context.attention_maps) context.attention_maps.add(q, cache->keys(), options, mask);
      o = attention(q, cache->keys(), cache->values(), options, mask);
    }
    return probe(*this, o_proj.forward(reshape<3>(o, x.shape())));
  }

  /// With a cache: everything so far.
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }

  KeyValueCache<T> initial_cache(index_t batch, index_t capacity) const {
    return KeyValueCache<T>(batch, config_.num_key_value_heads, config_.head_dim(), capacity);
  }

  void initialize(Generator& generator) {
    for (Linear<T>* const map : {&q_proj, &k_proj, &v_proj, &o_proj}) map->initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("q_proj", q_proj);
    v.child("k_proj", k_proj);
    v.child("v_proj", v_proj);
    v.child("o_proj", o_proj);
  }

 private:
  static View<const bool, 2> first_keys(const Tensor<bool, 2>& mask,
                                        const KeyValueCache<T>& cache) {
    if (!mask.defined()) return {};
    if (mask.extent(0) != cache.batch() || mask.extent(1) < cache.length())
      throw ShapeError("CausalSelfAttention: key_mask is " + to_string(mask.shape()) +
                       ", expected [B=" + std::to_string(cache.batch()) + ", at least " +
                       std::to_string(cache.length()) + "]");
    return {mask.data(), Shape<2>{cache.batch(), cache.length()}, Shape<2>{mask.extent(1), 1}};
  }

  CausalSelfAttentionConfig config_;
};

}  // namespace sequin::inline SEQUIN_ABI
