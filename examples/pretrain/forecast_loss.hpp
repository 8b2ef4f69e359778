/// The loss of Time-MoE on a batch of windows, and the first weights of its embedding.
#pragma once

#include "series_windows.hpp"

#include "sequin/models/time_moe_loss.hpp"

#include <vector>

namespace sequin_pretrain {

/// Draws the embedding's weights anew with the deviation `deviation`. Small ones, as the official
/// `_init_weights` draws them, make it even in the value, silu(g x) e x ~ g e x^2 / 2: its sign is
/// nearly lost, and a short training is over before it is found.
inline void widen_embedding(sequin::TimeMoe<float>& model, double deviation, Generator& generator) {
  for (auto& p : sequin::parameters(model).items)
    if (p.name.starts_with("model.embed_layer."))
      sequin::init::normal(p.values, deviation, generator);
}

/// Huber on every head at every step that is no padding, plus the balance of the experts.
inline sequin::TimeMoeLoss<float> windows_loss(
    const sequin::TimeMoe<float>& model, const WindowsBatch& batch,
    sequin::ExpertBalance balance = sequin::ExpertBalance::together) {
  std::vector<sequin::Routing<float>> routings;
  sequin::TimeMoeCall<float> call;
  call.routings = &routings;
  const Tensor<float, 3> hidden = model.hidden_states(batch.input, call);
  return sequin::time_moe_loss(model, hidden, routings, batch.labels, batch.loss_masks,
                               batch.is_real, balance);
}

}  // namespace sequin_pretrain
