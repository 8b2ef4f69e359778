#include "series.hpp"

#include "sequin/io/calendar.hpp"
#include "sequin/io/csv.hpp"

namespace sequin_cli {

using namespace sequin;

Series read_series(const std::filesystem::path& csv) {
  const CsvTable table = read_csv(csv);
  if (table.times.empty())
    throw LoadError(csv.string() +
                    ": expected a first column of dates and at least one row, found " +
                    (table.rows() == 0 ? "no rows" : "numbers"));
  Series series;
  series.columns = table.columns;
  series.values = Tensor<double, 2>(
      {static_cast<index_t>(table.rows()), static_cast<index_t>(table.columns.size())},
      table.values);
  series.times.reserve(table.times.size());
  for (std::size_t r = 0; r < table.times.size(); ++r) {
    try {
      series.times.push_back(parse_time(table.times[r]));
    } catch (const Error& e) {
      throw LoadError(csv.string() + ":" + std::to_string(r + 2) + ": " + e.what());
    }
  }
  return series;
}

WindowOptions window_options(const Config& config, const SeriesOptions& options,
                             const Series& series) {
  const auto choose = [&](const std::string& given, const char* key, const std::string& fallback) {
    return given.empty() ? config.get_string(key, fallback) : given;
  };
  constexpr index_t kMax = index_t{1} << 24;
  WindowOptions w;
  w.seq_len = config.get_int("seq_len", 1, kMax);
  w.pred_len = config.get_int("pred_len", 1, kMax);
  w.label_len = config.get_int("label_len", 0, 0, kMax);
  if (w.label_len > w.seq_len) w.label_len = w.seq_len;
  w.features = features_from(choose(options.features, "features", "M"));
  w.split = split_rule_from(choose(options.split, "data", "custom"));
  w.target = choose(options.target, "target", series.columns.back());
  w.embed = time_encoding(config.get_string("embed", "timeF"));
  const std::string freq = choose(options.freq, "freq", "h");
  if (freq.size() != 1)
    throw ConfigError("freq is '" + detail::printable(freq) + "', expected s, t, h, d, b, w or m");
  w.freq = freq[0];
  return w;
}

index_t rows_per_day(const Series& series, index_t seq_len) {
  if (series.times.size() < 2) return 0;
  const std::int64_t step = series.times[1] - series.times[0];
  if (step <= 0 || 86400 % step != 0) return 0;
  const index_t period = static_cast<index_t>(86400 / step);
  return period >= 1 && period <= seq_len ? period : 0;
}

}  // namespace sequin_cli
