/// How well forecasts of many series are: MASE and scaled errors beside the naive ones.
#pragma once

#include "named_series.hpp"

#include "sequin/core/tensor.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace sequin_pretrain {

/// Means over the steps of a forecast, or over forecasts.
struct Errors {
  double mase = 0;  ///< absolute error by that of the seasonal naive one-step forecast of the past
  double mae = 0, mse = 0;  ///< of values scaled by the past's mean and deviation

  Errors& operator+=(const Errors& o) {
    mase += o.mase, mae += o.mae, mse += o.mse;
    return *this;
  }
  Errors operator/(double n) const { return {mase / n, mae / n, mse / n}; }
};

/// Steps ahead for a season of `period` values: as the M4 competition asks for years, quarters,
/// months, weeks, days and hours, and a day of half hours.
inline index_t horizon_of(index_t period) {
  if (period <= 1) return 6;
  if (period <= 4) return 8;
  if (period <= 7) return 14;
  if (period <= 12) return 18;
  return period == 52 ? 13 : 48;
}

/// What is divided by: mean |x[t] - x[t - period]| of `past` (of neighbours, where it is no longer
/// than a season), and its deviation. Gaps do not count. 0 where all are equal.
struct Scales {
  double seasonal = 0, deviation = 0;
};
inline Scales scales_of(std::span<const float> past, index_t period) {
  const auto n = static_cast<index_t>(past.size());
  const index_t lag = period < n ? period : 1;
  Scales s;
  double differences = 0, mean = 0, known = 0;
  for (index_t t = 0; t < n; ++t) {
    const auto v = static_cast<double>(past[static_cast<std::size_t>(t)]);
    if (!std::isfinite(v)) continue;
    mean += v, ++known;
    if (t < lag) continue;
    const auto before = static_cast<double>(past[static_cast<std::size_t>(t - lag)]);
    if (!std::isfinite(before)) continue;
    s.seasonal += std::abs(v - before), ++differences;
  }
  if (known < 2 || differences < 1) return {};
  s.seasonal /= differences;
  mean /= known;
  for (const float v : past)
    if (std::isfinite(v))
      s.deviation += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  s.deviation = std::sqrt(s.deviation / (known - 1));
  return s;
}

/// Errors of a forecast against what came; steps that are missing do not count.
inline Errors errors_of(std::span<const float> said, std::span<const float> truth,
                        const Scales& scales) {
  Errors sum;
  double known = 0;
  for (std::size_t t = 0; t < truth.size(); ++t) {
    if (!std::isfinite(truth[t])) continue;
    const double error = std::abs(static_cast<double>(said[t]) - static_cast<double>(truth[t]));
    const double scaled = error / scales.deviation;
    sum += {error / scales.seasonal, scaled, scaled * scaled};
    ++known;
  }
  return known > 0 ? sum / known : Errors{};
}

/// The last known value, again and again.
inline std::vector<float> naive(std::span<const float> past, index_t horizon) {
  float last = 0;
  for (const float v : past)
    if (std::isfinite(v)) last = v;
  return std::vector<float>(static_cast<std::size_t>(horizon), last);
}

/// The last season, again and again; a missing value is taken from the season before it, the naive
/// value where no season has it.
inline std::vector<float> seasonal_naive(std::span<const float> past, index_t period,
                                         index_t horizon) {
  std::vector<float> said = naive(past, horizon);
  const auto n = static_cast<index_t>(past.size());
  for (index_t t = 0; t < horizon && period < n; ++t)
    for (index_t at = n - period + t % period; at >= 0; at -= period)
      if (std::isfinite(past[static_cast<std::size_t>(at)])) {
        said[static_cast<std::size_t>(t)] = past[static_cast<std::size_t>(at)];
        break;
      }
  return said;
}

/// One forecast to make: the first `known` values of a series are known.
struct Task {
  const NamedSeries* series = nullptr;
  index_t known = 0, horizon = 0;
  Scales scales;

  std::span<const float> past() const {
    return {series->values.data(), static_cast<std::size_t>(known)};
  }
  std::span<const float> truth() const {
    return {series->values.data() + known, static_cast<std::size_t>(horizon)};
  }
};

/// Up to `most` forecasts of a series, from its end on backwards, one after the other; each knows
/// at least two seasons, two horizons and 24 values. Those without a scale or a truth are left out.
inline std::vector<Task> tasks_of(const NamedSeries& series, index_t horizon, index_t most) {
  std::vector<Task> tasks;
  const auto n = static_cast<index_t>(series.values.size());
  const index_t least = (std::max)({2 * series.period, 2 * horizon, index_t{24}});
  for (index_t known = n - horizon; known >= least && static_cast<index_t>(tasks.size()) < most;
       known -= horizon) {
    Task task{&series, known, horizon, {}};
    task.scales = scales_of(task.past(), series.period);
    const auto truth = task.truth();
    const bool there =
        std::any_of(truth.begin(), truth.end(), [](float v) { return std::isfinite(v); });
    if (there && task.scales.seasonal > 0 && task.scales.deviation > 0) tasks.push_back(task);
  }
  return tasks;
}

/// Errors by group: the mean over its series, each the mean over its forecasts.
class Table {
 public:
  void add(const std::string& group, const std::string& series, const Errors& errors) {
    auto& [sum, count] = groups_[group][series];
    sum += errors;
    count += 1;
  }

  struct Row {
    std::string group;
    index_t series = 0, forecasts = 0;
    Errors mean;
    double mase_error = 0;  ///< standard error of the mean MASE over series; 0 of one series
  };
  std::vector<Row> rows() const {
    std::vector<Row> rows;
    for (const auto& [group, list] : groups_) {
      Row row{group, static_cast<index_t>(list.size()), 0, {}, 0};
      const auto n = static_cast<double>(list.size());
      for (const auto& [name, entry] : list) {
        row.mean += entry.first / entry.second / n;
        row.forecasts += static_cast<index_t>(entry.second);
      }
      for (const auto& [name, entry] : list) {
        const double d = entry.first.mase / entry.second - row.mean.mase;
        row.mase_error += d * d;
      }
      row.mase_error = n > 1 ? std::sqrt(row.mase_error / (n - 1) / n) : 0;
      rows.push_back(row);
    }
    return rows;
  }

 private:
  std::map<std::string, std::map<std::string, std::pair<Errors, double>>> groups_;
};

}  // namespace sequin_pretrain
