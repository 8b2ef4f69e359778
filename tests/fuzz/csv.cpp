#include "fuzz.hpp"

#include "sequin/io/calendar.hpp"
#include "sequin/io/csv.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

namespace sequin_fuzz {

using namespace sequin;

namespace {

bool same_number(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

void check_table(const CsvTable& table, bool gaps) {
  require(table.values.size() == table.rows() * table.columns.size(), "every cell has a value");
  require(table.times.empty() || table.times.size() == table.rows(), "every row has its time");
  for (const double v : table.values)
    require(std::isfinite(v) || (gaps && std::isnan(v)), "values are numbers");
  for (const std::string& time : table.times) {
    std::int64_t seconds = 0;
    if (accepts([&] { seconds = parse_time(time); }))
      require(parse_time(format_time(seconds)) == seconds, "a time is written as it was read");
  }
}

/// Names that read_csv takes for names when there are no times.
bool can_be_read(const CsvTable& table) {
  double ignored = 0;
  const auto number = [&](const std::string& name) { return detail::csv_number(name, ignored); };
  return !table.times.empty() ||
         (!std::ranges::all_of(table.columns, number) && table.columns[0] != "date");
}

}  // namespace

void fuzz_csv(std::span<const std::byte> bytes) {
  const auto path = scratch("table.csv"), copy = scratch("copy.csv");
  sequin_test::put(path, text_of(bytes));
  for (const auto missing : {CsvOptions::Missing::error, CsvOptions::Missing::nan}) {
    CsvOptions options;
    options.missing = missing;
    CsvTable table;
    if (!accepts([&] { table = read_csv(path, options); })) continue;
    const bool gaps = missing == CsvOptions::Missing::nan;
    check_table(table, gaps);
    if (!can_be_read(table)) continue;
    // Refused for control characters in a text.
    if (!accepts([&] { write_csv(copy, table.columns, table.times, table.values); })) continue;
    const CsvTable again = read_csv(copy, options);
    require(again.columns == table.columns && again.times == table.times,
            "names and times are written as they were read");
    require(std::ranges::equal(again.values, table.values, same_number),
            "numbers are written as they were read");
  }
}

}  // namespace sequin_fuzz
