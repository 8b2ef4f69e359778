/// One signal a speaker from a mixture, as `sequin separate` gives them.
#pragma once

#include "sequin/io/config.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/separate_long.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace sequin_cli {

/// How long audio is cut, in seconds.
struct SeparationCut {
  double segment = 8;  ///< what the model gets at a time
  double overlap = 2;  ///< of neighbouring segments
};

inline double energy(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}

/// Rows of (speakers, T) as signals of `length` samples.
inline std::vector<std::vector<float>> rows_of(const sequin::Tensor<float, 2>& t,
                                               std::size_t length) {
  std::vector<std::vector<float>> rows;
  for (sequin::index_t s = 0; s < t.extent(0); ++s) {
    const float* const from = t.data() + s * t.extent(1);
    rows.emplace_back(from, from + (std::min)(static_cast<sequin::index_t>(length), t.extent(1)));
  }
  return rows;
}

/// A network that does not mask has no level of its own: the speakers' sum gets the mixture's.
inline void match_level(std::vector<std::vector<float>>& speakers, std::span<const float> mixture) {
  std::vector<float> sum(mixture.size());
  for (const auto& s : speakers)
    for (std::size_t t = 0; t < s.size(); ++t) sum[t] += s[t];
  const double own = energy(sum);
  if (!(own > 0)) return;
  const auto factor = static_cast<float>(std::sqrt(energy(mixture) / own));
  for (auto& s : speakers)
    for (float& v : s) v *= factor;
}

/// Throws ConfigError for a network that separates no speakers.
inline sequin::MossFormer2Config separator_config(const sequin::Config& config) {
  sequin::MossFormer2Config c = sequin::MossFormer2Config::read(config);
  if (!c.separates())
    throw sequin::ConfigError(config.label() +
                              ": layout: expected a network that separates speakers, "
                              "found one that makes masks of features");
  return c;
}

/// The fewest samples that the network takes.
inline std::size_t least_samples(const sequin::MossFormer2Config& c) {
  return static_cast<std::size_t>(c.encoder_kernel_size + c.encoder_kernel_size / 2);
}

/// Throws LoadError naming `input` for audio shorter than that.
inline void check_length(std::size_t least, int rate, std::size_t samples,
                         const std::string& input) {
  if (samples < least)
    throw sequin::LoadError(input + ": expected at least " + std::to_string(least) +
                            " samples at " + std::to_string(rate) + " Hz, found " +
                            std::to_string(samples));
}
inline void check_length(const sequin::MossFormer2Config& c, std::size_t samples,
                         const std::string& input) {
  check_length(least_samples(c), static_cast<int>(c.sampling_rate), samples, input);
}

/// mixture (T) at the model's rate -> T samples a speaker. `progress` as separate_long has it.
inline std::vector<std::vector<float>> separate_signal(
    const sequin::MossFormer2<float>& model, const sequin::Tensor<float, 1>& mixture,
    const SeparationCut& cut,
    const std::function<bool(sequin::index_t, sequin::index_t)>& progress = {}) {
  const sequin::MossFormer2Config& c = model.config();
  const auto rate = static_cast<double>(c.sampling_rate);
  sequin::LongSeparationOptions options;
  options.segment = static_cast<sequin::index_t>(std::llround(cut.segment * rate));
  options.overlap = static_cast<sequin::index_t>(std::llround(cut.overlap * rate));
  options.segment = (std::max)(options.segment, static_cast<sequin::index_t>(2 * least_samples(c)));
  const std::span<const float> samples(mixture.data(), static_cast<std::size_t>(mixture.size()));
  auto speakers = rows_of(separate_long(model, mixture, options, progress), samples.size());
  if (!c.masks) match_level(speakers, samples);
  return speakers;
}

}  // namespace sequin_cli
