/// The next steps of a series by a model of fixed windows.
#pragma once

#include "forecaster.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace sequin_cli {

/// A forecast of the rows that follow `history`; tables row by row, `columns` wide.
struct Forecasted {
  std::vector<std::string> columns;
  std::vector<std::int64_t> times;   ///< of the history's rows; empty where there are no dates
  std::vector<std::int64_t> future;  ///< of the forecast's rows; likewise
  std::vector<double> history, values;
  std::vector<double> truth;  ///< of the same rows as `values`; empty when it is not known
};

/// Where a series and its model come from, and whether its last rows are to be forecast.
struct ForecastSource {
  std::filesystem::path dir;  ///< of the model: scaler.csv, where training left one
  std::string input;          ///< the series' file, for messages
  bool holdout = false;       ///< the last pred_len rows are the truth
};

/// Forecasts by `model`, which gets one window (1, seq_len, V) as it was trained. Throws LoadError
/// for a series that is too short or lacks a column.
Forecasted forecast_series(
    const sequin::Series& series, const sequin::WindowOptions& options,
    const ForecastSource& source,
    const std::function<sequin::Tensor<float, 3>(const ForecastInput&)>& model);

}  // namespace sequin_cli
