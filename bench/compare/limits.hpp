/// What the machine can do at most, measured in the run that is judged by it.
#pragma once

#include "line.hpp"

namespace sequin_compare {

/// Rates of one thread.
struct Limits {
  double flops = 0;  ///< fused multiply-adds in registers, counted twice, a second
  double exps = 0;   ///< exponentials from and to the first-level cache, a second
  /// Bytes a second by the size of what is read and written, ascending.
  struct Bandwidth {
    double size, copy, read;
  };
  std::vector<Bandwidth> bandwidth;

  /// Copy bandwidth for work that touches `bytes`.
  double copy_rate(double bytes) const;
  /// The least time that the work takes on `threads` threads. Memory beyond the caches is shared.
  double seconds(const Work& work, index_t threads) const;
};

Limits measure_limits();

}  // namespace sequin_compare
