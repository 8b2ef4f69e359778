// sequin forecast with Time-MoE: any CSV, any horizon, gaps filled.
#include "forecast_request.hpp"
#include "forecaster.hpp"

#include "../common/progress.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/time_moe_forecast.hpp"
#include "sequin/ops/shape.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kHorizon = 96;

/// For scores on windows: each variate of each window is a series of its own.
class TimeMoeForecaster : public Forecaster {
 public:
  explicit TimeMoeForecaster(const TimeMoeConfig& config) : model_(config) {}

  const char* name() const override { return "Time-MoE"; }

  /// Lengths as asked for, else 512 to 96; scaled as the official loaders scale, which changes the
  /// score, not the forecast.
  WindowOptions windows(const Config&, const SeriesOptions& options,
                        const Series& series) const override {
    WindowOptions w;
    w.pred_len = options.horizon > 0 ? options.horizon : kHorizon;
    w.seq_len = options.context > 0 ? options.context : 512;
    w.label_len = 0;
    w.features = features_from(options.features.empty() ? "M" : options.features);
    w.split = split_rule_from(options.split.empty() ? "custom" : options.split);
    w.target = options.target.empty() ? series.columns.back() : options.target;
    return w;
  }

  Tensor<float, 3> forecast(const ForecastInput& input,
                            const ForwardContext<float>&) const override {
    const index_t batch = input.history.extent(0);
    const index_t length = input.history.extent(1);
    const index_t variates = input.history.extent(2);
    const Tensor<float, 2> series =
        reshape<2>(transpose(input.history, 1, 2), {batch * variates, length});
    const Tensor<float, 2> next = sequin::forecast(model_, series, input.horizon());
    return transpose(reshape<3>(next, {batch, variates, input.horizon()}), 1, 2);
  }
  void initialize(Generator& generator) override { model_.initialize(generator); }
  void visit(Visitor<float>& v) override { model_.visit(v); }

 private:
  TimeMoe<float> model_;
};

std::unique_ptr<Forecaster> make(const Config& config) {
  const auto c = TimeMoeConfig::read(config);
  if (c.input_size != 1)
    throw ConfigError(config.label() + ": input_size: expected 1 to forecast, found " +
                      std::to_string(c.input_size));
  return std::make_unique<TimeMoeForecaster>(c);
}

double parameter_count(const Config& config) {
  return TimeMoeConfig::read(config).parameter_count();
}

/// Each column as a series of its own, to any horizon.
void forecast_any(const ForecastArguments& a) {
  const auto model = load_for_inference<TimeMoe<float>>(a.dir);
  const Series series = read_series_with_gaps(a.input);
  const index_t horizon = a.series.horizon > 0 ? a.series.horizon : kHorizon;
  const index_t rows = series.values.rows() - (a.holdout ? horizon : 0);
  if (rows < 1)
    throw LoadError(a.input + ": expected more than " + std::to_string(horizon) +
                    " rows to hold out, found " + std::to_string(series.values.rows()));
  // The paper's rule: context and horizon together are at most what the model was trained with.
  const index_t most = model.config().max_position_embeddings;
  const index_t known = a.series.context > 0 ? a.series.context
                        : most > horizon     ? most - horizon
                                             : most;
  const index_t length = (std::min)(rows, known);
  const index_t width = series.values.cols();
  const auto at = [&](index_t row, index_t column) {
    return series.values.span()[static_cast<std::size_t>(row * width + column)];
  };

  Forecasted result;
  result.columns = series.columns;
  if (!series.times.empty())
    result.times.assign(series.times.begin() + (rows - length), series.times.begin() + rows);
  for (index_t t = rows - length; t < rows; ++t)
    for (index_t c = 0; c < width; ++c) result.history.push_back(at(t, c));
  for (index_t t = rows; t < series.values.rows() && a.holdout; ++t)
    for (index_t c = 0; c < width; ++c) result.truth.push_back(at(t, c));
  // One row says nothing of the distance of two.
  if (result.times.size() > 1) {
    const std::int64_t last = result.times.back();
    const std::int64_t step = last - result.times[result.times.size() - 2];
    for (index_t t = 1; t <= horizon; ++t) result.future.push_back(last + t * step);
  }
  result.values.resize(static_cast<std::size_t>(horizon * width));

  if (length + horizon > most && !a.session.quiet)
    std::fprintf(stderr,
                 "note: %td known and %td forecast steps are more than the %td that the model "
                 "learns from (max_position_embeddings): expect little of the later ones\n",
                 length, horizon, most);
  Tensor<double, 2> columns({width, length});
  for (index_t c = 0; c < width; ++c)
    for (index_t t = 0; t < length; ++t) columns(c, t) = at(rows - length + t, c);
  const auto values = static_cast<std::size_t>(width * horizon);
  sequin_examples::ProgressBar bar("values", values, a.session.quiet);
  sequin::ForecastOptions options;
  options.on_values = [&](index_t done) { bar.update(static_cast<std::size_t>(done)); };
  const Tensor<double, 2> next = forecast(model, columns, horizon, options);
  bar.finish();
  for (index_t c = 0; c < width; ++c)
    for (index_t t = 0; t < horizon; ++t)
      result.values[static_cast<std::size_t>(t * width + c)] = next(c, t);
  write_forecast(a, result);
}

}  // namespace

static const RegisterForecaster registered(ForecasterKind{"time_moe", false, parameter_count, make,
                                                          forecast_any});

}  // namespace sequin_cli
