/// Runs a line's contenders turn by turn and keeps what was found.
#pragma once

#include "limits.hpp"
#include "line.hpp"
#include "peer_process.hpp"

namespace sequin_compare {

/// What one contender of a line took.
struct Timing {
  std::string name;
  double seconds = 0;  ///< median over the rounds, of one call
  double spread = 0;   ///< half the distance between the quartiles, over the median
  double error = 0;    ///< of its output against ours, relative to the largest; NaN: unknown
  double ratio = 0;    ///< median over the rounds of our time over this one's
  bool agrees = true;
  double peak_bytes = 0;  ///< of memory for a line that trains, its process before it taken off
};

struct Result {
  std::string group, name;
  index_t threads = 1;
  Timing ours;
  std::vector<Timing> peers;
  std::vector<std::string> absent;  ///< "PyTorch: why not"
  double limit_seconds = 0;         ///< at the full rates
  double of_limit =
      0;  ///< median over the rounds of the least time, at the round's rates, over ours

  /// The peer, of those whose output agrees, that we are the least ahead of; nullptr without one.
  const Timing* best() const;
};

struct ContestOptions {
  index_t threads = 1;
  int rounds = 11;
  double batch_seconds = 0.03;  ///< of calls under one look at the clock
  std::string scratch;          ///< a folder for what goes to and from other processes
};

Result contest(const LineMaker& maker, const std::vector<std::unique_ptr<PeerProcess>>& processes,
               const Limits& limits, const ContestOptions& options);

/// A machine-readable form, and a table of it with the limits above.
nlohmann::json to_json(const std::vector<Result>& results, const Limits& limits);
/// A table; with the report of an `earlier` run (null for none), also our ratio and time in that.
std::string to_markdown(const nlohmann::json& report, const nlohmann::json& earlier);

}  // namespace sequin_compare
