/// Other sample rates.
#pragma once

#include <span>
#include <vector>

namespace sequin_examples {

/// The signal at another rate: round(n * to / from) samples, sample 0 stays where it is. A windowed
/// sinc of libsamplerate's best quality: what lies above half the lower rate is removed.
/// Throws sequin::ConfigError unless both rates are positive and differ by at most 256 times.
std::vector<float> resample(std::span<const float> samples, int from, int to);

}  // namespace sequin_examples
