/// What of a training's options has to be the same when it is resumed.
#pragma once

#include "sequin/train/checkpoint.hpp"
#include "sequin/train/exact_text.hpp"
#include "sequin/train/train_options.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// The caller's own keys, then everything that decides which weights come out. Not in it: how long
/// to train, where files are, how often they are written.
inline CheckpointFingerprint train_fingerprint(const TrainOptions& o, const Schedule& schedule) {
  CheckpointFingerprint f = o.fingerprint;
  const auto add = [&](const char* key, const auto& value) {
    f.emplace_back(key, detail::exact_text(value));
  };
  add("train.batch_size", o.batch_size);
  add("train.accumulate", o.accumulate);
  add("train.ranks", o.replicas == nullptr ? index_t{1} : o.replicas->size());
  add("train.seed", o.seed);
  f.emplace_back("train.schedule", schedule.description());
  add("train.optimizer.beta1", o.optimizer.beta1);
  add("train.optimizer.beta2", o.optimizer.beta2);
  add("train.optimizer.eps", o.optimizer.eps);
  add("train.optimizer.weight_decay", o.optimizer.weight_decay);
  add("train.optimizer.decoupled", o.optimizer.decoupled);
  add("train.clip_norm", o.clip_norm);
  add("train.drop_last_train", o.drop_last_train);
  add("train.ema_decay", o.ema_decay);
  add("train.ema_validates", o.ema_validates);
  std::string frozen, factors;
  for (const auto& pattern : o.freeze) frozen += (frozen.empty() ? "" : " ") + pattern;
  for (const auto& [pattern, factor] : o.rate_factors)
    factors += (factors.empty() ? "" : " ") + pattern + "=" + detail::exact_text(factor);
  f.emplace_back("train.freeze", frozen);
  f.emplace_back("train.rate_factors", factors);
  return f;
}

namespace detail {

/// Throws ConfigError for what no training could mean.
inline void check_train_options(const TrainOptions& o) {
  if (o.epochs < 1 || o.checkpoint_every < 0 || o.log_every < 0 || !(o.clip_norm >= 0))
    throw ConfigError("train: epochs " + std::to_string(o.epochs) + ", checkpoint_every " +
                      std::to_string(o.checkpoint_every) + ", log_every " +
                      std::to_string(o.log_every) + ", clip_norm " + std::to_string(o.clip_norm) +
                      ", expected epochs >= 1 and the others >= 0");
  if (o.accumulate < 1 || o.accumulate > o.batch_size)
    throw ConfigError("train: accumulate is " + std::to_string(o.accumulate) +
                      ", expected 1 to batch_size = " + std::to_string(o.batch_size));
  if (!(o.ema_decay >= 0 && o.ema_decay < 1))
    throw ConfigError("train: ema_decay is " + exact_text(o.ema_decay) +
                      ", expected 0 (none) or more, below 1");
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
