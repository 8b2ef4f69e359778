/// Audio made by rule: something to play, and the effect that a model learns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace realtime {

/// Plucked notes and chords of many heights and strengths, noise and pauses, full scale 1.
std::vector<float> practice_signal(double seconds, int rate, std::uint64_t seed);

/// An overdrive: one-pole high pass at 120 Hz, tanh(9 v + 0.3) - tanh(0.3), one-pole low pass at
/// 4.5 kHz, times 0.5. The asymmetry gives even harmonics; the filters have a memory of some
/// milliseconds.
std::vector<float> overdrive(std::span<const float> x, int rate);

}  // namespace realtime
