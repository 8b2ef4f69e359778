/// What `sequin forecast` was asked for, and what it writes.
#pragma once

#include "series.hpp"
#include "session_options.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace sequin_cli {

struct ForecastArguments {
  std::string dir, input, output, plot, column, unit;
  bool holdout = false;
  bool evaluate = false;
  SeriesOptions series;
  SessionOptions session;
};

/// A forecast of the rows that follow `history`; tables row by row, `columns` wide.
struct Forecasted {
  std::vector<std::string> columns;
  std::vector<std::int64_t> times;   ///< of the history's rows; empty where there are no dates
  std::vector<std::int64_t> future;  ///< of the forecast's rows; likewise
  std::vector<double> history, values;
  std::vector<double> truth;  ///< of the same rows as `values`; empty when it is not known
};

/// Writes the CSV and draws the picture that were asked for. Throws ConfigError, LoadError.
void write_forecast(const ForecastArguments& a, const Forecasted& forecast);

}  // namespace sequin_cli
