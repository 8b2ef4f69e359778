/// The loop behind `train`: steps, validation, checkpoints, and the state that they move.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/train/batch_source.hpp"
#include "sequin/train/checkpoint.hpp"
#include "sequin/train/early_stopping.hpp"
#include "sequin/train/gradient_sum.hpp"
#include "sequin/train/metrics_log.hpp"
#include "sequin/train/name_pattern.hpp"
#include "sequin/train/replica_state.hpp"
#include "sequin/train/train_files.hpp"
#include "sequin/train/train_fingerprint.hpp"
#include "sequin/train/validation.hpp"
#include "sequin/train/weight_average.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The state of a training: what a checkpoint holds, and the loop that moves it.
template <Scalar T, BatchSource Source>
class Trainer {
 public:
  using Batch = typename EpochSteps<Source>::Batch;

  Trainer(const ParameterList<T>& list, Source& source, const TrainOptions& options,
          const TrainCallbacks& callbacks)
      : options_(options),
        callbacks_(callbacks),
        replicas_(options.replicas != nullptr && options.replicas->size() > 1 ? options.replicas
                                                                              : nullptr),
        together_(lies_on_several(list, replicas_)),
        list_(list),
        best_(list),
        optimizer_(without_frozen_elsewhere(list, options.freeze), options.optimizer),
        schedule_(options.schedule
                      ? *options.schedule
                      : Schedule::named(options.lradj, options.learning_rate, options.epochs)),
        stopping_(options.patience),
        order_(options.seed),
        epoch_order_(options.seed),
        source_(source),
        epoch_steps_(source, options.batch_size * ranks(), options.accumulate * ranks(),
                     options.drop_last_train, options.steps_per_epoch),
        files_(options, replicas_, together_),
        arena_(std::make_unique<Arena>()) {
    check_train_options(options);
    for (auto& p : best_.items) p.values = p.values.clone();
    optimizer_.set_rate_factors(
        factors_by_pattern(list_, optimizer_.parameters(), options.rate_factors));
    if (options.ema_decay > 0)
      average_.emplace(without_frozen_elsewhere(list, options.freeze), options.ema_decay);
    if (replicas_ != nullptr)
      check_same(*replicas_, with_layout(fingerprint(), list_, options, together_));
    const std::optional<Checkpoint> resumed = files_.open();
    if (resumed) load(*resumed);
    if (replicas_ != nullptr) share_state(*replicas_, state(), resumed ? &*resumed : nullptr);
    if (position_ >= 0) {
      Generator from_start = epoch_order_;
      epoch_steps_.start(from_start);
    }
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer() {
    // Something that the model keeps was made in a step: it stays valid at the price of the arena.
    if (arena_->live_blocks() != 0) static_cast<void>(arena_.release());
  }

  template <class Loss, class Validate>
  TrainResult run(Loss& loss_fn, Validate& validate_fn) {
    if (callbacks_.on_start) callbacks_.on_start(result(false));
    files_.remove_half_written();
    if (leads() && !options_.metrics_log.empty()) {
      remove_leftovers(options_.metrics_log);
      log_ = MetricsLog(options_.metrics_log, static_cast<index_t>(steps_),
                        static_cast<index_t>(val_losses_.size()));
    }
    while (epoch_ <= options_.epochs && !stopping_.stop()) {
      if (!train_epoch(loss_fn) || !finish_epoch(validate_fn)) {
        save();
        return result(true);
      }
    }
    restore_best();
    return result(false);
  }

 private:
  using Clock = std::chrono::steady_clock;

  index_t ranks() const noexcept { return replicas_ == nullptr ? 1 : replicas_->size(); }
  index_t rank() const noexcept { return replicas_ == nullptr ? 0 : replicas_->rank(); }
  bool leads() const noexcept { return rank() == 0; }

  bool asked_to_stop() const {
    const bool here = callbacks_.stop_requested && callbacks_.stop_requested();
    return replicas_ == nullptr ? here : replicas_->any(here);
  }

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  /// The rest of the running epoch's steps; false when stopped.
  template <class Loss>
  bool train_epoch(Loss& loss_fn) {
    if (position_ < 0) {  // a new epoch
      epoch_order_ = order_;
      epoch_steps_.start(order_);
      position_ = 0;
      loss_sum_ = 0;
    }
    epoch_steps_.seek(static_cast<index_t>(position_));
    for (index_t n = epoch_steps_.next(); n > 0; n = epoch_steps_.next()) {
      StepInfo info;
      info.learning_rate =
          schedule_.rate(static_cast<index_t>(epoch_), static_cast<index_t>(steps_));
      optimizer_.set_learning_rate(info.learning_rate);
      info.examples = n;
      take_step(loss_fn, info);
      if (average_) average_->update();
      loss_sum_ += info.loss;
      interval_loss_ += info.loss;
      interval_examples_ += n;
      position_ = epoch_steps_.position();
      info.total_steps = static_cast<index_t>(++steps_);
      info.epoch = static_cast<index_t>(epoch_);
      info.step = static_cast<index_t>(position_);
      info.steps_per_epoch = epoch_steps_.steps();
      log_step(info);
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
    std::optional<index_t> moved;
    if (options_.accumulate == 1 && replicas_ == nullptr) {
      epoch_steps_.fetch(0, order_, batch_);
      {
        const ArenaScope scope(arena_.get());
        Tape tape;
        const Tensor<T, 0> loss = loss_fn(std::as_const(batch_));
        info.loss = static_cast<double>(loss.item());
        Gradients gradients = tape.gradients(loss);
        moved = options_.clip_norm > 0
                    ? move(take_gradients(gradients, optimizer_.parameters()), info)
                    : optimizer_.step(gradients);
      }
      arena_->fit();
    } else {
      const index_t first = rank() * options_.accumulate, last = first + options_.accumulate;
      const RankDraws draws(replicas_, options_.generators);
      epoch_steps_.skip(0, first, order_, batch_);
      for (index_t part = first; part < last; ++part) {
        const index_t n = epoch_steps_.fetch(part, order_, batch_);
        if (n == 0 && !together_) continue;
        if (n == 0) epoch_steps_.fetch_any(batch_);
        const StandIn stand_in(replicas_, n == 0);
        const double share = static_cast<double>(n) / static_cast<double>(info.examples);
        {
          const ArenaScope scope(arena_.get());
          Tape tape;
          const Tensor<T, 0> loss = loss_fn(std::as_const(batch_));
          if (n > 0) info.loss += share * static_cast<double>(loss.item());
          Gradients gradients = tape.gradients(loss, Tensor<T, 0>({}, static_cast<T>(share)));
          if (options_.accumulate == 1) {  // of one pass: no need for a copy
            gradient_sum_.take(gradients, optimizer_.parameters());
            moved = move_together(info);
          } else {
            gradient_sum_.add(gradients, optimizer_.parameters());
          }
        }
        arena_->fit();
      }
      epoch_steps_.skip(last, options_.accumulate * ranks(), order_, batch_);
      if (!moved) moved = move_together(info);
    }
    if (*moved == 0)
      throw ConfigError("train: the loss depends on none of the " +
                        std::to_string(optimizer_.parameters().size()) + " parameters");
  }

  /// By the sum of all passes on all ranks.
  index_t move_together(StepInfo& info) {
    if (replicas_ != nullptr)
      gradient_sum_.sum_over(*replicas_, optimizer_.parameters(), info.loss);
    const index_t moved = move(gradient_sum_.gradients(), info);
    gradient_sum_.clear();
    return moved;
  }

  index_t move(std::vector<Tensor<T, 1>> gradients, StepInfo& info) {
    if (options_.clip_norm > 0)
      info.grad_norm = together_
                           ? clip_grad_norm(std::span<Tensor<T, 1>>(gradients),
                                            optimizer_.parameters(), options_.clip_norm, *replicas_)
                           : clip_grad_norm(gradients, options_.clip_norm);
    return optimizer_.step(gradients);
  }

  void log_step(const StepInfo& info) {
    ++interval_steps_;
    if (options_.log_every == 0 || steps_ % options_.log_every != 0) return;
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - interval_start_).count();
    log_.step({info.total_steps, info.epoch, interval_loss_ / static_cast<double>(interval_steps_),
               info.learning_rate, info.grad_norm,
               static_cast<double>(interval_examples_) / seconds, seconds_since(start_)});
    interval_loss_ = 0;
    interval_steps_ = 0;
    interval_examples_ = 0;
    interval_start_ = now;
  }

  /// Validation and book-keeping; false when stopped, then the epoch is as before it.
  template <class Validate>
  bool finish_epoch(Validate& validate_fn) {
    const Generator before = order_;
    Validation validation{order_, *arena_, [this] { return asked_to_stop(); }, replicas_,
                          together_};
    if (replicas_ != nullptr) broadcast_buffers(*replicas_, list_);
    std::optional<double> loss;
    bool best = false;
    {
      const AveragedWeights<T> averaged(average_ && options_.ema_validates ? &*average_ : nullptr);
      {
        const NoGrad no_grad;
        const RankDraws draws(replicas_, options_.generators, false);
        if constexpr (std::is_invocable_v<Validate&, Validation&>)
          loss = validate_fn(validation);
        else
          loss = validate_fn();
      }
      if (replicas_ != nullptr) loss = agree(*replicas_, loss);
      if (!loss) {
        order_ = before;
        return false;
      }
      best = stopping_.update(*loss);
      if (best) copy(list_, best_);
    }
    train_losses_.push_back(loss_sum_ / static_cast<double>(epoch_steps_.steps()));
    val_losses_.push_back(*loss);
    rates_.push_back(optimizer_.learning_rate());
    bests_.push_back(best ? 1.0 : 0.0);
    ++epoch_;
    position_ = -1;
    // The log first: a checkpoint never knows more than it.
    const EpochRecord done = record(val_losses_.size() - 1);
    log_.epoch(done, static_cast<index_t>(steps_), seconds_since(start_));
    save();
    if (best) files_.save_best(best_);
    if (average_ && !options_.ema_validates) {
      const AveragedWeights<T> averaged(&*average_);
      files_.save_average(list_);
    }
    if (callbacks_.on_epoch) callbacks_.on_epoch(done);
    return true;
  }

  static void copy(const ParameterList<T>& from, ParameterList<T>& to) {
    for (std::size_t i = 0; i < from.items.size(); ++i)
      to.items[i].values.copy_from(std::as_const(from.items[i].values).span());
  }

  void restore_best() {
    if (stopping_.best_epoch() == 0) return;
    copy(best_, list_);
    // Again, for the case that the program was killed between the checkpoint and the weights.
    files_.save_best(best_);
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
    CheckpointFingerprint f = train_fingerprint(options_, schedule_);
    f.emplace_back("train.steps_per_epoch", exact_text(epoch_steps_.steps()));
    if constexpr (EpochSteps<Source>::kIndexed)
      f.emplace_back("train.examples", exact_text(static_cast<index_t>(source_.count())));
    return f;
  }

  StateList<T> state() {
    StateList<T> s;
    s.parameters("model", list_);
    s.parameters("best", best_);
    s.child("optimizer", optimizer_);
    s.child("early_stopping", stopping_);
    if (average_) s.child("average", *average_);
    s.generator("order.generator", order_);
    s.generator("order.epoch_start", epoch_order_);
    s.counter("order.position", position_, -1);
    s.counter("epoch", epoch_, 1);
    s.counter("steps", steps_);
    s.real("loss_sum", loss_sum_);
    s.real("interval.loss", interval_loss_);
    s.counter("interval.steps", interval_steps_);
    s.reals("history.train_loss", train_losses_);
    s.reals("history.val_loss", val_losses_);
    s.reals("history.learning_rate", rates_);
    s.reals("history.best", bests_);
    for (const auto& [name, generator] : options_.generators)
      s.generator("generator." + name, *generator);
    return s;
  }

  void save() {
    log_.sync();
    files_.save(state(), fingerprint());
  }

  /// Nothing changes unless all of it fits.
  void load(const Checkpoint& file) {
    file.check(state(), fingerprint());
    const std::int64_t epoch = file.integer("epoch"), position = file.integer("order.position");
    const std::int64_t done = epoch - 1;
    bool fits = position <= epoch_steps_.steps();
    for (const char* name : {"train_loss", "val_loss", "learning_rate", "best"})
      fits = fits && file.length(std::string("history.") + name) == done;
    if (!fits)
      throw LoadError(files_.path().string() + ": epoch " + std::to_string(epoch) + ", position " +
                      std::to_string(position) + " and the history do not belong together");
    file.load(state());
  }

  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  Replicas* const replicas_;  // nullptr: alone
  const bool together_;       // parts of the model lie on several ranks
  ParameterList<T> list_;
  ParameterList<T> best_;  // the same names, values of its own
  Adam<T> optimizer_;
  std::optional<WeightAverage<T>> average_;
  GradientSum<T> gradient_sum_;
  Schedule schedule_;
  EarlyStopping stopping_;
  Generator order_;        // of examples: training, then validation, epoch after epoch
  Generator epoch_order_;  // as it was when the running epoch began
  Source& source_;
  EpochSteps<Source> epoch_steps_;
  std::int64_t epoch_ = 1;
  std::int64_t position_ = -1;  // steps done in this epoch; -1: its order is not yet drawn
  std::int64_t steps_ = 0;
  double loss_sum_ = 0;
  double interval_loss_ = 0;  // since the log's last line
  std::int64_t interval_steps_ = 0;
  index_t interval_examples_ = 0;  // of those, in this run
  Clock::time_point start_ = Clock::now();
  Clock::time_point interval_start_ = start_;
  std::vector<double> train_losses_, val_losses_, rates_, bests_;
  MetricsLog log_;
  TrainFiles files_;
  Batch batch_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
