/// Mixtures of two voices, made on the spot.
#pragma once

#include "voices.hpp"

#include "sequin/core/arena.hpp"
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sequin_separation {

using sequin::Tensor;

/// B mixtures of T samples and the two voices in each of them; mixture = sources' sum.
struct MixtureBatch {
  Tensor<float, 2> mixture;  ///< (B, T)
  Tensor<float, 3> sources;  ///< (B, 2, T)
};

struct MixtureOptions {
  index_t samples = 8000;  ///< T
  double decibels = 2.5;   ///< one voice is up to so much louder, the other as much softer
  double speed = 0;        ///< voices are played up to this share faster or slower, pitch included
};

/// A batch source for `train`. Each voice's kind is drawn first, so that a few recorded voices
/// count as much as many synthetic ones; then a voice of it (never twice the same), a place, a
/// speed and a level.
class Mixtures {
 public:
  using Batch = MixtureBatch;

  /// Throws ConfigError: a voice that is shorter than a mixture, one voice alone.
  Mixtures(std::vector<std::vector<Voice>> kinds, const MixtureOptions& options)
      : kinds_(std::move(kinds)), options_(options) {
    std::size_t count = 0;
    for (const auto& kind : kinds_)
      for (const Voice& voice : kind) {
        ++count;
        if (static_cast<index_t>(voice.samples.size()) < longest_piece())
          throw sequin::ConfigError(voice.name + ": " + std::to_string(voice.samples.size()) +
                                    " samples, expected " + std::to_string(longest_piece()) +
                                    " or more for mixtures of " + std::to_string(options.samples));
      }
    if (count < 2) throw sequin::ConfigError("mixtures: expected two voices or more");
  }

  const MixtureOptions& options() const noexcept { return options_; }
  std::size_t voices() const noexcept {
    std::size_t count = 0;
    for (const auto& kind : kinds_) count += kind.size();
    return count;
  }

  /// Their number and how much they say, so that a training resumes with no others.
  std::string described() const {
    std::size_t samples = 0;
    for (const auto& kind : kinds_)
      for (const Voice& voice : kind) samples += voice.samples.size();
    return std::to_string(voices()) + " voices, " + std::to_string(samples) + " samples";
  }

  void draw(sequin::Generator& generator, index_t examples, Batch& batch) const {
    const sequin::ArenaScope heap(nullptr);
    const index_t n = options_.samples;
    const sequin::Shape<3> shape{examples, 2, n};
    if (!batch.sources.defined() || batch.sources.shape() != shape) {
      batch.sources = Tensor<float, 3>(shape);
      batch.mixture = Tensor<float, 2>({examples, n});
    }
    float* source = batch.sources.data();
    float* mixture = batch.mixture.data();
    for (index_t b = 0; b < examples; ++b, source += 2 * n, mixture += n) {
      const Voice& first = pick(generator);
      const Voice* second = &pick(generator);
      while (second == &first) second = &pick(generator);
      const double half = options_.decibels * (2 * generator.uniform<double>() - 1);
      take(first, generator, kLevel * std::pow(10.0, half / 20), source);
      take(*second, generator, kLevel * std::pow(10.0, -half / 20), source + n);
      for (index_t t = 0; t < n; ++t) mixture[t] = source[t] + source[n + t];
    }
  }

 private:
  static constexpr double kLevel = 0.05;  ///< root mean square of a source at 0 dB
  static constexpr int kTries = 8;        ///< places to look for one that is not a pause

  index_t longest_piece() const {
    return static_cast<index_t>(
               std::ceil(static_cast<double>(options_.samples) * (1 + options_.speed))) +
           2;
  }

  const Voice& pick(sequin::Generator& generator) const {
    const auto one_of = [&](const auto& list) -> const auto& {
      return list[generator.below(static_cast<std::uint32_t>(list.size()))];
    };
    return one_of(one_of(kinds_));
  }

  /// A piece of `voice` at the level `level` -> out (T). Places that are softer than -10 dB below
  /// the voice's mean are passed over a few times.
  void take(const Voice& voice, sequin::Generator& generator, double level, float* out) const {
    const index_t n = options_.samples;
    const double step = 1 + options_.speed * (2 * generator.uniform<double>() - 1);
    const auto places =
        static_cast<std::uint32_t>(static_cast<index_t>(voice.samples.size()) - longest_piece());
    double power = 0;
    for (int i = 0; i < kTries && power <= 0.1 * voice.power; ++i) {
      const float* const from = voice.samples.data() + generator.below(places + 1);
      power = 0;
      for (index_t t = 0; t < n; ++t) {
        const double at = static_cast<double>(t) * step;
        const auto whole = static_cast<index_t>(at);
        const auto part = static_cast<float>(at - static_cast<double>(whole));
        out[t] = from[whole] + part * (from[whole + 1] - from[whole]);
        power += static_cast<double>(out[t]) * static_cast<double>(out[t]);
      }
      power /= static_cast<double>(n);
    }
    const auto gain = static_cast<float>(power > 0 ? level / std::sqrt(power) : 0);
    for (index_t t = 0; t < n; ++t) out[t] *= gain;
  }

  std::vector<std::vector<Voice>> kinds_;
  MixtureOptions options_;
};

}  // namespace sequin_separation
