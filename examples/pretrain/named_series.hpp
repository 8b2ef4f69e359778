/// Series with a name, a domain and a season, and the file that holds many of them.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/io/number_text.hpp"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin_pretrain {

using sequin::index_t;

/// Equally spaced values; NaN where one is missing.
struct NamedSeries {
  std::string name, domain;
  index_t period = 1;  ///< values a season; 1: none
  std::vector<float> values;
};

namespace detail {

[[noreturn]] inline void bad_line(const std::filesystem::path& file, index_t line,
                                  const std::string& what) {
  throw sequin::LoadError(file.string() + ":" + std::to_string(line) + ": " + what);
}

/// Text of the file as an error may quote it.
inline std::string shown(std::string_view text) {
  return sequin::detail::printable(std::string(text), 60);
}

/// The values of a line, separated by single spaces.
inline std::vector<float> values_of(std::string_view text, const std::filesystem::path& file,
                                    index_t line) {
  std::vector<float> values;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    float v = 0;
    const std::size_t read = sequin::detail::read_number(word, v);
    if (word.empty() || read != word.size() || (!std::isfinite(v) && word != "nan"))
      bad_line(file, line,
               "value " + std::to_string(values.size() + 1) +
                   ": expected a number or nan, found '" + shown(word) + "'");
    values.push_back(v);
    text.remove_prefix((std::min)(word.size() + 1, text.size()));
  }
  return values;
}

}  // namespace detail

/// The series of one part ("train", "validation", "test") of a file of make_series.sh: a header
/// `part,domain,name,period,values`, then one series a line, its values separated by spaces.
/// Throws LoadError naming file and line.
inline std::vector<NamedSeries> read_series_file(const std::filesystem::path& path,
                                                 std::string_view part) {
  constexpr std::string_view kHeader = "part,domain,name,period,values";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw sequin::LoadError(path.string() + ": cannot be opened");
  std::string text;
  if (!std::getline(file, text) || text != kHeader)
    detail::bad_line(
        path, 1, "expected '" + std::string(kHeader) + "', found '" + detail::shown(text) + "'");
  std::vector<NamedSeries> all;
  for (index_t line = 2; std::getline(file, text); ++line) {
    std::string_view rest = text;
    std::string_view fields[4];
    for (std::string_view& field : fields) {
      const std::size_t comma = rest.find(',');
      if (comma == std::string_view::npos)
        detail::bad_line(path, line, "expected five fields separated by commas");
      field = rest.substr(0, comma);
      rest.remove_prefix(comma + 1);
    }
    if (fields[0] != "train" && fields[0] != "validation" && fields[0] != "test")
      detail::bad_line(
          path, line,
          "part: expected train, validation or test, found '" + detail::shown(fields[0]) + "'");
    NamedSeries series{std::string(fields[2]), std::string(fields[1]), 0, {}};
    const std::string_view period = fields[3];
    const auto [end, error] =
        std::from_chars(period.data(), period.data() + period.size(), series.period);
    if (error != std::errc{} || end != period.data() + period.size() || series.period < 1 ||
        series.period > 100000)
      detail::bad_line(path, line,
                       "period: expected 1 to 100000, found '" + detail::shown(period) + "'");
    series.values = detail::values_of(rest, path, line);
    if (series.values.size() < 2)
      detail::bad_line(
          path, line, "expected two values or more, found " + std::to_string(series.values.size()));
    if (fields[0] == part) all.push_back(std::move(series));
  }
  if (all.empty())
    throw sequin::LoadError(path.string() + ": expected series of part " + std::string(part) +
                            ", found none");
  return all;
}

}  // namespace sequin_pretrain
