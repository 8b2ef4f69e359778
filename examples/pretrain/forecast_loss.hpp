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

/// Whose tokens the balance of the experts counts.
enum class Balance {
  kEachLayer,  ///< a layer's by themselves, the mean over the layers
  kTogether,   ///< those of all layers, as the official loss: each layer may use some experts alone
};

/// Huber on every head at every step that is no padding.
inline sequin::TimeMoeLoss<float> windows_loss(const sequin::TimeMoe<float>& model,
                                               const WindowsBatch& batch,
                                               std::vector<sequin::Routing<float>>& routings) {
  sequin::TimeMoeCall<float> call;
  call.routings = &routings;
  const Tensor<float, 3> hidden = model.hidden_states(batch.input, call);
  return sequin::time_moe_loss(model, hidden, routings, batch.labels, batch.loss_masks,
                               batch.is_real);
}

/// What is trained: windows_loss, plus the balance of the experts.
inline Tensor<float, 0> training_loss(const sequin::TimeMoe<float>& model,
                                      const WindowsBatch& batch, Balance balance) {
  std::vector<sequin::Routing<float>> routings;
  const sequin::TimeMoeLoss<float> official = windows_loss(model, batch, routings);
  const sequin::TimeMoeConfig& c = model.config();
  if (balance == Balance::kTogether || c.use_dense) return official.loss;
  Tensor<float, 0> total;
  for (const auto& loss : official.ar_losses) total = total.defined() ? add(total, loss) : loss;
  total = sequin::scale(total, 1 / static_cast<float>(official.ar_losses.size()));
  const Tensor<float, 1> counts = batch.is_real.cast<float>().reshaped<1>({batch.is_real.size()});
  const auto layers = static_cast<double>(routings.size());
  for (const auto& routing : routings)
    total = add(total, sequin::scale(
                           sequin::load_balancing_loss<float>(std::span(&routing.router_logits, 1),
                                                              c.num_experts_per_tok, counts),
                           static_cast<float>(c.router_aux_loss_factor / layers)));
  return total;
}

/// Without the balance: what forecasts are chosen by.
inline float windows_error(const sequin::TimeMoe<float>& model, const WindowsBatch& batch) {
  std::vector<sequin::Routing<float>> routings;
  const auto losses = windows_loss(model, batch, routings).ar_losses;
  float sum = 0;
  for (const auto& loss : losses) sum += loss.item();
  return sum / static_cast<float>(losses.size());
}

}  // namespace sequin_pretrain
