/// Learning rates by epoch and step, as the papers' code sets them.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/train/exact_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// The learning rate as a function of the running epoch (1 is the first) and of the number of
/// optimiser steps taken before (0 at the start). A value; a resumed run asks it again, so it has
/// no state.
///
/// The official time-series code calls `adjust_learning_rate(optimizer, e)` *after* epoch e, so
/// what its tables say for e holds from epoch e + 1 on: with type1 epochs 1 and 2 run at the full
/// rate.
class Schedule {
 public:
  enum class Kind { kConstant, kType1, kType2, kType3, kCosineEpochs, kWarmupCosine };

  /// The same rate throughout.
  static Schedule constant(double rate) { return Schedule(Kind::kConstant, rate); }
  /// rate * 0.5^(e - 1) after epoch e: `--lradj type1` of Informer, Autoformer, iTransformer.
  static Schedule type1(double rate) { return Schedule(Kind::kType1, rate); }
  /// After epochs 2, 4, 6, 8, 10, 15, 20: 5e-5, 1e-5, 5e-6, 1e-6, 5e-7, 1e-7, 5e-8 (absolute).
  static Schedule type2(double rate) { return Schedule(Kind::kType2, rate); }
  /// After epoch e: rate while e < 3, then rate * 0.9^(e - 3): TSLib's `--lradj type3`.
  static Schedule type3(double rate) { return Schedule(Kind::kType3, rate); }
  /// rate / 2 * (1 + cos(pi e / epochs)) after epoch e: TSLib's `--lradj cosine`.
  static Schedule cosine_epochs(double rate, index_t epochs) {
    if (epochs < 1)
      throw ConfigError("Schedule: epochs is " + std::to_string(epochs) + ", expected >= 1");
    Schedule s(Kind::kCosineEpochs, rate);
    s.total_ = epochs;
    return s;
  }
  /// By steps, the recipe of GPT-3 that Mamba takes over: rate * (s + 1) / warmup in the first
  /// `warmup` steps, then half a cosine from rate to `floor` at step `total`, then floor.
  static Schedule warmup_cosine(double rate, index_t warmup, index_t total, double floor = 0) {
    if (warmup < 0 || total <= warmup)
      throw ConfigError("Schedule: warmup is " + std::to_string(warmup) + " and total " +
                        std::to_string(total) + ", expected 0 <= warmup < total");
    if (!(floor >= 0) || floor > rate)
      throw ConfigError("Schedule: floor is " + std::to_string(floor) + ", expected 0 to " +
                        std::to_string(rate));
    Schedule s(Kind::kWarmupCosine, rate);
    s.warmup_ = warmup;
    s.total_ = total;
    s.floor_ = floor;
    return s;
  }

  /// One of "constant", "type1", "type2", "type3", "cosine" (over `epochs`).
  /// Throws ConfigError for any other name.
  static Schedule named(std::string_view name, double rate, index_t epochs) {
    if (name == "constant") return constant(rate);
    if (name == "type1") return type1(rate);
    if (name == "type2") return type2(rate);
    if (name == "type3") return type3(rate);
    if (name == "cosine") return cosine_epochs(rate, epochs);
    throw ConfigError("lradj is \"" + detail::printable(name) +
                      "\", expected constant, type1, type2, type3 or cosine");
  }

  Kind kind() const noexcept { return kind_; }

  /// The rate of the step after `step` steps, in epoch `epoch` (>= 1).
  double rate(index_t epoch, index_t step) const noexcept {
    constexpr double pi = 3.141592653589793;
    const index_t done = epoch - 1;  // the last epoch after which the official code set a rate
    const auto e = static_cast<double>(done);
    switch (kind_) {
      case Kind::kConstant:
        break;
      case Kind::kType1:
        return done < 1 ? rate_ : rate_ * std::pow(0.5, e - 1);
      case Kind::kType2: {
        double rate = rate_;
        for (const auto& [after, value] : kType2Table)
          if (done >= after) rate = value;
        return rate;
      }
      case Kind::kType3:
        return done < 3 ? rate_ : rate_ * std::pow(0.9, e - 3);
      case Kind::kCosineEpochs:
        return done < 1 ? rate_ : rate_ / 2 * (1 + std::cos(e / static_cast<double>(total_) * pi));
      case Kind::kWarmupCosine: {
        if (step < warmup_)
          return rate_ * static_cast<double>(step + 1) / static_cast<double>(warmup_);
        const double part = static_cast<double>((std::min)(step, total_) - warmup_) /
                            static_cast<double>(total_ - warmup_);
        return floor_ + (rate_ - floor_) / 2 * (1 + std::cos(pi * part));
      }
    }
    return rate_;
  }

  /// Names the schedule with all its numbers, for a checkpoint's fingerprint.
  std::string description() const {
    static constexpr std::array<const char*, 6> kNames{
        "constant", "type1", "type2", "type3", "cosine_epochs", "warmup_cosine"};
    return std::string(kNames[static_cast<std::size_t>(kind_)]) + " rate " +
           detail::exact_text(rate_) + " warmup " + detail::exact_text(warmup_) + " total " +
           detail::exact_text(total_) + " floor " + detail::exact_text(floor_);
  }

 private:
  static constexpr std::array<std::pair<index_t, double>, 7> kType2Table{
      {{2, 5e-5}, {4, 1e-5}, {6, 5e-6}, {8, 1e-6}, {10, 5e-7}, {15, 1e-7}, {20, 5e-8}}};

  Schedule(Kind kind, double rate) : kind_(kind), rate_(rate) {
    if (!(rate >= 0) || !std::isfinite(rate))
      throw ConfigError("Schedule: rate is " + std::to_string(rate) +
                        ", expected a finite number >= 0");
  }

  Kind kind_;
  double rate_;
  index_t warmup_ = 0;
  index_t total_ = 0;
  double floor_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
