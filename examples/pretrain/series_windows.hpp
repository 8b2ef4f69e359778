/// Windows of many series, as Time-MoE learns from them.
#pragma once

#include "named_series.hpp"

#include "sequin/core/arena.hpp"
#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/models/time_moe_forecast.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>

namespace sequin_pretrain {

using sequin::Generator;
using sequin::Tensor;

/// B windows of L steps; where a series is shorter the rest is padding on the right.
struct WindowsBatch {
  Tensor<float, 3> input;           ///< (B, L, 1), normalised
  Tensor<float, 3> labels;          ///< (B, L, 1), labels[t] follows input[t]
  Tensor<float, 3> loss_masks;      ///< (B, L, 1), 0 at labels that are padding
  Tensor<std::int64_t, 2> is_real;  ///< (B, L), 0 at inputs that are padding
};

struct WindowsOptions {
  index_t length = 256;    ///< L
  double synthetic = 0.5;  ///< share of windows of synthetic series
  /// Share of windows that are normalised by the mean and deviation of their beginning (a quarter
  /// or more of it) instead of all: so is a forecast, whose future nobody knows. The official code
  /// takes the whole for all of them.
  double by_beginning = 0.5;
};

/// A batch source for `train`. A window is of a real or a synthetic series; of the real ones the
/// domain is drawn first, each with the root of its number of series as weight, so that a small one
/// counts. The place is drawn anywhere where the window fits.
class SeriesWindows {
 public:
  using Batch = WindowsBatch;

  /// Throws ConfigError without any series.
  SeriesWindows(std::vector<NamedSeries> real, std::vector<NamedSeries> synthetic,
                const WindowsOptions& options)
      : synthetic_(std::move(synthetic)), options_(options) {
    std::map<std::string, std::vector<NamedSeries>> by_domain;
    for (NamedSeries& s : real) by_domain[s.domain].push_back(std::move(s));
    double total = 0;
    for (auto& [name, list] : by_domain) {
      total += std::sqrt(static_cast<double>(list.size()));
      up_to_.push_back(total);
      real_.push_back(std::move(list));
    }
    if (real_.empty() && synthetic_.empty())
      throw sequin::ConfigError("pretrain: expected real or synthetic series, found none");
    if (real_.empty()) options_.synthetic = 1;
    if (synthetic_.empty()) options_.synthetic = 0;
  }

  const WindowsOptions& options() const noexcept { return options_; }

  /// Their number and values, so that a training resumes with no others.
  std::string described() const {
    std::size_t series = synthetic_.size(), values = 0;
    for (const NamedSeries& s : synthetic_) values += s.values.size();
    for (const auto& domain : real_)
      for (const NamedSeries& s : domain) ++series, values += s.values.size();
    return std::to_string(series) + " series, " + std::to_string(values) + " values";
  }

  void draw(Generator& generator, index_t examples, Batch& batch) const {
    const sequin::ArenaScope heap(nullptr);
    const index_t n = options_.length;
    const sequin::Shape<3> shape{examples, n, 1};
    batch.input = Tensor<float, 3>(shape);
    batch.labels = Tensor<float, 3>(shape);
    batch.loss_masks = Tensor<float, 3>(shape);
    batch.is_real = Tensor<std::int64_t, 2>({examples, n});
    for (index_t b = 0; b < examples; ++b) {
      const std::vector<float> z = window(generator);
      const auto steps = static_cast<index_t>(z.size()) - 1;
      for (index_t t = 0; t < steps; ++t) {
        batch.input(b, t, 0) = z[static_cast<std::size_t>(t)];
        batch.labels(b, t, 0) = z[static_cast<std::size_t>(t + 1)];
        batch.loss_masks(b, t, 0) = 1;
        batch.is_real(b, t) = 1;
      }
    }
  }

 private:
  /// A window whose scale is none (its beginning is constant) would be huge or nothing.
  static constexpr double kLimit = 12;

  const NamedSeries& pick(Generator& generator) const {
    const auto one_of = [&](const std::vector<NamedSeries>& list) -> const NamedSeries& {
      return list[generator.below(static_cast<std::uint32_t>(list.size()))];
    };
    if (generator.uniform<double>() < options_.synthetic) return one_of(synthetic_);
    const double at = generator.uniform<double>() * up_to_.back();
    const auto domain = std::upper_bound(up_to_.begin(), up_to_.end() - 1, at) - up_to_.begin();
    return one_of(real_[static_cast<std::size_t>(domain)]);
  }

  /// At most length + 1 normalised values; gaps are filled as `norm_series` does.
  std::vector<float> window(Generator& generator) const {
    const auto most = static_cast<std::size_t>(options_.length + 1);
    const NamedSeries& series = pick(generator);
    const std::size_t size = (std::min)(most, series.values.size());
    const auto places = static_cast<std::uint32_t>(series.values.size() - size + 1);
    const std::span<const float> cut(series.values.data() + generator.below(places), size);
    const bool by_beginning = generator.uniform<double>() < options_.by_beginning;
    const double share = 0.25 + 0.75 * generator.uniform<double>();
    const sequin::NormedSeries whole = sequin::norm_series(cut);
    std::vector<float> z(size, 0.0f);
    double mean = 0, scale = 1;
    if (by_beginning) {  // of the normalised values: gaps are filled there
      const auto known =
          (std::max)(std::size_t{2}, static_cast<std::size_t>(share * static_cast<double>(size)));
      const sequin::NormedSeries first =
          sequin::norm_series(std::span<const double>(whole.value).first(known));
      if (first.std > 1e-3) mean = first.mean, scale = first.std;
    }
    for (std::size_t t = 0; t < size; ++t)
      z[t] = static_cast<float>((std::clamp)((whole.value[t] - mean) / scale, -kLimit, kLimit));
    return z;
  }

  std::vector<std::vector<NamedSeries>> real_;  ///< by domain
  std::vector<double> up_to_;                   ///< sums of the domains' weights
  std::vector<NamedSeries> synthetic_;
  WindowsOptions options_;
};

}  // namespace sequin_pretrain
