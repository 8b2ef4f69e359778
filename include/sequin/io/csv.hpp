/// Tables of numbers as CSV, read and written without the locale.
#pragma once

#include "sequin/io/atomic_file.hpp"
#include "sequin/io/number_text.hpp"
#include "sequin/io/read_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

struct CsvOptions {
  /// What an empty cell or "nan" is: an error, or NaN.
  enum class Missing { error, nan };
  Missing missing = Missing::error;
  std::uint64_t bytes = std::uint64_t{4} << 30;  ///< largest file
};

/// A header row, then rows of numbers; a first column that is called "date" or does not hold
/// numbers is kept as text.
struct CsvTable {
  std::vector<std::string> columns;  ///< names of the number columns
  std::vector<std::string> times;    ///< the text column, one a row; empty when there is none
  std::vector<double> values;        ///< row by row

  std::size_t rows() const noexcept {
    return columns.empty() ? times.size() : values.size() / columns.size();
  }
};

namespace detail {

/// Splits text into lines and cells.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& label) : text_(text), label_(label) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw LoadError(label_ + ":" + std::to_string(line_) + ": " + what);
  }

  /// Cells of the next line, valid until the line after; false at the end. Empty lines may only
  /// stand there: between others they would hide a row.
  bool next(std::vector<std::string_view>& cells) {
    bool gap = false;
    while (at_ < text_.size()) {
      ++line_;
      const std::size_t end = (std::min)(text_.find('\n', at_), text_.size());
      std::string_view line = text_.substr(at_, end - at_);
      at_ = end + 1;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty()) {
        gap = true;
        continue;
      }
      if (gap) fail("expected no empty line before a row, found one");
      split(line, cells);
      return true;
    }
    return false;
  }

 private:
  void split(std::string_view line, std::vector<std::string_view>& cells) {
    cells.clear();
    unquoted_.clear();
    if (line.find('\0') != std::string_view::npos) fail("expected text, found a NUL byte");
    if (line.find('\r') != std::string_view::npos)
      fail("expected lines that end in LF or CRLF, found a CR within one");
    for (;;) {
      std::string_view cell;
      std::size_t end = 0;
      if (line.starts_with('"')) {
        end = quoted(line, cell);
      } else {
        end = (std::min)(line.find(','), line.size());
        cell = line.substr(0, end);
        while (cell.starts_with(' ')) cell.remove_prefix(1);
        while (cell.ends_with(' ')) cell.remove_suffix(1);
      }
      cells.push_back(cell);
      if (end >= line.size()) return;
      line.remove_prefix(end + 1);
      if (line.empty()) {
        cells.emplace_back();
        return;
      }
    }
  }

  /// The cell of a line that begins with a quote ("" stands for one); returns where it ends.
  std::size_t quoted(std::string_view line, std::string_view& cell) {
    std::string inside;
    for (std::size_t i = 1; i < line.size(); ++i) {
      if (line[i] != '"') {
        inside += line[i];
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        inside += line[i++];
      } else if (i + 1 == line.size() || line[i + 1] == ',') {
        cell = unquoted_.emplace_back(std::move(inside));
        return i + 1;
      } else {
        break;
      }
    }
    fail("expected a closing quote before a comma or the end of the line, found none");
  }

  std::string_view text_;
  const std::string& label_;
  std::deque<std::string> unquoted_;  // what cells of this line refer to
  std::size_t at_ = 0;
  std::size_t line_ = 0;
};

inline bool csv_number(std::string_view cell, double& value) {
  if (cell.starts_with('+') && !cell.starts_with("+-")) cell.remove_prefix(1);
  return !cell.empty() && read_number(cell, value) == cell.size();
}

inline bool csv_missing(std::string_view cell) {
  return cell.empty() || cell == "nan" || cell == "NaN" || cell == "NAN" || cell == "NA" ||
         cell == "-nan";
}

}  // namespace detail

/// Reads a table: LF or CRLF, a byte order mark, quotes around cells and a missing last newline are
/// legal. Throws LoadError: "FILE:12: column 'OT': expected a number, found '1,5'".
inline CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options = {}) {
  const std::string label = detail::printable(path.string(), 400);
  const std::string contents = read_file(path, options.bytes);
  std::string_view text = contents;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  detail::CsvReader reader(text, label);
  std::vector<std::string_view> cells;
  if (!reader.next(cells)) throw LoadError(label + ": expected a header row, found nothing");
  std::vector<std::string> names(cells.begin(), cells.end());
  double ignored = 0;
  if (std::all_of(cells.begin(), cells.end(),
                  [&](std::string_view cell) { return detail::csv_number(cell, ignored); }))
    reader.fail("expected a header row with names, found numbers");

  CsvTable table;
  bool has_text = names[0] == "date";
  bool first = !has_text;
  while (reader.next(cells)) {
    if (cells.size() != names.size())
      reader.fail("expected " + std::to_string(names.size()) + " cells, found " +
                  std::to_string(cells.size()));
    if (first) {
      has_text = !detail::csv_number(cells[0], ignored) && !detail::csv_missing(cells[0]);
      first = false;
    }
    if (has_text) table.times.emplace_back(cells[0]);
    for (std::size_t c = has_text ? 1 : 0; c < cells.size(); ++c) {
      double value = std::numeric_limits<double>::quiet_NaN();
      const bool missing = detail::csv_missing(cells[c]);
      if (missing ? options.missing == CsvOptions::Missing::error
                  : !detail::csv_number(cells[c], value) || !std::isfinite(value))
        reader.fail("column '" + detail::printable(names[c]) + "': expected a number, found '" +
                    detail::printable(cells[c], 40) + "'");
      table.values.push_back(value);
    }
  }
  table.columns.assign(names.begin() + (has_text ? 1 : 0), names.end());
  return table;
}

/// Writes a table atomically: `times` (under the name "date") may be empty, numbers in the shortest
/// form that reads back the same. Throws LoadError when the file cannot be written, a text has
/// control characters, or the number of values is not that of the cells. read_csv gives the same
/// table, unless without times the names are all numbers or the first is "date".
inline void write_csv(const std::filesystem::path& path, const std::vector<std::string>& columns,
                      const std::vector<std::string>& times, const std::vector<double>& values) {
  std::string text;
  const auto cell = [&](std::string_view s) {
    // Of one column an empty cell would be an empty line.
    const bool quote = s.find_first_of(",\"") != std::string_view::npos || s.starts_with(' ') ||
                       s.ends_with(' ') || s.starts_with("\xef\xbb\xbf") || s.empty();
    if (quote) text += '"';
    for (const char c : s) {
      if (static_cast<unsigned char>(c) < 0x20)
        throw LoadError(detail::printable(path.string(), 400) +
                        ": expected texts without control characters, found '" +
                        detail::printable(s) + "'");
      if (c == '"') text += c;
      text += c;
    }
    if (quote) text += '"';
  };
  if (!times.empty()) text += "date";
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (c > 0 || !times.empty()) text += ',';
    cell(columns[c]);
  }
  text += '\n';
  const std::size_t rows = columns.empty() ? times.size() : values.size() / columns.size();
  if (values.size() != rows * columns.size() || (!times.empty() && times.size() != rows))
    throw LoadError(detail::printable(path.string(), 400) + ": expected rows of " +
                    std::to_string(columns.size()) + " numbers, found " +
                    std::to_string(values.size()) + " for " + std::to_string(times.size()) +
                    " times");
  for (std::size_t r = 0; r < rows; ++r) {
    if (!times.empty()) cell(times[r]);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (c > 0 || !times.empty()) text += ',';
      const double v = values[r * columns.size() + c];
      if (std::isnan(v))
        text += "nan";
      else
        text += detail::shortest_text(v);
    }
    text += '\n';
  }
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace sequin::inline SEQUIN_ABI
