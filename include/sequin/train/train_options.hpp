/// What a training is told, tells and returns.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/train/optimizer.hpp"
#include "sequin/train/schedule.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What `train_forecaster` is told; the defaults are the protocol of iTransformer's code.
struct TrainOptions {
  index_t epochs = 10;
  index_t batch_size = 32;
  double learning_rate = 1e-4;
  std::string lradj = "type1";  ///< see Schedule::named
  /// In place of `learning_rate` and `lradj`.
  std::optional<Schedule> schedule;
  /// Adam, or AdamW with `decoupled`; its learning_rate is not used.
  AdamOptions optimizer;
  index_t patience = 3;       ///< 0: never stops early
  std::uint64_t seed = 2023;  ///< of the order of the windows
  bool drop_last_train = true;
  bool shuffle_val = true;
  bool drop_last_val = true;
  double clip_norm = 0;  ///< 0: no clipping

  /// Where checkpoint.safetensors and weights.safetensors (the best so far) are kept; created when
  /// missing. Empty: nowhere.
  std::filesystem::path checkpoint_dir;
  /// Steps between checkpoints within an epoch; 0: at its end only.
  index_t checkpoint_every = 0;
  /// Continues from checkpoint_dir/checkpoint.safetensors, which must be there.
  bool resume = false;
  /// The model's configuration and whatever else must be the same when resuming: {key, value}.
  std::vector<std::pair<std::string, std::string>> fingerprint;
  /// Random sequences that `loss_fn` draws from (dropout): part of the checkpoint.
  std::vector<std::pair<std::string, Generator*>> generators;
};

/// After a step.
struct StepInfo {
  index_t epoch = 0;  ///< from 1
  index_t step = 0;   ///< in the epoch, from 1
  index_t steps_per_epoch = 0;
  index_t total_steps = 0;  ///< since the training began
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;  ///< before clipping; 0 without clipping
};

/// After an epoch.
struct EpochRecord {
  index_t epoch = 0;         ///< from 1
  double train_loss = 0;     ///< mean of the batches' losses
  double val_loss = 0;       ///< mean of the batches' MSEs
  double learning_rate = 0;  ///< of its last step
  bool best = false;         ///< whether it was the best when it ended
};

/// Who wants to watch or stop a training. Each may be empty; they run in the caller's thread.
struct TrainCallbacks {
  std::function<void(const StepInfo&)> on_step;
  std::function<void(const EpochRecord&)> on_epoch;
  /// Asked after each step and validation batch: true saves a checkpoint and returns.
  std::function<bool()> stop_requested;
};

struct TrainResult {
  std::vector<EpochRecord> history;
  index_t best_epoch = 0;  ///< 0: no validation loss was a number
  double best_val_loss = 0;
  index_t steps = 0;
  bool interrupted = false;    ///< stop_requested said so
  bool stopped_early = false;  ///< patience ran out
};

}  // namespace sequin::inline SEQUIN_ABI
