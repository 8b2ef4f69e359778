/// Trains a forecaster on windows of a series by the official protocol.
#pragma once

#include "sequin/train/evaluate.hpp"
#include "sequin/train/train.hpp"

namespace sequin::inline SEQUIN_ABI {

/// The mean squared error of predictions (B, P, C or more, of which the last C count) and targets
/// (B, P, C): what the official code validates by.
struct MseCriterion {
  template <Scalar T>
  double operator()(const Tensor<T, 3>& prediction, const Tensor<T, 3>& target) const {
    ForecastScore score;
    score.add(prediction, target);
    return score.mse();
  }
};

/// `train` on windows, validated by the plain mean over batches of
/// criterion(predict_fn(batch), batch.target), as in the official code.
///
/// - `loss_fn(batch)`: WindowBatch<T> to Tensor<T, 0>, recorded; with dropout on.
/// - `predict_fn(batch)`: WindowBatch<T> to Tensor<T, 3> [B, P, C or more], for validation.
///
/// Everything else, resuming and errors included, is as with `train`.
template <class Model, Scalar T, class Loss, class Predict, class Criterion = MseCriterion>
TrainResult train_forecaster(Model& model, const WindowSet<T>& train_set,
                             const WindowSet<T>& val_set, Loss&& loss_fn, Predict&& predict_fn,
                             const TrainOptions& options, const TrainCallbacks& callbacks = {},
                             const Criterion& criterion = {}) {
  TrainOptions all = options;
  const auto add = [&](const char* key, const auto& value) {
    all.fingerprint.emplace_back(key, detail::exact_text(value));
  };
  add("train.drop_last_val", options.drop_last_val);
  add("train.shuffle_val", options.shuffle_val);
  add("val.windows", val_set.count());
  const index_t ranks = options.replicas == nullptr ? 1 : options.replicas->size();
  BatchOrder order(val_set.count(), options.batch_size * ranks, options.shuffle_val,
                   options.drop_last_val);
  const auto validate = [&](Validation& v) {
    return mean_loss(
        val_set, order, true,
        [&](const WindowBatch<T>& batch) { return criterion(predict_fn(batch), batch.target); }, v);
  };
  return train(model, train_set, loss_fn, validate, all, callbacks);
}

}  // namespace sequin::inline SEQUIN_ABI
