#include "signals.hpp"

#include "sequin/core/random.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace realtime {

namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

/// Adds one decaying note with partials k = 1, 2, ... of strength 1 / k, none above 0.4 rate.
void pluck(std::span<float> to, double frequency, double level, double rate) {
  for (int k = 1; k <= 8 && k * frequency < 0.4 * rate; ++k) {
    const double decay = std::exp(-(1.5 + 0.8 * k) / rate);
    double strength = level / k;
    for (std::size_t i = 0; i < to.size(); ++i, strength *= decay)
      to[i] += static_cast<float>(strength *
                                  std::sin(kTwoPi * k * frequency * static_cast<double>(i) / rate));
  }
}

}  // namespace

std::vector<float> practice_signal(double seconds, int rate, std::uint64_t seed) {
  sequin::Generator generator(seed);
  const auto between = [&](double low, double high) {
    return low * std::pow(high / low, generator.uniform<double>());
  };
  std::vector<float> signal(static_cast<std::size_t>(seconds * rate));
  for (std::size_t at = 0; at < signal.size();) {
    const auto length = static_cast<std::size_t>(between(0.05, 0.6) * rate);
    const auto part = std::span(signal).subspan(at, (std::min)(length, signal.size() - at));
    const double level = between(0.01, 0.7);
    switch (generator.below(8)) {
      case 0:
        break;  // a pause
      case 1:
        for (float& v : part) v = static_cast<float>(level) * (2 * generator.uniform<float>() - 1);
        break;
      default:
        for (auto notes = generator.below(3) + 1; notes > 0; --notes)
          pluck(part, between(60, 1200), level / 2, rate);
    }
    at += part.size();
  }
  for (float& v : signal) v = std::clamp(v, -1.0f, 1.0f);
  return signal;
}

std::vector<float> overdrive(std::span<const float> x, int rate) {
  const double high = std::exp(-kTwoPi * 120 / rate);
  const double low = 1 - std::exp(-kTwoPi * 4500 / rate);
  std::vector<float> y;
  y.reserve(x.size());
  double below = 0, out = 0;
  for (const float sample : x) {
    const auto v = static_cast<double>(sample);
    below = high * below + (1 - high) * v;
    const double driven = std::tanh(9 * (v - below) + 0.3) - std::tanh(0.3);
    out += low * (driven - out);
    y.push_back(static_cast<float>(0.5 * out));
  }
  return y;
}

}  // namespace realtime
