/// What `sequin forecast` was asked for, and what it writes.
#pragma once

#include "series_forecast.hpp"
#include "session_options.hpp"

#include <string>

namespace sequin_cli {

struct ForecastArguments {
  std::string dir, input, output, plot, column, unit;
  bool holdout = false;
  bool evaluate = false;
  SeriesOptions series;
  SessionOptions session;
};

/// Writes the CSV and draws the picture that were asked for. Throws ConfigError, LoadError.
void write_forecast(const ForecastArguments& a, const Forecasted& forecast);

}  // namespace sequin_cli
