/// What a process holds in memory, and the most that it has held since a moment.
#pragma once

namespace sequin_compare {

/// Bytes of this process that are in memory; what the heap holds unused is given back first.
double resident_bytes();
/// From now on `peak_bytes` counts anew.
void reset_peak();
/// The most bytes in memory since `reset_peak`. 0 where the system does not tell.
double peak_bytes();

}  // namespace sequin_compare
