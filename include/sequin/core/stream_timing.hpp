/// How the outputs of a causal block or model stand to its inputs in time.
#pragma once

#include "sequin/core/shape.hpp"

#include <optional>

namespace sequin::inline SEQUIN_ABI {

/// In steps of the block: samples, frames or tokens. Output t is a function of the inputs
///
///     t - latency + lookahead - (receptive_field - 1)  to  t - latency + lookahead
///
/// and of nothing else, and it stands for time t - latency: a program that has to keep its signals
/// aligned delays them by the latency. Streamed, lookahead <= latency.
struct StreamTiming {
  /// Number of inputs that an output depends on; std::nullopt: all before it, as in a recurrence, a
  /// scan or attention to a cache.
  std::optional<index_t> receptive_field = 1;
  /// How many of these are later than the time that the output stands for.
  index_t lookahead = 0;
  /// Steps by which the outputs come late.
  index_t latency = 0;

  /// Of everything so far, at every time.
  static constexpr StreamTiming unbounded() noexcept { return {std::nullopt, 0, 0}; }

  /// Of this block followed by `next`.
  constexpr StreamTiming then(const StreamTiming& next) const noexcept {
    StreamTiming both{std::nullopt, lookahead + next.lookahead, latency + next.latency};
    if (receptive_field && next.receptive_field)
      both.receptive_field = *receptive_field + *next.receptive_field - 1;
    return both;
  }

  friend bool operator==(const StreamTiming&, const StreamTiming&) = default;
};

}  // namespace sequin::inline SEQUIN_ABI
