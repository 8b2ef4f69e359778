#include "series_forecast.hpp"

#include "sequin/io/csv.hpp"
#include "sequin/train/time_marks.hpp"

#include <algorithm>

namespace sequin_cli {

using namespace sequin;

namespace {

/// How a series is scaled and which of its columns in which order a model takes.
struct Scaling {
  StandardScaler scaler;
  std::vector<std::string> columns;
};

/// What training left in the folder, or else what the training rows of the series give.
Scaling scaling_of(const ForecastSource& source, const Series& series,
                   const WindowOptions& options) {
  if (!options.scale) {
    Scaling none;
    none.columns = options.features == Features::kS ? std::vector{options.target} : series.columns;
    none.scaler = StandardScaler::identity(static_cast<index_t>(none.columns.size()));
    return none;
  }
  const std::filesystem::path file = source.dir / "scaler.csv";
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
      throw LoadError(source.input + ": expected a column '" + detail::printable(name) +
                      "' as in training, found none");
  const auto count = static_cast<std::ptrdiff_t>(table.columns.size());
  Scaling scaling;
  scaling.columns = table.columns;
  scaling.scaler.mean.assign(table.values.begin(), table.values.begin() + count);
  scaling.scaler.std.assign(table.values.begin() + count, table.values.end());
  return scaling;
}

}  // namespace

Forecasted forecast_series(const Series& series, const WindowOptions& options,
                           const ForecastSource& source,
                           const std::function<Tensor<float, 3>(const ForecastInput&)>& model) {
  const index_t rows = series.values.rows();
  const index_t used = options.seq_len + (source.holdout ? options.pred_len : 0);
  if (rows < used)
    throw LoadError(source.input + ": expected at least " + std::to_string(used) + " rows, found " +
                    std::to_string(rows));
  const Scaling scaling = scaling_of(source, series, options);
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
  const Tensor<float, 3> scaled = model(input);

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
      if (source.holdout) result.truth.push_back(value(first + options.seq_len + t, c));
    }
  return result;
}

}  // namespace sequin_cli
