/// Time-MoE: a decoder-only forecaster of single time points, dense or with sparse experts.
#pragma once

#include "sequin/blocks/expert_parallel_moe.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/models/time_moe_config.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// One pre-norm layer: h += self_attn(norm(h)); h += ffn(norm(h)), the latter dense or a mixture.
template <Scalar T>
class TimeMoeLayer {
 public:
  using value_type = T;

  RMSNorm<T> input_layernorm, post_attention_layernorm;
  CausalSelfAttention<T> self_attn;
  std::optional<SwiGLU<T>> dense;
  std::optional<SparseMoe<T>> mixture;
  std::optional<ExpertParallelMoe<T>> spread;  ///< the mixture, over several processes

  explicit TimeMoeLayer(const TimeMoeConfig& c, Replicas* replicas = nullptr)
      : input_layernorm(c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(c.hidden_size, c.rms_norm_eps),
        self_attn(c.attention()) {
    if (c.use_dense)
      dense.emplace(c.hidden_size, c.intermediate_size, c.hidden_act);
    else if (replicas != nullptr)
      spread.emplace(c.mixture(), *replicas);
    else
      mixture.emplace(c.mixture());
  }

  Tensor<T, 3> forward(Tensor<T, 3> h, const RotaryTable<T>& rotary,
                       const Tensor<bool, 2>& key_mask, KeyValueCache<T>* cache,
                       Routing<T>* routing, const ForwardContext<T>& context) const {
    h = h + self_attn.forward(input_layernorm.forward(h), rotary, key_mask, cache, context);
    const Tensor<T, 3> z = post_attention_layernorm.forward(h);
    return probe(*this, h + (dense    ? dense->forward(z)
                             : spread ? spread->forward(z, routing)
                                      : mixture->forward(z, routing)));
  }

  void visit(Visitor<T>& v) {
    v.child("self_attn", self_attn);
    if (dense) v.child("ffn_layer", *dense);
    if (mixture) v.child("ffn_layer", *mixture);
    if (spread) v.child("ffn_layer", *spread);
    v.child("input_layernorm", input_layernorm);
    v.child("post_attention_layernorm", post_attention_layernorm);
  }
};

/// What the model remembers of B series: keys and values of every layer, and which steps were
/// padding. A copy is independent.
template <Scalar T>
class TimeMoeState : public StreamState<TimeMoeState<T>> {
 public:
  std::vector<KeyValueCache<T>> layers;
  StateTensor<bool, 2> key_mask;  ///< (B, at least length), undefined while nothing was padding

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.children("layers", s.layers...);
    v.step_mask("key_mask", s.key_mask...);
  }

  /// Steps so far.
  index_t length() const noexcept { return layers.empty() ? 0 : layers[0].length(); }

  /// Adds L steps of which those where mask (B, L) is 0 are padding; none is where it is undefined.
  void append_mask(const Tensor<std::int64_t, 2>& mask, index_t steps) {
    const bool padded = mask.defined() && std::any_of(mask.span().begin(), mask.span().end(),
                                                      [](std::int64_t m) { return m == 0; });
    if (!padded && !key_mask.defined()) return;
    const index_t past = length();
    const index_t batch = layers[0].batch();
    if (!key_mask.defined() || key_mask.extent(1) < past + steps) {
      const ArenaScope heap(nullptr);
      Tensor<bool, 2> wider({batch, (std::max)(past + steps, layers[0].capacity())}, true);
      for (index_t b = 0; key_mask.defined() && b < batch; ++b)
        std::copy_n(std::as_const(key_mask).data() + b * key_mask.extent(1), past, &wider(b, 0));
      key_mask = std::move(wider);
    }
    for (index_t b = 0; b < batch; ++b)
      for (index_t t = 0; t < steps; ++t)
        key_mask(b, past + t) = !mask.defined() || mask(b, t) != 0;
  }
};

/// What a forward pass may be told besides the values.
template <Scalar T>
struct TimeMoeCall {
  /// (B, L), 0 at padding on the left; undefined: all steps are real.
  Tensor<std::int64_t, 2> attention_mask;
  /// (B, L); undefined: past .. past + L - 1 for every row, whatever the mask says.
  Tensor<std::int64_t, 2> position_ids;
  /// The series continue where the last call with this state ended.
  TimeMoeState<T>* state = nullptr;
  /// Gets what the router of each layer decided about the B * L steps.
  std::vector<Routing<T>>* routings = nullptr;
  ForwardContext<T> context;
};

/// `TimeMoeForPrediction` of modeling_time_moe.py (Time-MoE, arXiv 2409.16040), eager attention.
/// Float accumulates the norms' means and the softmax as the official code does; rotary angles are
/// computed in double.
template <Scalar T>
class TimeMoe {
 public:
  using value_type = T;
  using Config = TimeMoeConfig;
  using State = TimeMoeState<T>;
  using StreamInput = T;

  /// All weights zero: load them or `initialize`. With `replicas`, which outlives the model, each
  /// of those processes has its part of every layer's experts, and all make their forward passes
  /// together (ExpertParallelMoe). Throws ConfigError: also for a dense model in several.
  explicit TimeMoe(const Config& c, Replicas* replicas = nullptr)
      : config_(c),
        replicas_(replicas),
        emb_layer_(c.input_size, c.hidden_size, false),
        gate_layer_(c.input_size, c.hidden_size, false),
        norm_(c.hidden_size, c.rms_norm_eps) {
    if (c.use_dense && replicas != nullptr)
      throw ConfigError("TimeMoe: use_dense is true, expected experts to lie on the " +
                        std::to_string(replicas->size()) + " ranks");
    layers_.reserve(static_cast<std::size_t>(c.num_hidden_layers));
    for (index_t i = 0; i < c.num_hidden_layers; ++i) layers_.emplace_back(c, replicas);
    for (const index_t h : c.horizon_lengths)
      lm_heads_.emplace_back(c.hidden_size, c.input_size * h, false);
  }

  const Config& config() const noexcept { return config_; }
  /// The processes that have the experts; nullptr: this one has all.
  Replicas* replicas() const noexcept { return replicas_; }

  /// x (B, L, C), one token a time point -> the last hidden state (B, L, D).
  /// Throws ShapeError, ConfigError (a state while recording).
  Tensor<T, 3> hidden_states(const Tensor<T, 3>& x, const TimeMoeCall<T>& call = {}) const {
    check(x, call);
    State* const state = call.state;
    const Tensor<T, 3> embedded =
        mul(gate_layer_.forward(x, config_.hidden_act), emb_layer_.forward(x));
    if (state != nullptr && recording(embedded) != nullptr)
      throw ConfigError("TimeMoe: a state cannot be recorded; use it under NoGrad");
    const RotaryTable<T> rotary =
        rotary_table<T>(call.position_ids.defined()
                            ? call.position_ids
                            : positions_from(state == nullptr ? 0 : state->length(), x.extent(1)),
                        config_.hidden_size / config_.num_attention_heads, config_.rope_theta);
    Tensor<bool, 2> key_mask;
    if (state != nullptr) {
      state->append_mask(call.attention_mask, x.extent(1));
      key_mask = state->key_mask;
    } else if (call.attention_mask.defined()) {
      key_mask = call.attention_mask.template cast<bool>();
    }
    if (call.routings != nullptr) call.routings->assign(config_.use_dense ? 0 : layers_.size(), {});
    Tensor<T, 3> h = embedded;
    for (std::size_t i = 0; i < layers_.size(); ++i)
      h = layers_[i].forward(
          h, rotary, key_mask, state == nullptr ? nullptr : &state->layers[i],
          call.routings == nullptr || config_.use_dense ? nullptr : &(*call.routings)[i],
          call.context);
    return norm_.forward(h);
  }

  /// What head j says of hidden states (B, L, D): (B, L, h_j * C), the h_j next steps after each
  /// time point, index step * C + channel.
  Tensor<T, 3> head(std::size_t j, const Tensor<T, 3>& hidden) const {
    return lm_heads_[j].forward(hidden);
  }

  /// The head that answers for at most `max_horizon` steps: in the order given the last before one
  /// that is longer, where the first passes whatever its length. `max_horizon` <= 0: the first.
  std::size_t head_for(index_t max_horizon) const noexcept {
    const std::vector<index_t>& lengths = config_.horizon_lengths;
    std::size_t next = 1;
    while (next < lengths.size() && lengths[next] <= max_horizon) ++next;
    return next - 1;
  }

  /// x (B, L, C) -> logits (B, L, h * C) of the head for `max_horizon_length`, cut to that many
  /// steps where it is longer: the official forward without labels. Throws as `hidden_states`.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, index_t max_horizon_length = 0,
                       const TimeMoeCall<T>& call = {}) const {
    return predict(hidden_states(x, call), max_horizon_length);
  }
  /// The same from hidden states.
  Tensor<T, 3> predict(const Tensor<T, 3>& hidden, index_t max_horizon_length) const {
    const Tensor<T, 3> logits = head(head_for(max_horizon_length), hidden);
    const index_t most = max_horizon_length * config_.input_size;
    return max_horizon_length > 0 && logits.extent(2) > most ? slice(logits, 2, 0, most) : logits;
  }

  // What Session needs.
  State initial_state(index_t batch) const {
    return initial_state(batch, (std::min)(config_.max_position_embeddings, index_t{4096}));
  }
  /// With memory for `capacity` steps; a longer series allocates on the way, each time as much as
  /// it has.
  State initial_state(index_t batch, index_t capacity) const {
    State state;
    state.layers.reserve(layers_.size());
    for (const auto& layer : layers_)
      state.layers.push_back(layer.self_attn.initial_cache(batch, capacity));
    return state;
  }
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }
  /// One time point a row: C values.
  index_t stream_width() const noexcept { return config_.input_size; }
  /// A value that is not finite would stay in the cache.
  bool accepts(std::span<const T> values) const noexcept {
    return std::all_of(values.begin(), values.end(), [](T v) { return std::isfinite(v); });
  }
  /// values (B, C) -> what each head says, one after the other: (B, C * sum of horizon_lengths).
  Tensor<T, 2> step(std::span<const T> values, State& state) const {
    const index_t channels = config_.input_size;
    const auto batch = static_cast<index_t>(values.size()) / channels;
    TimeMoeCall<T> call;
    call.state = &state;
    const Tensor<T, 3> hidden = hidden_states(Tensor<T, 3>({batch, 1, channels}, values), call);
    const index_t width = channels * config_.total_horizon();
    auto out = Tensor<T, 2>::empty({batch, width});
    T* to = out.data();
    for (std::size_t j = 0; j < lm_heads_.size(); ++j) {
      const Tensor<T, 3> said = head(j, hidden);
      detail::copy_chunks(said.span().data(), said.extent(2), to, width, said.extent(2), batch);
      to += said.extent(2);
    }
    return out;
  }

  /// Draws fresh weights as the official `_init_weights`: linear maps N(0, initializer_range),
  /// biases 0, norms 1. Experts on several ranks get the weights that they have on one.
  void initialize(Generator& generator) {
    for (auto& p : parameters(*this).items) {
      if (!p.here()) p.values = Tensor<T, 1>(Shape<1>{p.shape[0] * p.shape[1]});
      if (p.shape.size() == 2)
        init::normal(p.values, config_.initializer_range, generator);
      else if (p.name.ends_with("bias"))
        p.values.fill(T{0});
    }
  }

  /// Which variant a checkpoint with these names is; empty for none. `has(name)` says whether a
  /// name is there.
  template <class Has>
  static std::string variant_of(Has&& has) {
    if (has("model.layers.0.ffn_layer.gate.weight"))
      return "a mixture of experts (use_dense false)";
    if (has("model.layers.0.ffn_layer.gate_proj.weight")) return "a dense model (use_dense true)";
    return "";
  }

  void visit(Visitor<T>& v) {
    v.child("model.embed_layer.emb_layer", emb_layer_);
    v.child("model.embed_layer.gate_layer", gate_layer_);
    v.children("model.layers", layers_);
    v.child("model.norm", norm_);
    for (std::size_t j = 0; j < lm_heads_.size(); ++j)
      v.child("lm_heads." + std::to_string(j) + ".out_layer", lm_heads_[j]);
  }

 private:
  static Tensor<std::int64_t, 2> positions_from(index_t past, index_t length) {
    auto positions = Tensor<std::int64_t, 2>::empty({1, length});
    for (index_t t = 0; t < length; ++t) positions(0, t) = past + t;
    return positions;
  }

  void check(const Tensor<T, 3>& x, const TimeMoeCall<T>& call) const {
    if (x.extent(2) != config_.input_size)
      throw ShapeError("TimeMoe: the values are " + to_string(x.shape()) + ", expected [B, L, C=" +
                       std::to_string(config_.input_size) + "] (C from input_size)");
    const Shape<2> expected{x.extent(0), x.extent(1)};
    const auto fits = [&](const char* name, const Tensor<std::int64_t, 2>& t) {
      if (t.defined() && t.shape() != expected)
        throw ShapeError(std::string("TimeMoe: ") + name + " is " + to_string(t.shape()) +
                         ", expected " + to_string(expected) + " ([B, L] from the values " +
                         to_string(x.shape()) + ")");
    };
    fits("attention_mask", call.attention_mask);
    fits("position_ids", call.position_ids);
    if (call.state == nullptr) return;
    if (call.state->layers.size() != layers_.size() || call.state->layers[0].batch() != x.extent(0))
      throw ShapeError("TimeMoe: the state is not of this model and batch " +
                       std::to_string(x.extent(0)) + "; make it with initial_state");
  }

  Config config_;
  Replicas* replicas_;
  Linear<T> emb_layer_, gate_layer_;
  std::vector<TimeMoeLayer<T>> layers_;
  RMSNorm<T> norm_;
  std::vector<Linear<T>> lm_heads_;
};

}  // namespace sequin::inline SEQUIN_ABI
