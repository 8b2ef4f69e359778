/// The Mamba language model: embedding, selective state-space blocks, head.
#pragma once

#include "sequin/blocks/embedding.hpp"
#include "sequin/blocks/gated_mlp.hpp"
#include "sequin/blocks/mamba_mixer.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/ops/recompute.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// config.json of state-spaces/mamba, or of transformers' MambaForCausalLM.
struct MambaConfig {
  index_t d_model = 2560;
  index_t d_intermediate = 0;  ///< > 0: a gated MLP after every mixer
  index_t n_layer = 64;
  index_t vocab_size = 50277;  ///< rows of the embedding: already padded
  MambaMixerConfig ssm_cfg{};
  bool rms_norm = true;
  double norm_epsilon = 1e-5;
  bool tie_embeddings = true;
  bool transformers_names = false;  ///< the embedding is called `embeddings`

  /// The mixers' configuration: ssm_cfg at this width.
  MambaMixerConfig mixer() const {
    MambaMixerConfig c = ssm_cfg;
    c.d_model = d_model;
    return c;
  }

  /// Number of parameters that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto d = static_cast<double>(d_model);
    const double table = static_cast<double>(vocab_size) * d;
    const double norm = rms_norm ? d : 2 * d;
    const auto hidden = static_cast<double>((d_intermediate + 127) / 128 * 128);
    const double layer =
        norm + mixer().parameter_count() + (d_intermediate > 0 ? norm + 3 * hidden * d : 0);
    return table + static_cast<double>(n_layer) * layer + norm + (tie_embeddings ? 0 : table);
  }

  /// Reads either set of keys; the transformers keys decide where both are there (published "-hf"
  /// files carry both). Throws ConfigError naming key, expected and found.
  template <class Reader>
  static MambaConfig read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 20;
    MambaConfig c;
    if (r.has("hidden_size") || r.get_string("model_type", "") == "mamba") {
      c.transformers_names = true;
      c.d_model = r.get_int("hidden_size", 768, 1, kMax);
      c.n_layer = r.get_int("num_hidden_layers", 32, 1, 4096);
      c.vocab_size = r.get_int("vocab_size", 50280, 1, index_t{1} << 26);
      c.ssm_cfg.d_state = r.get_int("state_size", 16, 1, 4096);
      c.ssm_cfg.d_conv = r.get_int("conv_kernel", 4, 1, 4096);
      c.ssm_cfg.expand = r.get_double("expand", 2.0, 1e-6, 4096.0);
      c.ssm_cfg.dt_rank =
          r.is_string("time_step_rank") ? 0 : r.get_int("time_step_rank", 0, 0, kMax);
      c.ssm_cfg.bias = r.get_bool("use_bias", false);
      c.ssm_cfg.conv_bias = r.get_bool("use_conv_bias", true);
      c.norm_epsilon = r.get_double("layer_norm_epsilon", 1e-5, 0.0, 1.0);
      c.tie_embeddings = r.get_bool("tie_word_embeddings", true);
      const std::string act = r.get_string("hidden_act", "silu");
      if (act != "silu" && act != "swish")
        throw ConfigError(r.label() + ": hidden_act: expected silu, found '" +
                          detail::printable(act) + "'");
      return c;
    }
    c.d_model = r.get_int("d_model", 1, kMax);
    c.d_intermediate = r.get_int("d_intermediate", 0, 0, kMax);
    c.n_layer = r.get_int("n_layer", 1, 4096);
    const index_t multiple = r.get_int("pad_vocab_size_multiple", 8, 1, kMax);
    const index_t vocabulary = r.get_int("vocab_size", 1, index_t{1} << 26);
    c.vocab_size = (vocabulary + multiple - 1) / multiple * multiple;
    c.rms_norm = r.get_bool("rms_norm", true);
    c.tie_embeddings = r.get_bool("tie_embeddings", true);
    const auto ssm = r.section("ssm_cfg");
    const std::string layer = ssm.get_string("layer", "Mamba1");
    if (layer != "Mamba1")
      throw ConfigError(r.label() + ": ssm_cfg.layer: expected Mamba1, found '" +
                        detail::printable(layer) + "'");
    ssm.reject_unknown({"layer", "d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias",
                        "dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor",
                        "use_fast_path"});
    if (!r.get_int_list("attn_layer_idx").empty())
      throw ConfigError(r.label() +
                        ": attn_layer_idx: expected [] (attention layers are not part " +
                        "of this model), found a list with entries");
    c.ssm_cfg = MambaMixerConfig::read(ssm, c.d_model);
    return c;
  }
};

/// One residual layer: r += mixer(norm(r)), and with an MLP r += mlp(norm2(r)).
template <Scalar T>
class MambaLayer {
 public:
  using value_type = T;

  Norm<T> norm;
  MambaMixer<T> mixer;
  Norm<T> norm2;
  std::optional<GatedMLP<T>> mlp;

  explicit MambaLayer(const MambaConfig& c)
      : norm(c.d_model, c.rms_norm, c.norm_epsilon), mixer(c.mixer()) {
    if (c.d_intermediate == 0) return;
    norm2 = Norm<T>(c.d_model, c.rms_norm, c.norm_epsilon);
    mlp.emplace(c.d_model, c.d_intermediate);
  }

  Tensor<T, 3> forward(Tensor<T, 3> r, MambaMixerState<T>* state, const Tensor<T, 2>& mask) const {
    r = r + mixer.forward(norm.forward(r), state, mask);
    if (mlp) r = r + mlp->forward(norm2.forward(r));
    return r;
  }

  void visit(Visitor<T>& v) {
    v.child("norm", norm);
    v.child("mixer", mixer);
    v.child("norm2", norm2);
    if (mlp) v.child("mlp", *mlp);
  }
};

/// What the model remembers of B sequences: one mixer state a layer. A copy is independent.
template <Scalar T>
struct MambaState : StreamState<MambaState<T>> {
  std::vector<MambaMixerState<T>> layers;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.children("layers", s.layers...);
  }
};

/// `MambaLMHeadModel` of mamba_ssm/models/mixer_seq_simple.py, or MambaForCausalLM of transformers.
template <Scalar T>
class Mamba {
 public:
  using value_type = T;
  using Config = MambaConfig;
  using State = MambaState<T>;
  using StreamInput = std::int64_t;

  /// All weights zero: load them or `initialize`.
  explicit Mamba(const Config& config)
      : config_(config),
        embedding_(config.vocab_size, config.d_model),
        norm_f_(config.d_model, config.rms_norm, config.norm_epsilon) {
    layers_.reserve(static_cast<std::size_t>(config.n_layer));
    for (index_t i = 0; i < config.n_layer; ++i) layers_.emplace_back(config);
    if (!config.tie_embeddings) lm_head_ = Linear<T>(config.d_model, config.vocab_size, false);
  }

  const Config& config() const noexcept { return config_; }

  /// Whether training on whole sequences keeps each layer's input alone and computes its
  /// activations again (ops/recompute.hpp): the same bits, a fraction of the memory, a second
  /// forward pass.
  void set_recompute_layers(bool on) noexcept { recompute_layers_ = on; }

  /// ids (B, T) -> logits (B, T, V), V padded as in the official code. With a state the sequences
  /// continue where the last call ended. `attention_mask` (B, T), undefined or 0 at padding on the
  /// left: real tokens see what they would see alone; logits at padding are 0.
  /// Throws ShapeError naming the first token out of range.
  Tensor<T, 3> forward(const Tensor<std::int64_t, 2>& ids, State* state = nullptr,
                       const Tensor<T, 2>& attention_mask = {}) const {
    check(ids, state, attention_mask);
    const Tensor<T, 3> logits = head(hidden_states(ids, state, attention_mask));
    return attention_mask.defined()
               ? logits * attention_mask.template reshaped<3>({ids.extent(0), ids.extent(1), 1})
               : logits;
  }

  /// Reads a prompt (B, T >= 1) into the state and gives the logits (B, V) after its last token.
  Tensor<T, 2> prefill(const Tensor<std::int64_t, 2>& ids, State& state,
                       const Tensor<T, 2>& attention_mask = {}) const {
    check(ids, &state, attention_mask);
    const index_t length = ids.extent(1);
    if (length < 1)
      detail::fail<ShapeError>({"Mamba: the prompt is ", ids.shape(), ", expected [B, T >= 1]"});
    const Tensor<T, 3> h = hidden_states(ids, &state, attention_mask);
    return reshape<2>(head(slice(h, 1, length - 1, length)), {ids.extent(0), config_.vocab_size});
  }

  // What Session needs.
  State initial_state(index_t batch) const {
    State state;
    state.layers.reserve(layers_.size());
    for (const auto& layer : layers_) state.layers.push_back(layer.mixer.initial_state(batch));
    return state;
  }
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }
  /// One token a row.
  index_t stream_width() const noexcept { return 1; }
  bool accepts(std::span<const std::int64_t> ids) const noexcept {
    return std::all_of(ids.begin(), ids.end(),
                       [this](std::int64_t id) { return id >= 0 && id < config_.vocab_size; });
  }
  /// ids (B) -> logits (B, V).
  Tensor<T, 2> step(std::span<const std::int64_t> ids, State& state) const {
    const auto batch = static_cast<index_t>(ids.size());
    const Tensor<std::int64_t, 2> column({batch, 1}, ids);
    return reshape<2>(head(hidden_states(column, &state, {})), {batch, config_.vocab_size});
  }

  /// Draws fresh weights as the official `_init_weights`: embedding N(0, 0.02), biases of linear
  /// maps 0, the maps back into the residual stream divided by the root of their number.
  void initialize(Generator& generator) {
    init::normal(embedding_.weight, 0.02, generator);
    const double residuals =
        static_cast<double>(config_.n_layer) * (config_.d_intermediate > 0 ? 2 : 1);
    const T shrink = static_cast<T>(1 / std::sqrt(residuals));
    for (auto& layer : layers_) {
      layer.mixer.initialize(generator);
      if (layer.mixer.in_proj.bias.defined()) layer.mixer.in_proj.bias.fill(T{0});
      if (layer.mixer.out_proj.bias.defined()) layer.mixer.out_proj.bias.fill(T{0});
      for (T& w : layer.mixer.out_proj.weight.span()) w *= shrink;
      if (!layer.mlp) continue;
      layer.mlp->initialize(generator);
      for (T& w : layer.mlp->fc2.weight.span()) w *= shrink;
    }
    if (!config_.tie_embeddings) lm_head_.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    const char* const table =
        config_.transformers_names ? "backbone.embeddings" : "backbone.embedding";
    v.child(table, embedding_);
    // Either spelling is accepted in either format.
    v.alias(config_.transformers_names ? "backbone.embedding.weight" : "backbone.embeddings.weight",
            std::string(table) + ".weight");
    v.children("backbone.layers", layers_);
    v.child("backbone.norm_f", norm_f_);
    if (config_.tie_embeddings) {
      v.alias("lm_head.weight", std::string(table) + ".weight");
      v.derived(*this);
    } else {
      v.child("lm_head", lm_head_);
    }
  }
  void refresh_derived() { packed_head_.pack(embedding_.weight); }
  void release_sources() { packed_head_.take(embedding_.weight); }

 private:
  void check(const Tensor<std::int64_t, 2>& ids, const State* state,
             const Tensor<T, 2>& mask) const {
    if (mask.defined() && mask.shape() != ids.shape())
      detail::fail<ShapeError>(
          {"Mamba: attention_mask is ", mask.shape(), ", expected ", ids.shape(), " as input_ids"});
    if (state == nullptr) return;
    if (static_cast<index_t>(state->layers.size()) != config_.n_layer ||
        (config_.n_layer > 0 && state->layers[0].ssm_state.extent(0) != ids.extent(0)))
      detail::fail<ShapeError>({"Mamba: the state is not of this model and batch ", ids.extent(0),
                                "; make it with initial_state"});
  }

  Tensor<T, 3> hidden_states(const Tensor<std::int64_t, 2>& ids, State* state,
                             const Tensor<T, 2>& mask) const {
    Tensor<T, 3> r = embedding_.forward(ids, &packed_head_);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const MambaLayer<T>& layer = layers_[i];
      if (recompute_layers_ && state == nullptr)
        r = recompute([&layer, mask](const auto& x) { return layer.forward(x, nullptr, mask); }, r);
      else
        r = layer.forward(r, state == nullptr ? nullptr : &state->layers[i], mask);
    }
    return norm_f_.forward(r);
  }

  Tensor<T, 3> head(const Tensor<T, 3>& h) const {
    if (!config_.tie_embeddings) return lm_head_.forward(h);
    return linear(h, embedding_.weight, Tensor<T, 1>{}, Activation::identity, &packed_head_);
  }

  Config config_;
  Embedding<T> embedding_;
  std::vector<MambaLayer<T>> layers_;
  Norm<T> norm_f_;
  Linear<T> lm_head_;            // untied
  PackedWeight<T> packed_head_;  // tied
  bool recompute_layers_ = false;
};

}  // namespace sequin::inline SEQUIN_ABI
