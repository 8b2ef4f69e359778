/// What a training is told, tells and returns.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/replicas.hpp"
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

/// What `train` and `train_forecaster` are told; the defaults are the protocol of iTransformer's
/// code.
struct TrainOptions {
  index_t epochs = 10;
  index_t batch_size = 32;  ///< examples a step, of each process
  /// Passes of batch_size / accumulate examples that a step sums the gradients of: the weights of
  /// one big batch, to rounding, in the memory of a small one.
  index_t accumulate = 1;
  index_t steps_per_epoch = 0;  ///< of a DrawnSource; others have as many as their examples give
  double learning_rate = 1e-4;
  std::string lradj = "type1";  ///< see Schedule::named
  /// In place of `learning_rate` and `lradj`.
  std::optional<Schedule> schedule;
  /// Adam, or AdamW with `decoupled`; its learning_rate is not used.
  AdamOptions optimizer;
  index_t patience = 3;       ///< 0: never stops early
  std::uint64_t seed = 2023;  ///< of the order of the examples
  bool drop_last_train = true;
  bool shuffle_val = true;    ///< of train_forecaster
  bool drop_last_val = true;  ///< of train_forecaster
  double clip_norm = 0;       ///< 0: no clipping

  /// Patterns of names of parameters that stay as they are (see name_matches).
  std::vector<std::string> freeze;
  /// {pattern, factor}: those parameters move at the learning rate times factor; of several that
  /// match, the last counts.
  std::vector<std::pair<std::string, double>> rate_factors;
  /// Of the weights' moving average (WeightAverage), which is then what is validated and what the
  /// best weights are; 0: the weights themselves.
  double ema_decay = 0;
  /// With false the weights themselves are validated, and the average is written to
  /// average.safetensors after each epoch.
  bool ema_validates = true;

  /// Where checkpoint.safetensors (the last: all that resuming needs) and weights.safetensors (the
  /// best so far) are kept; created when missing. Empty: nowhere.
  std::filesystem::path checkpoint_dir;
  /// Steps between checkpoints within an epoch; 0: at its end only.
  index_t checkpoint_every = 0;
  /// Continues from checkpoint_dir/checkpoint.safetensors, which must be there.
  bool resume = false;
  /// The model's configuration and whatever else must be the same when resuming: {key, value}.
  std::vector<std::pair<std::string, std::string>> fingerprint;
  /// Random sequences that `loss_fn` draws from (dropout): part of the checkpoint.
  std::vector<std::pair<std::string, Generator*>> generators;
  /// The processes that train together, of which this is one (train/mpi.hpp): n of them take the
  /// steps of one with n times the batch. They have the same options, data and calls; rank 0 writes
  /// the files. nullptr: alone.
  Replicas* replicas = nullptr;

  /// The file of a MetricsLog. Empty: none.
  std::filesystem::path metrics_log;
  index_t log_every = 50;  ///< steps between its lines; 0: after epochs only
};

/// After a step.
struct StepInfo {
  index_t epoch = 0;  ///< from 1
  index_t step = 0;   ///< in the epoch, from 1
  index_t steps_per_epoch = 0;
  index_t total_steps = 0;  ///< since the training began
  index_t examples = 0;     ///< of this step, of all processes
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;  ///< before clipping; 0 without clipping
};

/// After an epoch.
struct EpochRecord {
  index_t epoch = 0;         ///< from 1
  double train_loss = 0;     ///< mean of the batches' losses
  double val_loss = 0;       ///< what the validation function said
  double learning_rate = 0;  ///< of its last step
  bool best = false;         ///< whether it was the best when it ended
};

struct TrainResult {
  std::vector<EpochRecord> history;
  index_t best_epoch = 0;  ///< 0: no validation loss was a number
  double best_val_loss = 0;
  index_t steps = 0;
  bool interrupted = false;    ///< stop_requested said so
  bool stopped_early = false;  ///< patience ran out
};

/// Who wants to watch or stop a training. Each may be empty; they run in the caller's thread.
struct TrainCallbacks {
  /// When options and checkpoint have been found good and nothing is written yet; told what a
  /// resumed training has behind it.
  std::function<void(const TrainResult&)> on_start;
  std::function<void(const StepInfo&)> on_step;
  std::function<void(const EpochRecord&)> on_epoch;
  /// Asked after each step and validation batch: true saves a checkpoint and returns.
  std::function<bool()> stop_requested;
};

}  // namespace sequin::inline SEQUIN_ABI
