/// The course of a training as lines of JSON, in step with its checkpoints.
#pragma once

#include "sequin/io/atomic_file.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/io/number_text.hpp"
#include "sequin/train/train_options.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace sequin::inline SEQUIN_ABI {

/// One line of the log between the ends of epochs.
struct LoggedStep {
  index_t step = 0;          ///< optimiser steps since the training began
  index_t epoch = 0;         ///< from 1
  double loss = 0;           ///< mean since the line before
  double learning_rate = 0;  ///< of the last step
  double grad_norm = 0;      ///< of the last step; not written when nothing clips
  double examples_per_second = 0;
  double seconds = 0;  ///< since this run, resumed or not, began
};

/// A file of one JSON object a line: {"step": 50, "epoch": 1, "loss": 0.31, ...} now and then and
/// {"epoch": 1, "step": 264, "train_loss": 0.35, "val_loss": 0.4, ...} after each epoch. Lines are
/// appended; a resumed training first drops those that its checkpoint does not know, so that each
/// step and epoch stands there once.
class MetricsLog {
 public:
  /// Writes nothing.
  MetricsLog() = default;
  /// Keeps of `path` what is whole and belongs to the first `steps` steps and `epochs` finished
  /// epochs: nothing for a new training. Throws LoadError when it cannot be written.
  MetricsLog(const std::filesystem::path& path, index_t steps, index_t epochs) : path_(path) {
    std::string kept;
    if (steps > 0 || epochs > 0) {
      std::ifstream old(path, std::ios::binary);
      for (std::string line; std::getline(old, line) && !old.eof();)
        if (number(line, "step") <= static_cast<double>(steps) &&
            (!is_epoch(line) || number(line, "epoch") <= static_cast<double>(epochs)))
          kept += line + "\n";
    }
    AtomicFile file(path);
    file.write(kept);
    file.commit();
    file_ = std::fopen(path.string().c_str(), "ab");
    if (file_ == nullptr) fail(errno);
  }
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;
  MetricsLog(MetricsLog&& other) noexcept
      : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}
  MetricsLog& operator=(MetricsLog&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~MetricsLog() {
    if (file_ != nullptr) std::fclose(file_);
  }

  /// Throws LoadError, as the two below.
  void step(const LoggedStep& s) {
    if (file_ == nullptr) return;
    JsonWriter w;
    w.begin_object().key("step").value(s.step).key("epoch").value(s.epoch);
    w.key("loss").value(s.loss).key("learning_rate").value(s.learning_rate);
    if (s.grad_norm != 0) w.key("grad_norm").value(s.grad_norm);
    w.key("examples_per_second").value(s.examples_per_second).key("seconds").value(s.seconds);
    write(w.end_object().text());
  }
  void epoch(const EpochRecord& e, index_t steps, double seconds) {
    if (file_ == nullptr) return;
    JsonWriter w;
    w.begin_object().key("epoch").value(e.epoch).key("step").value(steps);
    w.key("train_loss").value(e.train_loss).key("val_loss").value(e.val_loss);
    w.key("learning_rate").value(e.learning_rate).key("best").value(e.best);
    write(w.key("seconds").value(seconds).end_object().text());
  }
  /// Brings the lines to the disk, so that no checkpoint is ahead of them.
  void sync() {
    if (file_ == nullptr) return;
#if !defined(_WIN32)
    // A pipe or a device has nothing to sync.
    if (::fsync(::fileno(file_)) != 0 && errno != EINVAL) fail(errno);
#endif
  }

  /// The steps' lines of a log; none when there is no such file.
  static std::vector<LoggedStep> read_steps(const std::filesystem::path& path) {
    std::vector<LoggedStep> steps;
    std::ifstream file(path, std::ios::binary);
    for (std::string line; std::getline(file, line) && !file.eof();) {
      if (is_epoch(line)) continue;
      LoggedStep s;
      s.step = static_cast<index_t>(number(line, "step"));
      s.epoch = static_cast<index_t>(number(line, "epoch"));
      s.loss = number(line, "loss");
      s.learning_rate = number(line, "learning_rate");
      s.examples_per_second = number(line, "examples_per_second");
      s.seconds = number(line, "seconds");
      steps.push_back(s);
    }
    return steps;
  }

 private:
  static bool is_epoch(std::string_view line) { return line.starts_with("{\"epoch\""); }

  /// The number behind `key` in a line that this class wrote; NaN without one.
  static double number(std::string_view line, std::string_view key) {
    const std::string mark = "\"" + std::string(key) + "\": ";
    const std::size_t at = line.find(mark);
    double value = std::numeric_limits<double>::quiet_NaN();
    if (at != std::string_view::npos && line.ends_with('}'))
      detail::read_number(line.substr(at + mark.size()), value);
    return value;
  }

  void write(const std::string& line) {
    const std::string text = line + "\n";
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0)
      fail(errno);
  }

  [[noreturn]] void fail(int error) const {
    throw LoadError(detail::printable(path_.string(), 400) +
                    ": cannot be written: " + std::strerror(error));
  }

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace sequin::inline SEQUIN_ABI
