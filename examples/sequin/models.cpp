#include "models.hpp"

namespace sequin_cli {

std::span<const ModelInfo> known_models() {
  static constexpr const char* kITransformer = "arXiv 2310.06625 (ICLR 2024)";
  static constexpr const char* kInformer = "arXiv 2012.07436 (AAAI 2021)";
  static constexpr const char* kMamba = "arXiv 2312.00752";
  static constexpr const char* kTransformer = "arXiv 1706.03762";
  static constexpr const char* kTimeMoe = "arXiv 2409.16040 (ICLR 2025)";
  static const ModelInfo models[] = {
      {"itransformer", kITransformer, "forecasting many series at once", false, true,
       run_itransformer<float>, run_itransformer<double>},
      {"itransformer_tslib", kITransformer, "forecasting, imputation, anomalies, classification",
       false, true, run_itransformer<float>, run_itransformer<double>},
      {"informer", kInformer, "long forecasts in one pass", false, true, run_informer<float>,
       run_informer<double>},
      {"informerstack", kInformer, "the same with a stack of encoders", false, true,
       run_informer<float>, run_informer<double>},
      {"informer_tslib", kInformer, "forecasting, imputation, anomalies, classification", false,
       true, run_informer<float>, run_informer<double>},
      {"mamba", kMamba, "language modelling and generation", true, true, run_mamba<float>,
       run_mamba<double>},
      {"time_moe", kTimeMoe, "forecasting any series to any horizon", true, true,
       run_time_moe<float>, run_time_moe<double>},
      {"blocks/mamba_mixer", kMamba, "the mixer of Mamba", true, true, run_mamba_mixer<float>,
       run_mamba_mixer<double>},
      {"blocks/selective_scan", kMamba, "the state-space recurrence of Mamba", true, true,
       run_selective_scan<float>, run_selective_scan<double>},
      {"blocks/causal_conv1d", kMamba, "depthwise causal convolution", true, true,
       run_causal_conv1d<float>, run_causal_conv1d<double>},
      {"blocks/attention/full", kTransformer, "multi-head attention with projections", false, true,
       run_attention<float>, run_attention<double>},
      {"blocks/attention/prob_sparse", kInformer, "attention of few queries, with projections",
       false, true, run_attention<float>, run_attention<double>},
      {"blocks/distil_conv", kInformer, "Informer's halving of the time axis", false, true,
       run_distil_conv<float>, run_distil_conv<double>},
      {"blocks/data_embedding", kInformer, "tokens from values, positions and the calendar", false,
       true, run_data_embedding<float>, run_data_embedding<double>},
      {"blocks/swiglu", "arXiv 2002.05202", "gated feed-forward block", false, true,
       run_swiglu<float>, run_swiglu<double>},
      {"blocks/rms_norm", "arXiv 1910.07467", "normalisation by the root mean square", false, true,
       run_rms_norm<float>, run_rms_norm<double>},
      {"blocks/causal_gqa_rope_attention", kTimeMoe, "attention with grouped heads and a cache",
       true, true, run_causal_gqa_rope_attention<float>, run_causal_gqa_rope_attention<double>},
      {"blocks/rotary_hf", "arXiv 2104.09864", "rotary positions, halves", true, true,
       run_rotary_hf<float>, run_rotary_hf<double>},
      {"blocks/rotary_interleaved", "arXiv 2104.09864", "rotary positions, neighbours", true, true,
       run_rotary_interleaved<float>, run_rotary_interleaved<double>},
      {"blocks/moe_topk_router", kTimeMoe, "mixture of experts", false, true,
       run_moe_topk_router<float>, run_moe_topk_router<double>},
      {"blocks/load_balancing_loss", kTimeMoe, "spreads tokens over experts", false, true,
       run_load_balancing_loss<float>, run_load_balancing_loss<double>},
      {"blocks/si_sdr", "Le Roux et al., ICASSP 2019", "permutation-invariant separation loss",
       false, true, run_si_sdr<float>, run_si_sdr<double>},
  };
  return models;
}

const ModelInfo& model_of(const sequin::Config& config) {
  std::string name = config.get_string("model", "");
  if (name.empty()) {
    if (config.get_string("model_type", "") == "mamba" || config.has("ssm_cfg"))
      name = "mamba";
    else if (config.get_string("model_type", "") == "time_moe")
      name = "time_moe";
    else if (config.has("e_layers") && (config.has("attn") || config.has("mix")))
      name = "informer";
    else if (config.has("task_name") && config.has("e_layers"))
      name = "itransformer_tslib";
    else if (config.has("e_layers") && config.has("use_norm"))
      name = "itransformer";
    else
      throw sequin::ConfigError(config.label() +
                                ": model: expected a name that `sequin list` shows, found none");
  }
  for (const ModelInfo& m : known_models())
    if (name == m.name) return m;
  // The Time-Series-Library's own spelling: "Informer".
  std::string small = name;
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (config.has("task_name")) small += "_tslib";
  for (const ModelInfo& m : known_models())
    if (small == m.name) return m;
  throw sequin::ConfigError(config.label() + ": model: expected a name that `sequin list` shows, " +
                            "found '" + sequin::detail::printable(name) + "'");
}

}  // namespace sequin_cli
