/// A series from a CSV file.
#pragma once

#include "sequin/io/calendar.hpp"
#include "sequin/io/csv.hpp"
#include "sequin/train/forecast_data.hpp"

#include <filesystem>
#include <string>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

inline Series series_of(const CsvTable& table, const std::filesystem::path& csv) {
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

}  // namespace detail

/// Reads a CSV with a date column and a number in every cell. Throws LoadError.
inline Series read_series(const std::filesystem::path& csv) {
  const CsvTable table = read_csv(csv);
  if (table.times.empty())
    throw LoadError(csv.string() +
                    ": expected a first column of dates and at least one row, found " +
                    (table.rows() == 0 ? "no rows" : "numbers"));
  return detail::series_of(table, csv);
}

/// Reads a CSV for models that need neither: missing cells are NaN, `times` is empty where there
/// are no dates. Throws LoadError.
inline Series read_series_with_gaps(const std::filesystem::path& csv) {
  CsvOptions options;
  options.missing = CsvOptions::Missing::nan;
  const CsvTable table = read_csv(csv, options);
  if (table.rows() == 0 || table.columns.empty())
    throw LoadError(csv.string() + ": expected at least one row and one column of numbers, found " +
                    (table.rows() == 0 ? "no rows" : "no such column"));
  return detail::series_of(table, csv);
}

}  // namespace sequin::inline SEQUIN_ABI
