// sequin forecast: the next steps of a CSV, as CSV and picture; or the score on its test part.
#include "commands.hpp"
#include "forecast_request.hpp"
#include "forecaster.hpp"
#include "score.hpp"

#include "sequin/io/csv.hpp"
#include "sequin/train/metrics.hpp"
#include "sequin/train/time_marks.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

/// How a series is scaled and which of its columns in which order a model takes.
struct Scaling {
  StandardScaler scaler;
  std::vector<std::string> columns;
};

/// What training left in the folder, or else what the training rows of the series give.
Scaling scaling_of(const ForecastArguments& a, const Series& series, const WindowOptions& options) {
  if (!options.scale) {
    Scaling none;
    none.columns = options.features == Features::kS ? std::vector{options.target} : series.columns;
    none.scaler = StandardScaler::identity(static_cast<index_t>(none.columns.size()));
    return none;
  }
  const std::filesystem::path file = std::filesystem::path(a.dir) / "scaler.csv";
  if (!std::filesystem::exists(file)) {
    const ForecastData<float> data(series, options);
    return {data.scaler(), data.columns()};
  }
  const CsvTable table = read_csv(file);
  if (table.rows() != 2)
    throw LoadError(file.string() + ": expected 2 rows (mean, std), found " +
                    std::to_string(table.rows()));
  for (const std::string& name : table.columns)
    if (std::find(series.columns.begin(), series.columns.end(), name) == series.columns.end())
      throw LoadError(a.input + ": expected a column '" + detail::printable(name) +
                      "' as in training, found none");
  const auto count = static_cast<std::ptrdiff_t>(table.columns.size());
  Scaling scaling;
  scaling.columns = table.columns;
  scaling.scaler.mean.assign(table.values.begin(), table.values.begin() + count);
  scaling.scaler.std.assign(table.values.begin() + count, table.values.end());
  return scaling;
}

int evaluate_model(const ForecastArguments& a) {
  const ThreadScope threads(a.session);
  const TestScores s = score_forecaster(a.dir, a.input, a.series);
  std::printf("{\"mse\": %.6f, \"mae\": %.6f, \"windows\": %td}\n", s.mse, s.mae, s.windows);
  return kDone;
}

int forecast(const ForecastArguments& a) {
  if (a.evaluate) return evaluate_model(a);
  if (a.output.empty() && a.plot.empty())
    throw ConfigError("forecast: expected --output FILE.csv, --plot FILE.svg or --evaluate");
  const ThreadScope threads(a.session);
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  const ForecasterKind kind = forecaster_kind(config);
  if (kind.any_horizon != nullptr) {
    kind.any_horizon(a);
    return kDone;
  }
  if (a.series.horizon > 0 || a.series.context > 0)
    throw ConfigError(config.label() + ": --horizon and --context: expected a model of any " +
                      "horizon, found " + kind.model);
  const Series series = read_series(a.input);
  const std::unique_ptr<Forecaster> forecaster = load_forecaster(a.dir);
  const WindowOptions options = forecaster->windows(config, a.series, series);
  const index_t rows = series.values.rows();
  const index_t used = options.seq_len + (a.holdout ? options.pred_len : 0);
  if (rows < used)
    throw LoadError(a.input + ": expected at least " + std::to_string(used) + " rows, found " +
                    std::to_string(rows));
  const Scaling scaling = scaling_of(a, series, options);
  const StandardScaler& scaler = scaling.scaler;
  const std::vector<std::string>& columns = scaling.columns;
  const index_t first = rows - used;
  const auto column_index = [&](const std::string& name) {
    const auto at = std::find(series.columns.begin(), series.columns.end(), name);
    return at - series.columns.begin();
  };
  const auto value = [&](index_t row, std::size_t c) {
    return series.values.data()[row * series.values.cols() + column_index(columns[c])];
  };
  ForecastInput input;
  const auto variates = static_cast<index_t>(columns.size());
  input.history = Tensor<float, 3>({1, options.seq_len, variates});
  for (index_t t = 0; t < options.seq_len; ++t)
    for (std::size_t c = 0; c < columns.size(); ++c)
      input.history(0, t, static_cast<index_t>(c)) =
          static_cast<float>(scaler.transform(value(first + t, c), c));
  const std::span<const std::int64_t> times(series.times.data() + first,
                                            static_cast<std::size_t>(options.seq_len));
  const std::vector<std::int64_t> future = future_times(times, options.pred_len, options.freq);
  const auto marks_of = [&](std::span<const std::int64_t> moments) {
    const Tensor<float, 2> marks =
        time_marks<float>(moments, options.embed, options.freq,
                          options.quarter_hours || options.split == SplitRule::kEttMinute);
    return marks.reshaped<3>(Shape<3>{1, marks.extent(0), marks.extent(1)});
  };
  input.history_marks = marks_of(times);
  input.future_marks = marks_of(future);
  const Tensor<float, 3> scaled = forecaster->forecast(input);

  // With features MS it is the last column alone that the model was trained for.
  const index_t skip =
      options.features == Features::kMS ? variates - 1 : variates - scaled.extent(2);
  Forecasted result;
  result.columns.assign(columns.begin() + skip, columns.end());
  result.times.assign(times.begin(), times.end());
  result.future = future;
  const auto all = static_cast<std::size_t>(variates);
  for (index_t t = 0; t < options.seq_len; ++t)
    for (auto c = static_cast<std::size_t>(skip); c < all; ++c)
      result.history.push_back(value(first + t, c));
  for (index_t t = 0; t < options.pred_len; ++t)
    for (auto c = static_cast<std::size_t>(skip); c < all; ++c) {
      const index_t at = static_cast<index_t>(c) - variates + scaled.extent(2);
      result.values.push_back(scaler.inverse(static_cast<double>(scaled(0, t, at)), c));
      if (a.holdout) result.truth.push_back(value(first + options.seq_len + t, c));
    }
  write_forecast(a, result);
  return kDone;
}

}  // namespace

static void add_forecast(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("forecast", "Forecast a CSV, or score a model on it");
  cmd->footer(
      "Examples: sequin forecast DIR --input data.csv --output next.csv --plot next.svg\n"
      "          sequin forecast DIR --input ETTh1.csv --split ETTh1 --evaluate\n"
      "          sequin forecast TIME_MOE --input any.csv --horizon 96 --output next.csv");
  const auto a = std::make_shared<ForecastArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_option("--input", a->input, "CSV: a date column, then numbers")->required();
  cmd->add_option("-o,--output", a->output, "CSV to write");
  cmd->add_option("--plot", a->plot, "SVG to draw");
  cmd->add_option("--column", a->column, "the column to draw (the last)");
  cmd->add_option("--unit", a->unit, "its unit, for the axis");
  cmd->add_flag("--holdout", a->holdout, "forecast the last steps of the file and show the truth");
  cmd->add_option("--horizon", a->series.horizon,
                  "steps to forecast, for models of any horizon (96)")
      ->check(CLI::Range(1, 1 << 24));
  cmd->add_option("--context", a->series.context,
                  "rows that such a model sees (as many as it knows)")
      ->check(CLI::Range(1, 1 << 24));
  cmd->add_flag("--evaluate", a->evaluate, "print MSE and MAE on the test part as JSON");
  a->series.add_to(cmd);
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return forecast(*a); }; });
}

static const RegisterCommand forecast_command(4, add_forecast);

}  // namespace sequin_cli
