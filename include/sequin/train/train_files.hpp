/// The files of a training's folder, and what of them each process has.
#pragma once

#include "sequin/io/save_parameters.hpp"
#include "sequin/train/checkpoint.hpp"
#include "sequin/train/train_options.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

namespace sequin::inline SEQUIN_ABI::detail {

/// Writes and reads a training's folder, in which rank 0 alone works. Where `together`, parts of
/// the model lie on several ranks: then all of them call the members that save.
class TrainFiles {
 public:
  TrainFiles(const TrainOptions& options, Replicas* replicas, bool together)
      : folder_(options.checkpoint_dir),
        resumes_(options.resume),
        leads_(replicas == nullptr || replicas->rank() == 0),
        together_(together ? replicas : nullptr) {
    if (folder_.empty() && (options.resume || options.checkpoint_every > 0))
      throw ConfigError("train: resume and checkpoint_every expect a checkpoint_dir");
  }

  /// The checkpoint to resume; otherwise makes the folder. Throws LoadError.
  std::optional<Checkpoint> open() const {
    if (folder_.empty() || !leads_) return std::nullopt;
    if (resumes_) return Checkpoint(path());
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    if (error) throw LoadError(folder_.string() + ": cannot be created: " + error.message());
    return std::nullopt;
  }
  std::filesystem::path path() const { return folder_ / "checkpoint.safetensors"; }

  /// Removes what a killed training left half-written.
  void remove_half_written() const {
    if (folder_.empty() || !leads_) return;
    for (const auto& file : {path(), best_path(), average_path()}) remove_leftovers(file);
  }

  template <Scalar T>
  void save(const StateList<T>& state, const CheckpointFingerprint& fingerprint) const {
    if (saves()) save_checkpoint(path(), state, fingerprint, together_);
  }
  template <Scalar T>
  void save_best(const ParameterList<T>& list) const {
    save(best_path(), list);
  }
  template <Scalar T>
  void save_average(const ParameterList<T>& list) const {
    save(average_path(), list);
  }

 private:
  bool saves() const noexcept { return !folder_.empty() && (leads_ || together_ != nullptr); }

  template <Scalar T>
  void save(const std::filesystem::path& file, const ParameterList<T>& list) const {
    if (!saves()) return;
    if (together_ != nullptr)
      save_parameters(file, list, *together_);
    else
      save_parameters(file, list);
  }
  std::filesystem::path best_path() const { return folder_ / "weights.safetensors"; }
  std::filesystem::path average_path() const { return folder_ / "average.safetensors"; }

  std::filesystem::path folder_;
  bool resumes_;
  bool leads_;
  Replicas* together_;  // nullptr: everything is here
};

}  // namespace sequin::inline SEQUIN_ABI::detail
