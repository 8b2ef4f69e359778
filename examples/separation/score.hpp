/// How well a model separates mixtures that are drawn from a seed.
#pragma once

#include "mixtures.hpp"

#include "sequin/core/no_grad.hpp"
#include "sequin/train/separation_metrics.hpp"

#include <array>
#include <cmath>
#include <span>
#include <vector>

namespace sequin_separation {

/// SI-SDR of the estimates and SI-SDRi, in dB, of each mixture.
struct Scores {
  std::vector<double> si_sdr, improvement;
};

struct Spread {
  double mean = 0, deviation = 0, tenth = 0, median = 0;  ///< tenth: a tenth lies below it
};

inline Spread spread_of(std::vector<double> values) {
  Spread s;
  if (values.empty()) return s;
  std::ranges::sort(values);
  const auto n = static_cast<double>(values.size());
  for (const double v : values) s.mean += v / n;
  for (const double v : values) s.deviation += (v - s.mean) * (v - s.mean);
  s.deviation = values.size() > 1 ? std::sqrt(s.deviation / (n - 1)) : 0;
  s.tenth = values[values.size() / 10];
  s.median = values[values.size() / 2];
  return s;
}

/// Each mixture is separated whole; `progress(done)` after each.
template <class Model, class Progress>
Scores score(const Model& model, const Mixtures& mixtures, index_t count, std::uint64_t seed,
             const Progress& progress) {
  const sequin::NoGrad no_grad;
  sequin::Generator generator(seed);
  sequin::Arena arena;
  MixtureBatch batch;
  Scores scores;
  const auto n = static_cast<std::size_t>(mixtures.options().samples);
  std::array<std::vector<float>, 2> estimates{std::vector<float>(n), std::vector<float>(n)};
  for (index_t i = 0; i < count; ++i) {
    mixtures.draw(generator, 1, batch);
    {
      const sequin::ArenaScope scope(&arena);
      const Tensor<float, 3> separated = model.separate(batch.mixture);  // (1, T, 2)
      for (std::size_t t = 0; t < n; ++t)
        for (std::size_t s = 0; s < 2; ++s) estimates[s][t] = separated.data()[2 * t + s];
    }
    arena.fit();
    const float* const source = batch.sources.data();
    const std::array<std::span<const float>, 2> of_model{estimates[0], estimates[1]};
    const std::array<std::span<const float>, 2> truth{std::span(source, n),
                                                      std::span(source + n, n)};
    const auto found = sequin::score_separation<float>(
        of_model, truth, std::span<const float>(batch.mixture.data(), n));
    scores.si_sdr.push_back(found.mean_si_sdr());
    scores.improvement.push_back(found.improvement());
    progress(i + 1);
  }
  return scores;
}

}  // namespace sequin_separation
