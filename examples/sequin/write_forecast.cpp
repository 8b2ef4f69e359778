// A forecast as CSV and as picture.
#include "forecast_request.hpp"

#include "../common/plot.hpp"

#include "sequin/io/calendar.hpp"
#include "sequin/io/csv.hpp"

#include <algorithm>

namespace sequin_cli {

using namespace sequin;

void write_forecast(const ForecastArguments& a, const Forecasted& f) {
  const std::size_t width = f.columns.size();
  const std::size_t horizon = f.values.size() / width;
  const std::size_t past = f.history.size() / width;
  const bool dated = !f.future.empty();
  const std::string& name = a.column.empty() ? f.columns.back() : a.column;
  const auto shown = std::find(f.columns.begin(), f.columns.end(), name);
  if (shown == f.columns.end())
    throw ConfigError("forecast: --column is '" + detail::printable(name) +
                      "', expected a column that is forecast from " + a.input);

  if (!a.output.empty()) {
    std::vector<std::string> dates;
    for (const std::int64_t t : f.future) dates.push_back(format_time(t));
    write_csv(a.output, f.columns, dates, f.values);
  }
  if (a.plot.empty()) return;
  const auto c = static_cast<std::size_t>(shown - f.columns.begin());
  sequin_examples::ForecastPlot plot;
  plot.title = name + ", forecast of " + std::to_string(horizon) + " steps";
  if (dated) plot.title += " from " + format_time(f.times.back());
  plot.y_label = a.unit.empty() ? name : name + " (" + a.unit + ")";
  plot.step = dated ? static_cast<double>(f.future.front() - f.times.back()) / 3600 : 1;
  if (!dated) plot.x_label = "Time from the start of the forecast (steps)";
  // Twice as much history as forecast is enough to see the season.
  for (std::size_t t = past - (std::min)(past, 2 * horizon); t < past; ++t)
    plot.history.push_back(f.history[t * width + c]);
  for (std::size_t t = 0; t < horizon; ++t) {
    plot.forecast.push_back(f.values[t * width + c]);
    if (!f.truth.empty()) plot.truth.push_back(f.truth[t * width + c]);
  }
  sequin_examples::plot_forecast(a.plot, plot);
}

}  // namespace sequin_cli
