/// A small causal Transformer from the library's blocks, to stand beside Mamba.
#pragma once

#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/embedding.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/blocks/swiglu.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/models/mamba.hpp"

#include <cmath>
#include <string>
#include <vector>

namespace sequin_tasks {

using sequin::index_t;
using sequin::Scalar;
using sequin::Tensor;

struct AttentionConfig {
  index_t d_model = 64;
  index_t n_layer = 2;
  index_t vocab_size = 16;
  index_t heads = 4;
  index_t inner = 84;  ///< of the gated MLP
  double rotary_base = 10000;

  /// As wide and deep as `mamba`, the MLP filling up to its number of parameters.
  static AttentionConfig like(const sequin::MambaConfig& mamba) {
    AttentionConfig c;
    c.d_model = mamba.d_model;
    c.n_layer = mamba.n_layer;
    c.vocab_size = mamba.vocab_size;
    const auto width = static_cast<double>(mamba.d_model);
    const double left = mamba.mixer().parameter_count() - 4 * width * width - width;
    c.inner = (std::max)(index_t{1}, static_cast<index_t>(std::lround(left / (3 * width))));
    return c;
  }
};

/// Layers r += attention(norm1(r)), r += mlp(norm2(r)) with rotary positions; tied head.
template <Scalar T>
class AttentionModel {
 public:
  using value_type = T;
  using Config = AttentionConfig;

  /// The keys and values of everything read so far.
  struct State {
    std::vector<sequin::KeyValueCache<T>> layers;
    index_t position = 0;
  };

  explicit AttentionModel(const Config& c)
      : config_(c), embedding_(c.vocab_size, c.d_model), norm_f_(c.d_model) {
    const sequin::CausalSelfAttentionConfig attention{.hidden_size = c.d_model,
                                                      .num_attention_heads = c.heads,
                                                      .num_key_value_heads = c.heads,
                                                      .qkv_bias = false};
    for (index_t i = 0; i < c.n_layer; ++i) layers_.emplace_back(attention, c.inner);
  }

  const Config& config() const noexcept { return config_; }

  /// ids (B, T) -> logits (B, T, V). With a state the sequences continue where the last call
  /// ended; nothing may then be recorded. Throws ShapeError naming the first token out of range.
  Tensor<T, 3> forward(const Tensor<std::int64_t, 2>& ids, State* state = nullptr) const {
    Tensor<std::int64_t, 2> positions({1, ids.extent(1)});
    const index_t begin = state == nullptr ? 0 : state->position;
    for (index_t t = 0; t < ids.extent(1); ++t) positions(0, t) = begin + t;
    const auto rotary =
        sequin::rotary_table<T>(positions, config_.d_model / config_.heads, config_.rotary_base);
    Tensor<T, 3> r = embedding_.forward(ids);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      r = r + layer.attention.forward(layer.norm1.forward(r), rotary, {},
                                      state == nullptr ? nullptr : &state->layers[i]);
      r = r + layer.mlp.forward(layer.norm2.forward(r));
    }
    if (state != nullptr) state->position += ids.extent(1);
    return sequin::linear(norm_f_.forward(r), embedding_.weight, Tensor<T, 1>{});
  }

  State initial_state(index_t batch) const {
    State state;
    for (const Layer& layer : layers_)
      state.layers.push_back(layer.attention.initial_cache(batch, 64));
    return state;
  }

  /// As Mamba: embedding N(0, 0.02), the maps back into the residual stream divided by the root of
  /// their number.
  void initialize(sequin::Generator& generator) {
    sequin::init::normal(embedding_.weight, 0.02, generator);
    const T shrink = static_cast<T>(1 / std::sqrt(2 * static_cast<double>(config_.n_layer)));
    for (Layer& layer : layers_) {
      layer.attention.initialize(generator);
      layer.mlp.initialize(generator);
      for (T& w : layer.attention.o_proj.weight.span()) w *= shrink;
      for (T& w : layer.mlp.down_proj.weight.span()) w *= shrink;
    }
  }

  void visit(sequin::Visitor<T>& v) {
    v.child("embedding", embedding_);
    v.children("layers", layers_);
    v.child("norm_f", norm_f_);
  }

 private:
  struct Layer {
    sequin::RMSNorm<T> norm1, norm2;
    sequin::CausalSelfAttention<T> attention;
    sequin::SwiGLU<T> mlp;

    Layer(const sequin::CausalSelfAttentionConfig& c, index_t inner)
        : norm1(c.hidden_size), norm2(c.hidden_size), attention(c), mlp(c.hidden_size, inner) {}

    void visit(sequin::Visitor<T>& v) {
      v.child("norm1", norm1);
      v.child("attention", attention);
      v.child("norm2", norm2);
      v.child("mlp", mlp);
    }
  };

  Config config_;
  sequin::Embedding<T> embedding_;
  std::vector<Layer> layers_;
  sequin::RMSNorm<T> norm_f_;
};

}  // namespace sequin_tasks
