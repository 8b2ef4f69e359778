/// The order in which windows are visited, repeatable from two numbers and a position.
#pragma once

#include "sequin/core/random.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Cuts the numbers 0 to count - 1 into batches, in order or shuffled anew each epoch. An epoch's
/// order depends on the generator's state at its start alone, so that with it and `position()` a
/// resumed run continues in the middle of an epoch.
class BatchOrder {
 public:
  /// Throws ConfigError: batch < 1, or nothing is left (no samples, or fewer than a batch when a
  /// last partial batch is dropped).
  BatchOrder(index_t count, index_t batch, bool shuffle, bool drop_last)
      : batch_(batch), shuffle_(shuffle) {
    if (batch < 1) throw ConfigError("batch size is " + std::to_string(batch) + ", expected >= 1");
    used_ = drop_last && count > 0 ? count / batch * batch : count;
    if (used_ < 1 || count > (std::numeric_limits<std::uint32_t>::max)())
      throw ConfigError(
          "batches: " + std::to_string(count) + " samples in batches of " + std::to_string(batch) +
          (drop_last ? ", the last partial one dropped" : "") + ", expected at least one batch");
    order_.resize(static_cast<std::size_t>(count));
    std::iota(order_.begin(), order_.end(), index_t{0});
  }

  /// Number of batches an epoch.
  index_t batches() const noexcept { return (used_ + batch_ - 1) / batch_; }

  /// Begins an epoch. Shuffling starts from 0, 1, 2, ... and advances `generator`.
  void start(Generator& generator) {
    position_ = 0;
    if (!shuffle_) return;
    std::iota(order_.begin(), order_.end(), index_t{0});
    generator.shuffle(std::span<index_t>(order_));
  }

  /// The next batch's numbers, valid until the next `start`; empty when the epoch is over.
  std::span<const index_t> next() noexcept {
    const index_t begin = position_ * batch_;
    if (begin >= used_) return {};
    ++position_;
    const index_t n = (std::min)(batch_, used_ - begin);
    return {order_.data() + begin, static_cast<std::size_t>(n)};
  }

  /// Batches given since the epoch began.
  index_t position() const noexcept { return position_; }
  /// Continues after `position` batches. Throws ConfigError when the epoch has fewer.
  void seek(index_t position) {
    if (position < 0 || position > batches())
      throw ConfigError("batches: position " + std::to_string(position) + ", expected 0 to " +
                        std::to_string(batches()));
    position_ = position;
  }

 private:
  index_t batch_;
  bool shuffle_;
  index_t used_ = 0;
  index_t position_ = 0;
  std::vector<index_t> order_;
};

}  // namespace sequin::inline SEQUIN_ABI
