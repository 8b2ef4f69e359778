// sequin forecast: the next steps of a CSV, as CSV and picture; or the score on its test part.
#include "commands.hpp"
#include "forecast_request.hpp"
#include "forecaster.hpp"
#include "score.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

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
  write_forecast(
      a, forecast_series(series, options, {a.dir, a.input, a.holdout},
                         [&](const ForecastInput& input) { return forecaster->forecast(input); }));
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
