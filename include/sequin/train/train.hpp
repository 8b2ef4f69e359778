/// Trains any model on any batches: epochs, validation, early stopping, exact resume.
#pragma once

#include "sequin/train/trainer.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Trains `model` on the batches of `source` and leaves the weights with the best validation loss
/// in it (when it was interrupted: the last ones).
///
/// - `loss_fn(batch)`: a Source::Batch to Tensor<T, 0>, recorded: the mean over its examples, with
///   dropout on and whatever else is in it (a mixture of experts' balance).
/// - `validate_fn()` or `validate_fn(Validation&)`: the number to be made small, after each epoch;
///   see validate_on. std::nullopt stops as `stop_requested` does.
///
///     train(model, source, [&](const auto& b) { return cross_entropy(model.forward(b.ids),
///           b.next); }, validate_on(held_out, 32, loss), options);
///
/// Each step runs in an arena, so that tensors cost no heap call once it has its size; what the
/// functions keep beyond their call must be made under ArenaScope(nullptr).
///
/// A run that is stopped (or killed) and resumed gives bit-identical weights, optimiser state and
/// history, wherever it was cut, given the same build, model, data and options; only `epochs` and
/// `patience` may be raised. Throws ConfigError (options), LoadError (a checkpoint or log that
/// cannot be written or does not fit: then model and files are as before) and what the functions
/// throw.
template <class Model, BatchSource Source, class Loss, class Validate>
TrainResult train(Model& model, Source& source, Loss&& loss_fn, Validate&& validate_fn,
                  const TrainOptions& options, const TrainCallbacks& callbacks = {}) {
  const ArenaScope heap(nullptr);
  freeze(model, options.freeze);
  detail::Trainer<typename Model::value_type, Source> trainer(parameters(model), source, options,
                                                              callbacks);
  return trainer.run(loss_fn, validate_fn);
}

}  // namespace sequin::inline SEQUIN_ABI
