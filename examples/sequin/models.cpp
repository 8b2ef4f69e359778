#include "models.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin_cli {

namespace {

std::vector<ModelInfo>& registry() {
  static std::vector<ModelInfo> models;
  return models;
}

}  // namespace

RegisterModel::RegisterModel(const char* name, const char* paper, const char* purpose, bool streams,
                             bool trains, CaseFunction<float> run_float,
                             CaseFunction<double> run_double) {
  registry().push_back({name, paper, purpose, streams, trains, run_float, run_double});
}

std::span<const ModelInfo> known_models() {
  const auto order = [](const ModelInfo& m) {
    const std::string_view name = m.name;
    return std::pair(name.starts_with("blocks/"), name);
  };
  static const bool sorted = [&] {
    std::ranges::sort(registry(), {}, order);
    return true;
  }();
  static_cast<void>(sorted);
  return registry();
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
