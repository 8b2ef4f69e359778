/// What Time-MoE is trained with: every head at every time point, and the balance of its experts.
#pragma once

#include "sequin/models/time_moe.hpp"
#include "sequin/ops/load_balancing.hpp"
#include "sequin/ops/loss.hpp"

#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Whose tokens are to fall evenly on the experts.
enum class ExpertBalance {
  together,    ///< those of all layers in one, the official loss: a layer may neglect some experts
  each_layer,  ///< those of each layer; the mean over the layers
};

/// The loss and what it is made of.
template <Scalar T>
struct TimeMoeLoss {
  Tensor<T, 0> loss;                    ///< error + router_aux_loss_factor * aux_loss
  Tensor<T, 0> error;                   ///< mean(ar_losses)
  std::vector<Tensor<T, 0>> ar_losses;  ///< one a head
  Tensor<T, 0> aux_loss;                ///< undefined for a dense model
};

namespace detail {

/// windows (B, L, h, C): entry (t, s) is x (B, L, C) at t + s, and 0 after the end.
template <Scalar T>
Tensor<T, 4> future_windows(const Tensor<T, 3>& x, index_t h) {
  const index_t length = x.extent(1);
  const index_t channels = x.extent(2);
  Tensor<T, 4> windows({x.extent(0), length, h, channels});
  T* to = windows.data();
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < length; ++t, to += h * channels)
      std::copy_n(x.data() + (b * length + t) * channels, (std::min)(h, length - t) * channels, to);
  return windows;
}

}  // namespace detail

/// The official training loss from what a forward pass gave: `hidden` (B, L, D) and `routings` (not
/// read where the model is dense); labels (B, L, C), labels[t] being the value that follows input
/// t. Head of length h: Huber with delta 2 of its predictions against labels t .. t + h - 1, zeros
/// after the end. `loss_masks` (B, L, 1): weights of the labels, the sum divided by theirs (which
/// counts time points, not channels; 0 where they are all 0, the official code: NaN). Without them
/// the plain mean, the zeros after the end included. `attention_mask` (B, L) as in the forward
/// pass: padding does not count for the balance. Where the experts lie on several ranks, those call
/// it together, and the mean of their losses by tokens is the loss of all tokens.
///
/// `calc_ar_loss` and `load_balancing_loss_func` of modeling_time_moe.py. Throws ShapeError.
template <Scalar T>
TimeMoeLoss<T> time_moe_loss(const TimeMoe<T>& model, const Tensor<T, 3>& hidden,
                             const std::vector<Routing<T>>& routings, const Tensor<T, 3>& labels,
                             const Tensor<T, 3>& loss_masks = {},
                             const Tensor<std::int64_t, 2>& attention_mask = {},
                             ExpertBalance balance = ExpertBalance::together) {
  const TimeMoeConfig& c = model.config();
  const index_t batch = hidden.extent(0);
  const index_t length = hidden.extent(1);
  const auto fits = [](const char* name, const Shape<3>& found, const Shape<3>& expected) {
    if (found != expected)
      throw ShapeError(std::string("time_moe_loss: ") + name + " is " + to_string(found) +
                       ", expected " + to_string(expected));
  };
  fits("labels", labels.shape(), {batch, length, c.input_size});
  if (loss_masks.defined()) fits("loss_masks", loss_masks.shape(), {batch, length, 1});

  TimeMoeLoss<T> result;
  Tensor<T, 0> total;
  for (std::size_t j = 0; j < c.horizon_lengths.size(); ++j) {
    const index_t h = c.horizon_lengths[j];
    const Tensor<T, 4> said =
        reshape<4>(model.head(j, hidden), Shape<4>{batch, length, h, c.input_size});
    const Tensor<T, 4> errors = huber(said, detail::future_windows(labels, h), 2);
    Tensor<T, 0> loss;
    if (loss_masks.defined()) {
      const Tensor<T, 4> weights = detail::future_windows(loss_masks, h);
      const T count = sum(weights).item();
      loss = scale(sum(mul(errors, weights)), count != T{0} ? T{1} / count : T{0});
    } else {
      loss = mean(errors);
    }
    result.ar_losses.push_back(loss);
    total = total.defined() ? add(total, loss) : loss;
  }
  result.error = scale(total, T{1} / static_cast<T>(c.horizon_lengths.size()));
  result.loss = result.error;
  if (c.use_dense) return result;

  std::vector<Tensor<T, 2>> router_logits;
  for (const Routing<T>& routing : routings) router_logits.push_back(routing.router_logits);
  Tensor<T, 1> counts;
  if (attention_mask.defined())
    counts = attention_mask.template cast<T>().template reshaped<1>({batch * length});
  const auto balance_of = [&](std::span<const Tensor<T, 2>> layers) {
    return load_balancing_loss<T>(layers, c.num_experts_per_tok, counts, model.replicas());
  };
  if (balance == ExpertBalance::together) {
    result.aux_loss = balance_of(router_logits);
  } else {
    for (const Tensor<T, 2>& logits : router_logits) {
      const Tensor<T, 0> one = balance_of(std::span(&logits, 1));
      result.aux_loss = result.aux_loss.defined() ? add(result.aux_loss, one) : one;
    }
    result.aux_loss = scale(result.aux_loss, T{1} / static_cast<T>(router_logits.size()));
  }
  result.loss = add(result.error, scale(result.aux_loss, static_cast<T>(c.router_aux_loss_factor)));
  return result;
}

}  // namespace sequin::inline SEQUIN_ABI
