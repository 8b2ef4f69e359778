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
  /// The least time that the work takes on `threads` threads whose cores compute at `speed` of
  /// these rates.
  double seconds(const Work& work, index_t threads, double speed = 1) const;
};

/// Fused multiply-adds a second, counted twice, as of this moment; takes about 0.2 ms.
double multiply_add_rate_now();

Limits measure_limits();

}  // namespace sequin_compare
