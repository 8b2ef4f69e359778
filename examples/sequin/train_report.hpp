/// What `sequin train` leaves behind: scores beside naive forecasts, metrics as JSON, the curves.
#pragma once

#include "../common/write_text.hpp"

#include "sequin/train/metrics.hpp"
#include "sequin/train/train_options.hpp"

#include <filesystem>
#include <string>

namespace sequin_cli {

/// On the test part, scaled.
struct TestScores {
  sequin::ForecastScore model, repeat_last, seasonal;
  sequin::index_t period = 0;  ///< of the seasonal forecast; 0: there is none
};

/// A training that is over.
struct TrainReport {
  const sequin::TrainResult& result;
  const TestScores& scores;
  std::string loss;
  double seconds = 0;  ///< of this run
  sequin::index_t parameters = 0, trained = 0, threads = 1;
  std::uint64_t seed = 0;
};

std::string metrics_json(const TrainReport& report);

/// A table on stdout.
void print_scores(const char* model, const TestScores& scores);

/// The curves of `result`, and of the steps in the log, as SVG. Throws ConfigError.
void plot_curves(const std::filesystem::path& svg, const std::string& title,
                 const std::string& loss, const sequin::TrainResult& result,
                 const std::filesystem::path& log);

using sequin_examples::write_text;

}  // namespace sequin_cli
