/// Trains a forecaster by the official protocol: epochs, validation, early stopping, exact resume.
#pragma once

#include "sequin/train/checkpoint.hpp"
#include "sequin/train/clip.hpp"
#include "sequin/train/early_stopping.hpp"
#include "sequin/train/evaluate.hpp"
#include "sequin/train/optimizer.hpp"
#include "sequin/train/train_options.hpp"

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The state of a training: what a checkpoint holds, and the loop that moves it.
template <Scalar T>
class ForecasterTraining {
 public:
  ForecasterTraining(const ParameterList<T>& list, const WindowSet<T>& train,
                     const WindowSet<T>& val, const TrainOptions& options,
                     const TrainCallbacks& callbacks)
      : options_(options),
        callbacks_(callbacks),
        list_(list),
        train_(train),
        val_(val),
        optimizer_(list, options.optimizer),
        schedule_(options.schedule
                      ? *options.schedule
                      : Schedule::named(options.lradj, options.learning_rate, options.epochs)),
        stopping_(options.patience),
        order_(options.seed),
        epoch_order_(options.seed),
        train_order_(train.count(), options.batch_size, true, options.drop_last_train),
        val_order_(val.count(), options.batch_size, options.shuffle_val, options.drop_last_val),
        arena_(std::make_unique<Arena>()) {
    if (options.epochs < 1 || options.checkpoint_every < 0 || !(options.clip_norm >= 0))
      throw ConfigError("train: epochs " + std::to_string(options.epochs) + ", checkpoint_every " +
                        std::to_string(options.checkpoint_every) + ", clip_norm " +
                        std::to_string(options.clip_norm) +
                        ", expected epochs >= 1 and the others >= 0");
    for (const auto& p : list.items) best_.push_back(p.values.clone());
    if (options.checkpoint_dir.empty()) {
      if (options.resume || options.checkpoint_every > 0)
        throw ConfigError("train: resume and checkpoint_every expect a checkpoint_dir");
    } else if (options.resume) {
      load();
    } else {
      std::error_code error;
      std::filesystem::create_directories(options.checkpoint_dir, error);
      if (error)
        throw LoadError(options.checkpoint_dir.string() +
                        ": cannot be created: " + error.message());
    }
  }
  ForecasterTraining(const ForecasterTraining&) = delete;
  ForecasterTraining& operator=(const ForecasterTraining&) = delete;
  ~ForecasterTraining() {
    // Something that the model keeps was made in a step: it stays valid at the price of the arena.
    if (arena_->live_blocks() != 0) static_cast<void>(arena_.release());
  }

  template <class Loss, class Predict>
  TrainResult run(Loss& loss_fn, Predict& predict_fn) {
    while (epoch_ <= options_.epochs && !stopping_.stop()) {
      if (!train_epoch(loss_fn) || !finish_epoch(predict_fn)) {
        save();
        return result(true);
      }
    }
    restore_best();
    return result(false);
  }

 private:
  bool asked_to_stop() const { return callbacks_.stop_requested && callbacks_.stop_requested(); }

  /// The rest of the running epoch's steps; false when stopped.
  template <class Loss>
  bool train_epoch(Loss& loss_fn) {
    if (position_ < 0) {  // a new epoch
      epoch_order_ = order_;
      train_order_.start(order_);
      position_ = 0;
      loss_sum_ = 0;
    }
    train_order_.seek(position_);
    for (auto numbers = train_order_.next(); !numbers.empty(); numbers = train_order_.next()) {
      train_.fetch(numbers, batch_);
      StepInfo info;
      info.learning_rate = schedule_.rate(epoch_, steps_);
      optimizer_.set_learning_rate(info.learning_rate);
      take_step(loss_fn, info);
      arena_->fit();
      loss_sum_ += info.loss;
      position_ = train_order_.position();
      info.total_steps = ++steps_;
      info.epoch = epoch_;
      info.step = position_;
      info.steps_per_epoch = train_order_.batches();
      if (callbacks_.on_step) callbacks_.on_step(info);
      if (asked_to_stop()) return false;
      if (options_.checkpoint_every > 0 && steps_ % options_.checkpoint_every == 0) save();
    }
    return true;
  }

  /// Forward, backward and update. All tensors in it are gone when it returns; parameters and the
  /// optimiser's state are older than the arena's scope.
  template <class Loss>
  void take_step(Loss& loss_fn, StepInfo& info) {
    const ArenaScope scope(arena_.get());
    Tape tape;
    const Tensor<T, 0> loss = loss_fn(std::as_const(batch_));
    info.loss = static_cast<double>(loss.item());
    Gradients gradients = tape.gradients(loss);
    index_t moved = 0;
    if (options_.clip_norm > 0) {
      auto taken = take_gradients(gradients, optimizer_.parameters());
      info.grad_norm = clip_grad_norm(taken, options_.clip_norm);
      moved = optimizer_.step(taken);
    } else {
      moved = optimizer_.step(gradients);
    }
    if (moved == 0)
      throw ConfigError("train: the loss depends on none of the " +
                        std::to_string(optimizer_.parameters().size()) + " parameters");
  }

  /// Validation and book-keeping; false when stopped, then the epoch is as before it.
  template <class Predict>
  bool finish_epoch(Predict& predict_fn) {
    const Generator before = order_;
    double loss = 0;
    val_order_.start(order_);
    for (auto numbers = val_order_.next(); !numbers.empty(); numbers = val_order_.next()) {
      val_.fetch(numbers, batch_);
      {
        const NoGrad no_grad;
        const ArenaScope scope(arena_.get());
        ForecastScore score;
        score.add(predict_fn(std::as_const(batch_)), batch_.target);
        loss += score.mse();
      }
      arena_->fit();
      // Near the end it is cheaper to finish than to do all of it again.
      if (val_order_.position() < val_order_.batches() && asked_to_stop()) {
        order_ = before;
        return false;
      }
    }
    loss /= static_cast<double>(val_order_.batches());
    const bool best = stopping_.update(loss);
    if (best)
      for (std::size_t i = 0; i < best_.size(); ++i)
        best_[i].copy_from(std::as_const(list_.items[i].values).span());
    train_losses_.push_back(loss_sum_ / static_cast<double>(train_order_.batches()));
    val_losses_.push_back(loss);
    rates_.push_back(optimizer_.learning_rate());
    bests_.push_back(best ? 1.0 : 0.0);
    ++epoch_;
    position_ = -1;
    save();
    if (best) save_best();
    if (callbacks_.on_epoch) callbacks_.on_epoch(record(val_losses_.size() - 1));
    return true;
  }

  void restore_best() {
    if (stopping_.best_epoch() == 0) return;
    for (std::size_t i = 0; i < best_.size(); ++i)
      list_.items[i].values.copy_from(std::as_const(best_[i]).span());
    // Again, for the case that the program was killed between the checkpoint and the weights.
    save_best();
  }

  void save_best() const {
    if (!options_.checkpoint_dir.empty())
      save_parameters(options_.checkpoint_dir / "weights.safetensors", list_);
  }

  EpochRecord record(std::size_t i) const {
    return {static_cast<index_t>(i) + 1, train_losses_[i], val_losses_[i], rates_[i],
            bests_[i] != 0};
  }

  TrainResult result(bool interrupted) const {
    TrainResult r;
    for (std::size_t i = 0; i < val_losses_.size(); ++i) r.history.push_back(record(i));
    r.best_epoch = static_cast<index_t>(stopping_.best_epoch());
    r.best_val_loss = stopping_.best();
    r.steps = static_cast<index_t>(steps_);
    r.interrupted = interrupted;
    r.stopped_early = stopping_.stop();
    return r;
  }

  CheckpointFingerprint fingerprint() const {
    CheckpointFingerprint f = options_.fingerprint;
    const AdamOptions& a = options_.optimizer;
    const auto add = [&](const char* key, const auto& value) {
      f.emplace_back(key, exact_text(value));
    };
    add("train.batch_size", options_.batch_size);
    add("train.seed", options_.seed);
    f.emplace_back("train.schedule", schedule_.description());
    add("train.optimizer.beta1", a.beta1);
    add("train.optimizer.beta2", a.beta2);
    add("train.optimizer.eps", a.eps);
    add("train.optimizer.weight_decay", a.weight_decay);
    add("train.optimizer.decoupled", a.decoupled);
    add("train.clip_norm", options_.clip_norm);
    add("train.drop_last_train", options_.drop_last_train);
    add("train.drop_last_val", options_.drop_last_val);
    add("train.shuffle_val", options_.shuffle_val);
    add("train.windows", train_.count());
    add("val.windows", val_.count());
    return f;
  }

  StateList<T> state() {
    StateList<T> s;
    s.parameters("model", list_);
    for (std::size_t i = 0; i < best_.size(); ++i)
      s.tensor("best." + list_.items[i].name, list_.items[i].shape, best_[i]);
    s.child("optimizer", optimizer_);
    s.child("early_stopping", stopping_);
    s.generator("order.generator", order_);
    s.generator("order.epoch_start", epoch_order_);
    s.integer("order.position", position_);
    s.integer("epoch", epoch_);
    s.integer("steps", steps_);
    s.real("loss_sum", loss_sum_);
    s.reals("history.train_loss", train_losses_);
    s.reals("history.val_loss", val_losses_);
    s.reals("history.learning_rate", rates_);
    s.reals("history.best", bests_);
    for (const auto& [name, generator] : options_.generators)
      s.generator("generator." + name, *generator);
    return s;
  }

  std::filesystem::path path() const { return options_.checkpoint_dir / "checkpoint.safetensors"; }

  void save() {
    if (!options_.checkpoint_dir.empty()) save_checkpoint(path(), state(), fingerprint());
  }

  /// Nothing changes unless all of it fits.
  void load() {
    const Checkpoint file(path());
    file.check(state(), fingerprint());
    const std::int64_t epoch = file.integer("epoch"), position = file.integer("order.position");
    const std::int64_t done = epoch - 1;
    bool fits = epoch >= 1 && position >= -1 && position <= train_order_.batches();
    for (const char* name : {"train_loss", "val_loss", "learning_rate", "best"})
      fits = fits && file.length(std::string("history.") + name) == done;
    if (!fits)
      throw LoadError(path().string() + ": epoch " + std::to_string(epoch) + ", position " +
                      std::to_string(position) + " and the history do not belong together");
    file.load(state());
    if (position_ >= 0) {
      Generator from_start = epoch_order_;
      train_order_.start(from_start);
    }
  }

  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  ParameterList<T> list_;
  WindowSet<T> train_;
  WindowSet<T> val_;
  Adam<T> optimizer_;
  Schedule schedule_;
  EarlyStopping stopping_;
  Generator order_;        // of windows: training, then validation, epoch after epoch
  Generator epoch_order_;  // as it was when the running epoch began
  BatchOrder train_order_;
  BatchOrder val_order_;
  std::vector<Tensor<T, 1>> best_;
  std::int64_t epoch_ = 1;
  std::int64_t position_ = -1;  // steps done in this epoch; -1: its order is not yet drawn
  std::int64_t steps_ = 0;
  double loss_sum_ = 0;
  std::vector<double> train_losses_, val_losses_, rates_, bests_;
  WindowBatch<T> batch_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace detail

/// Trains `model` on windows and leaves the weights with the best validation loss in it (when it
/// was interrupted: the last ones).
///
/// - `loss_fn(batch)`: WindowBatch<T> to Tensor<T, 0>, recorded; with dropout on.
/// - `predict_fn(batch)`: WindowBatch<T> to Tensor<T, 3> [B, P, C or more], for validation.
///
/// Each step runs in an arena, so that tensors cost no heap call once it has its size; what either
/// function keeps beyond its call must be made under ArenaScope(nullptr). The validation loss is
/// the plain mean of the batches' MSEs, as in the official code.
///
/// A run that is stopped (or killed) and resumed gives bit-identical weights, optimiser state and
/// history, wherever it was cut, given the same build, model, data and options; only `epochs` and
/// `patience` may be raised. Throws ConfigError (options), LoadError (a checkpoint that cannot be
/// written or does not fit: then the model is as before) and what the two functions throw.
template <class Model, Scalar T, class Loss, class Predict>
TrainResult train_forecaster(Model& model, const WindowSet<T>& train, const WindowSet<T>& val,
                             Loss&& loss_fn, Predict&& predict_fn, const TrainOptions& options,
                             const TrainCallbacks& callbacks = {}) {
  const ArenaScope heap(nullptr);
  set_requires_grad(model);
  detail::ForecasterTraining<T> training(parameters(model), train, val, options, callbacks);
  return training.run(loss_fn, predict_fn);
}

}  // namespace sequin::inline SEQUIN_ABI
