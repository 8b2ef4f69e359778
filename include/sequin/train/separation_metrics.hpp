/// Scores of separated signals: SI-SDR without any epsilon, its improvement over the mixture, and
/// which estimate belongs to which source.
#pragma once

#include "sequin/core/assignment.hpp"
#include "sequin/core/error.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Sums in double, pairwise.
template <class F>
double pairwise_sum(std::size_t begin, std::size_t end, const F& f) {
  if (end - begin > 128) {
    const std::size_t middle = begin + (end - begin) / 2;
    return pairwise_sum(begin, middle, f) + pairwise_sum(middle, end, f);
  }
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += f(i);
  return sum;
}

inline void check_signal(std::size_t found, std::size_t expected, const std::string& name) {
  if (expected == 0 || found != expected)
    throw ShapeError("si_sdr: " + name + " has " + std::to_string(found) + " samples, expected " +
                     (expected == 0 ? "at least 1" : std::to_string(expected)));
}

}  // namespace detail

/// SI-SDR in dB of an estimate against its source, both about their means:
/// 10 log10(|p|^2 / |e - p|^2) with p = <e, s> s / |s|^2, in double. No epsilon, as ClearerVoice's
/// `si_sdr_numpy.py` (which however subtracts the means from the caller's own arrays): NaN for a
/// constant source, and for a perfect estimate infinity or what rounding leaves. For training see
/// ops/si_sdr.hpp. Throws ShapeError when the lengths differ or are 0. Allocates nothing.
template <Scalar T>
double si_sdr_db(std::span<const T> estimate, std::span<const T> source) {
  detail::check_signal(estimate.size(), source.size(), "the estimate");
  const std::size_t n = source.size();
  const auto sum = [n](const auto& f) { return detail::pairwise_sum(0, n, f); };
  const double count = static_cast<double>(n);
  const double e_mean =
      sum([&](std::size_t i) { return static_cast<double>(estimate[i]); }) / count;
  const double s_mean = sum([&](std::size_t i) { return static_cast<double>(source[i]); }) / count;
  const auto e = [&](std::size_t i) { return static_cast<double>(estimate[i]) - e_mean; };
  const auto s = [&](std::size_t i) { return static_cast<double>(source[i]) - s_mean; };
  const double energy = sum([&](std::size_t i) { return s(i) * s(i); });
  const double scale = sum([&](std::size_t i) { return e(i) * s(i); }) / energy;
  const double noise = sum([&](std::size_t i) {
    const double d = e(i) - scale * s(i);
    return d * d;
  });
  return 10 * std::log10(scale * scale * energy / noise);
}

/// What `score_separation` finds, by source.
struct SeparationScore {
  std::vector<index_t> estimate_of_source;
  std::vector<double> si_sdr;   ///< dB of the assigned estimate
  std::vector<double> mixture;  ///< dB of the mixture; empty without one

  /// Mean over the sources in dB.
  double mean_si_sdr() const { return mean(si_sdr); }
  double mean_mixture() const { return mean(mixture); }
  /// SI-SDRi: how much nearer to the sources the estimates are than the mixture; NaN without one.
  double improvement() const { return mean_si_sdr() - mean_mixture(); }

 private:
  static double mean(const std::vector<double>& v) {
    double sum = 0;
    for (const double x : v) sum += x;
    return sum / static_cast<double>(v.size());
  }
};

/// Scores as many estimates as sources, all of one length, by the assignment with the best mean
/// SI-SDR; with two sources a tie goes to the swapped assignment as in ClearerVoice's
/// `permute_si_sdr`. `mixture` may be empty. A NaN anywhere leaves the signals in their order.
/// Throws ShapeError.
template <Scalar T>
SeparationScore score_separation(std::span<const std::span<const T>> estimates,
                                 std::span<const std::span<const T>> sources,
                                 std::span<const T> mixture = {}) {
  const std::size_t n = sources.size();
  if (n == 0 || estimates.size() != n)
    throw ShapeError("si_sdr: " + std::to_string(estimates.size()) + " estimates, expected " +
                     (n == 0 ? "at least 1 source" : std::to_string(n) + " as the sources"));
  for (std::size_t i = 0; i < n; ++i) {
    detail::check_signal(sources[i].size(), sources[0].size(), "source " + std::to_string(i + 1));
    detail::check_signal(estimates[i].size(), sources[0].size(),
                         "estimate " + std::to_string(i + 1));
  }
  if (!mixture.empty()) detail::check_signal(mixture.size(), sources[0].size(), "the mixture");

  std::vector<double> cost(n * n);
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t i = 0; i < n; ++i) cost[j * n + i] = -si_sdr_db(estimates[i], sources[j]);
  SeparationScore score;
  score.estimate_of_source = best_assignment(cost.data(), static_cast<index_t>(n));
  if (n == 2 && cost[1] + cost[2] <= cost[0] + cost[3]) score.estimate_of_source = {1, 0};
  for (std::size_t j = 0; j < n; ++j) {
    score.si_sdr.push_back(-cost[j * n + static_cast<std::size_t>(score.estimate_of_source[j])]);
    if (!mixture.empty()) score.mixture.push_back(si_sdr_db(mixture, sources[j]));
  }
  return score;
}

}  // namespace sequin::inline SEQUIN_ABI
