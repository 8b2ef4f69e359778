/// How long blocks took, in memory that does not grow with their number.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace realtime {

/// Counts times in classes 2 % wide from 10 ns to 100 s. Adding one allocates nothing.
class BlockTimes {
 public:
  void add(double seconds) noexcept {
    const double place = std::log(seconds * 1e8) / kStep;
    ++counts_[static_cast<std::size_t>(std::clamp(place, 0.0, double{kClasses - 1}))];
    ++total_;
    worst_ = (std::max)(worst_, seconds);
  }
  std::uint64_t count() const noexcept { return total_; }
  double worst() const noexcept { return worst_; }
  /// The time that `share` of the blocks do not exceed, to 2 %.
  double quantile(double share) const noexcept {
    const double wanted = share * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kClasses; ++i) {
      seen += counts_[i];
      if (seen > 0 && static_cast<double>(seen) >= wanted)
        return (std::min)(1e-8 * std::exp(kStep * static_cast<double>(i + 1)), worst_);
    }
    return worst_;
  }

 private:
  static constexpr double kStep = 0.02;
  static constexpr int kClasses = 1152;

  std::array<std::uint64_t, kClasses> counts_{};
  std::uint64_t total_ = 0;
  double worst_ = 0;
};

}  // namespace realtime
