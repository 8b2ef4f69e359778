/// Forecasts of raw series with Time-MoE: scales, gaps and many series at once are its business.
#pragma once

#include "sequin/models/time_moe_generate.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// How `forecast` works.
struct ForecastOptions {
  index_t max_context = 0;  ///< the last so many values are used; 0: all
  index_t batch = 32;       ///< series computed together
  /// Called as the work goes on with the number of values done, of V * horizon in all.
  std::function<void(index_t)> on_values = {};
};

/// One series made ready for the model.
struct NormedSeries {
  double mean = 0;
  double std = 0;             ///< unbiased; 0: all values that are there are equal, or there is one
  index_t first = 0;          ///< the first value that is there; the length where none is
  std::vector<double> value;  ///< (x - mean) / std with gaps filled; 0 before `first`
};

/// Mean, unbiased deviation (no epsilon) and z-scores of the finite values of x. Others are gaps:
/// between two values they are filled along the straight line, after the last one with it, before
/// the first one they stay padding.
template <Scalar T>
NormedSeries norm_series(std::span<const T> x) {
  NormedSeries s;
  const auto length = static_cast<index_t>(x.size());
  s.value.assign(x.size(), 0);
  s.first = length;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double sum = 0;
  index_t count = 0;
  index_t last = -1;
  for (index_t t = 0; t < length; ++t) {
    const auto v = static_cast<double>(x[static_cast<std::size_t>(t)]);
    if (!std::isfinite(v)) continue;
    s.value[static_cast<std::size_t>(t)] = v;
    if (last < 0) {
      s.first = t;
    } else {
      const double before = s.value[static_cast<std::size_t>(last)];
      for (index_t i = last + 1; i < t; ++i)
        s.value[static_cast<std::size_t>(i)] =
            before + (v - before) * static_cast<double>(i - last) / static_cast<double>(t - last);
    }
    last = t;
    low = (std::min)(low, v);
    high = (std::max)(high, v);
    sum += v;
    ++count;
  }
  if (count == 0) return s;
  for (index_t i = last + 1; i < length; ++i)
    s.value[static_cast<std::size_t>(i)] = s.value[static_cast<std::size_t>(last)];
  s.mean = low == high ? low : sum / static_cast<double>(count);
  double squares = 0;
  for (const T v : x)
    if (std::isfinite(v)) {
      const double d = static_cast<double>(v) - s.mean;
      squares += d * d;
    }
  if (low < high) s.std = std::sqrt(squares / static_cast<double>(count - 1));
  for (index_t t = s.first; t < length; ++t) {
    double& z = s.value[static_cast<std::size_t>(t)];
    z = s.std > 0 ? (z - s.mean) / s.std : 0;
  }
  return s;
}

/// The next `horizon` values of many series: series (V, T) -> (V, horizon). Each is normalised by
/// its own mean and unbiased deviation as the official evaluation does, continued by `generate`,
/// and brought back. Values that are not finite are gaps, see `norm_series`; missing ones in front
/// are left padding, so series of different lengths are aligned at the end.
///
/// Stated results: a series without deviation goes on as it is; one without any value gives 0. The
/// sum of context and horizon should not exceed max_position_embeddings (paper), but may. Series of
/// double are normalised as such, whatever the model computes in.
/// Throws ShapeError, ConfigError.
template <Scalar T, Scalar S>
Tensor<S, 2> forecast(const TimeMoe<T>& model, const Tensor<S, 2>& series, index_t horizon,
                      const ForecastOptions& options = {}) {
  const index_t count = series.extent(0);
  if (count < 1 || series.extent(1) < 1)
    throw ShapeError("forecast: series is " + to_string(series.shape()) +
                     ", expected [V >= 1, T >= 1]");
  if (horizon < 1)
    throw ConfigError("forecast: horizon is " + std::to_string(horizon) + ", expected >= 1");
  if (options.max_context < 0 || options.batch < 1)
    throw ConfigError("forecast: max_context is " + std::to_string(options.max_context) +
                      " and batch " + std::to_string(options.batch) + ", expected >= 0 and >= 1");
  const index_t length = options.max_context > 0 ? (std::min)(options.max_context, series.extent(1))
                                                 : series.extent(1);
  Tensor<S, 2> out({count, horizon});
  for (index_t begin = 0; begin < count; begin += options.batch) {
    const index_t rows = (std::min)(options.batch, count - begin);
    Tensor<T, 2> z({rows, length});
    Tensor<std::int64_t, 2> mask({rows, length}, std::int64_t{1});
    std::vector<NormedSeries> normed;
    for (index_t r = 0; r < rows; ++r) {
      const auto end = static_cast<std::size_t>((begin + r + 1) * series.extent(1));
      normed.push_back(norm_series(series.span().subspan(end - static_cast<std::size_t>(length),
                                                         static_cast<std::size_t>(length))));
      for (index_t t = 0; t < length; ++t) {
        z(r, t) = static_cast<T>(normed.back().value[static_cast<std::size_t>(t)]);
        mask(r, t) = t >= normed.back().first ? 1 : 0;
      }
    }
    const auto on_steps = [&](index_t steps) {
      if (options.on_values) options.on_values(begin * horizon + rows * steps);
    };
    const Tensor<T, 2> continued = generate(model, z, horizon, mask, true, on_steps);
    for (index_t r = 0; r < rows; ++r) {
      const NormedSeries& s = normed[static_cast<std::size_t>(r)];
      for (index_t t = 0; t < horizon; ++t)
        out(begin + r, t) =
            s.std > 0
                ? static_cast<S>(static_cast<double>(continued(r, length + t)) * s.std + s.mean)
                : static_cast<S>(s.mean);
    }
  }
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
