/// Which share of the tokens each expert gets.
#pragma once

#include "series_windows.hpp"

#include "sequin/core/no_grad.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/models/time_moe.hpp"

#include <algorithm>
#include <vector>

namespace sequin_pretrain {

/// By layer and expert: the share of choices that fell on it; a layer's shares sum to 1.
using ExpertLoad = std::vector<std::vector<double>>;

/// Over `batches` batches of 8 windows drawn from `seed`; padding does not count. Empty for a dense
/// model.
inline ExpertLoad expert_load(const sequin::TimeMoe<float>& model, const SeriesWindows& windows,
                              index_t batches, std::uint64_t seed) {
  const sequin::NoGrad no_grad;
  const auto experts = static_cast<std::size_t>(model.config().num_experts);
  ExpertLoad load;
  if (model.config().use_dense) return load;
  load.assign(static_cast<std::size_t>(model.config().num_hidden_layers),
              std::vector<double>(experts, 0.0));
  Generator generator(seed);
  WindowsBatch batch;
  for (index_t i = 0; i < batches; ++i) {
    windows.draw(generator, 8, batch);
    std::vector<sequin::Routing<float>> routings;
    sequin::TimeMoeCall<float> call;
    call.routings = &routings;
    model.hidden_states(batch.input, call);
    for (std::size_t l = 0; l < load.size(); ++l) {
      const auto& chosen = routings[l].selected_experts;
      for (index_t t = 0; t < chosen.extent(0); ++t)
        for (index_t j = 0; j < chosen.extent(1); ++j)
          if (batch.is_real.data()[t] != 0) load[l][static_cast<std::size_t>(chosen(t, j))] += 1;
    }
  }
  for (auto& layer : load) {
    double sum = 0;
    for (const double v : layer) sum += v;
    for (double& v : layer) v /= sum;
  }
  return load;
}

/// The busiest expert's share by the mean share: 1 is balance, the number of experts collapse.
inline double busiest(const std::vector<double>& layer) {
  return *std::max_element(layer.begin(), layer.end()) * static_cast<double>(layer.size());
}

inline void write_load(sequin::JsonWriter& w, const ExpertLoad& load) {
  w.begin_array();
  for (const auto& layer : load) {
    w.begin_object().key("max_by_mean").value(busiest(layer)).key("shares").begin_array();
    for (const double v : layer) w.value(v);
    w.end_array().end_object();
  }
  w.end_array();
}

}  // namespace sequin_pretrain
