/// config.json of Time-MoE.
#pragma once

#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/ops/activation.hpp"

#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// `TimeMoeConfig` of configuration_time_moe.py, with its defaults.
struct TimeMoeConfig {
  index_t input_size = 1;
  index_t hidden_size = 4096;
  index_t intermediate_size = 22016;
  std::vector<index_t> horizon_lengths{1};
  index_t num_hidden_layers = 32;
  index_t num_attention_heads = 32;
  index_t num_key_value_heads = 32;
  Activation hidden_act = Activation::silu;
  index_t num_experts_per_tok = 2;
  index_t num_experts = 1;
  index_t max_position_embeddings = 32768;
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-6;
  bool use_dense = false;
  double rope_theta = 10000;
  double attention_dropout = 0;
  bool apply_aux_loss = true;  ///< the opposite of use_dense
  double router_aux_loss_factor = 0.02;

  CausalSelfAttentionConfig attention() const {
    CausalSelfAttentionConfig c;
    c.hidden_size = hidden_size;
    c.num_attention_heads = num_attention_heads;
    c.num_key_value_heads = num_key_value_heads;
    c.attention_dropout = attention_dropout;
    return c;
  }

  SparseMoeConfig mixture() const {
    SparseMoeConfig c;
    c.hidden_size = hidden_size;
    c.intermediate_size = intermediate_size;
    c.num_experts = num_experts;
    c.num_experts_per_tok = num_experts_per_tok;
    c.activation = hidden_act;
    return c;
  }

  /// Sum of the heads' lengths.
  index_t total_horizon() const noexcept {
    index_t total = 0;
    for (const index_t h : horizon_lengths) total += h;
    return total;
  }

  /// Number of parameters that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto d = static_cast<double>(hidden_size);
    const auto c = static_cast<double>(input_size);
    const double ffn =
        use_dense ? 3 * d * static_cast<double>(intermediate_size) : mixture().parameter_count();
    return 2 * d * c +
           static_cast<double>(num_hidden_layers) * (attention().parameter_count() + ffn + 2 * d) +
           d + d * c * static_cast<double>(total_horizon());
  }

  /// Reads the official keys. Throws ConfigError naming key, expected and found.
  template <class Reader>
  static TimeMoeConfig read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 20;
    TimeMoeConfig c;
    c.input_size = r.get_int("input_size", c.input_size, 1, kMax);
    c.hidden_size = r.get_int("hidden_size", c.hidden_size, 1, kMax);
    c.intermediate_size = r.get_int("intermediate_size", c.intermediate_size, 1, kMax);
    if (r.is_list("horizon_lengths")) {
      c.horizon_lengths = r.get_int_list("horizon_lengths");
      if (c.horizon_lengths.empty())
        throw ConfigError(r.label() + ": horizon_lengths: expected at least one, found none");
      for (const index_t h : c.horizon_lengths)
        if (h < 1 || h > kMax)
          throw ConfigError(r.label() + ": horizon_lengths: expected lengths of 1 to " +
                            std::to_string(kMax) + ", found " + std::to_string(h));
    } else {
      c.horizon_lengths = {r.get_int("horizon_lengths", 1, 1, kMax)};
    }
    c.num_hidden_layers = r.get_int("num_hidden_layers", c.num_hidden_layers, 1, 4096);
    c.num_attention_heads = r.get_int("num_attention_heads", c.num_attention_heads, 1, kMax);
    c.num_key_value_heads =
        r.get_int("num_key_value_heads", c.num_attention_heads, 1, c.num_attention_heads);
    c.hidden_act = activation_named(r.get_string("hidden_act", "silu"), r.label() + ": hidden_act");
    c.num_experts_per_tok = r.get_int("num_experts_per_tok", c.num_experts_per_tok, 1, kMax);
    c.num_experts = r.get_int("num_experts", c.num_experts, 1, kMax);
    c.max_position_embeddings =
        r.get_int("max_position_embeddings", c.max_position_embeddings, 1, index_t{1} << 30);
    c.initializer_range = r.get_double("initializer_range", c.initializer_range, 0.0, 1e6);
    c.rms_norm_eps = r.get_double("rms_norm_eps", c.rms_norm_eps, 0.0, 1.0);
    c.use_dense = r.get_bool("use_dense", c.use_dense);
    c.rope_theta = r.get_double("rope_theta", c.rope_theta, 1e-6, 1e12);
    c.attention_dropout = r.get_double("attention_dropout", c.attention_dropout, 0.0, 1.0);
    c.apply_aux_loss = r.get_bool("apply_aux_loss", c.apply_aux_loss);
    c.router_aux_loss_factor =
        r.get_double("router_aux_loss_factor", c.router_aux_loss_factor, 0.0, 1e6);
    if (c.use_dense == c.apply_aux_loss)
      throw ConfigError(r.label() + ": expected one of use_dense and apply_aux_loss to be true, " +
                        "found " + (c.use_dense ? "both" : "neither"));
    if (c.hidden_size % (2 * c.num_attention_heads) != 0)
      throw ConfigError(r.label() + ": hidden_size: expected an even number of elements for each " +
                        "of num_attention_heads = " + std::to_string(c.num_attention_heads) +
                        ", found " + std::to_string(c.hidden_size));
    if (c.num_attention_heads % c.num_key_value_heads != 0)
      throw ConfigError(r.label() + ": num_key_value_heads: expected a divisor of " +
                        "num_attention_heads = " + std::to_string(c.num_attention_heads) +
                        ", found " + std::to_string(c.num_key_value_heads));
    if (!c.use_dense && c.num_experts_per_tok > (std::min)(c.num_experts, c.intermediate_size))
      throw ConfigError(r.label() + ": num_experts_per_tok: expected at most num_experts = " +
                        std::to_string(c.num_experts) +
                        " and intermediate_size = " + std::to_string(c.intermediate_size) +
                        ", found " + std::to_string(c.num_experts_per_tok));
    return c;
  }
};

}  // namespace sequin::inline SEQUIN_ABI
