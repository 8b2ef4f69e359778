/// Calendar features of time steps, as the official time-series code computes them.
#pragma once

#include "sequin/core/tensor.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// `--embed`: what the time marks of a step are.
enum class TimeEncoding {
  kTimeF,  ///< timeF: real numbers in [-0.5, 0.5]
  kFixed,  ///< fixed, learned: whole numbers that an embedding looks up
};

/// "timeF", or "fixed" or "learned". Throws ConfigError for anything else.
inline TimeEncoding time_encoding(std::string_view name) {
  if (name == "timeF") return TimeEncoding::kTimeF;
  if (name == "fixed" || name == "learned") return TimeEncoding::kFixed;
  throw ConfigError("embed is \"" + detail::printable(name) +
                    "\", expected timeF, fixed or learned");
}

namespace detail {

/// The calendar of one moment, given in seconds since 1970-01-01 00:00 of a clock without zones.
struct CalendarFields {
  int second, minute, hour, day, month, weekday, day_of_year, week;

  explicit CalendarFields(std::int64_t seconds) noexcept {
    namespace c = std::chrono;
    const c::sys_seconds moment{c::seconds(seconds)};
    const c::sys_days date = c::floor<c::days>(moment);
    const c::year_month_day ymd(date);
    const auto in_day = static_cast<int>((moment - date).count());
    second = in_day % 60;
    minute = in_day / 60 % 60;
    hour = in_day / 3600;
    day = static_cast<int>(static_cast<unsigned>(ymd.day()));
    month = static_cast<int>(static_cast<unsigned>(ymd.month()));
    weekday = static_cast<int>(c::weekday(date).iso_encoding()) - 1;
    day_of_year = since_new_year(ymd.year(), date) + 1;
    // The ISO week is that of its Thursday within the Thursday's year.
    const c::sys_days thursday = date + c::days(3 - weekday);
    week = since_new_year(c::year_month_day(thursday).year(), thursday) / 7 + 1;
  }

 private:
  static int since_new_year(std::chrono::year year, std::chrono::sys_days date) noexcept {
    return static_cast<int>((date - std::chrono::sys_days(year / 1 / 1)).count());
  }
};

/// Writes the timeF features of `freq` to `out` (nullptr: none) and returns their number, -1 for an
/// unknown frequency.
inline int time_features(const CalendarFields& t, char freq, double* out) noexcept {
  int n = 0;
  const auto put = [&](int value, double range) {
    if (out != nullptr) out[n] = value / range - 0.5;
    ++n;
  };
  switch (freq) {
    case 'm':
      put(t.month - 1, 11.0);
      return n;
    case 'w':
      put(t.day - 1, 30.0);
      put(t.week - 1, 52.0);
      return n;
    case 's':
      put(t.second, 59.0);
      [[fallthrough]];
    case 't':
      put(t.minute, 59.0);
      [[fallthrough]];
    case 'h':
      put(t.hour, 23.0);
      [[fallthrough]];
    case 'd':
    case 'b':
      put(t.weekday, 6.0);
      put(t.day - 1, 30.0);
      put(t.day_of_year - 1, 365.0);
      return n;
    default:
      return -1;
  }
}

}  // namespace detail

/// The time marks of the moments `seconds` (since 1970-01-01 00:00, without zones): [rows, K].
///
/// timeF by `freq`: h: hour/23, weekday/6 (Monday 0), (day - 1)/30, (day of the year - 1)/365; t:
/// minute/59 before them; s: second/59 before those; d, b: h without the hour; w: (day - 1)/30,
/// (ISO week - 1)/52; m: (month - 1)/11; 0.5 is subtracted from each. Fixed: month, day, weekday,
/// hour and, where `quarter_hours`, minute / 15 (integer division) whatever `freq` is. Computed in
/// double and rounded to float32 for every T, as there.
/// Throws ConfigError for an unknown frequency with timeF and for a moment outside the years 1 to
/// 9999.
/// Official: utils/timefeatures.py, data_provider/data_loader.py.
template <Scalar T>
Tensor<T, 2> time_marks(std::span<const std::int64_t> seconds, TimeEncoding encoding, char freq,
                        bool quarter_hours = false) {
  int columns = quarter_hours ? 5 : 4;
  if (encoding == TimeEncoding::kTimeF) {
    columns = detail::time_features(detail::CalendarFields(0), freq, nullptr);
    if (columns < 0)
      throw ConfigError("freq is \"" + detail::printable(std::string_view(&freq, 1)) +
                        "\", expected s, t, h, d, b, w or m");
  }
  const auto rows = static_cast<index_t>(seconds.size());
  auto marks = Tensor<T, 2>::empty({rows, columns});
  T* out = marks.data();
  for (const std::int64_t moment : seconds) {
    if (moment < -62135596800 || moment > 253402300799)
      throw ConfigError("time marks: a time is " + std::to_string(moment) +
                        " seconds since 1970, expected one in the years 1 to 9999");
    const detail::CalendarFields t(moment);
    std::array<double, 8> row{};
    if (encoding == TimeEncoding::kTimeF)
      detail::time_features(t, freq, row.data());
    else
      row = {double(t.month), double(t.day), double(t.weekday), double(t.hour),
             double(t.minute / 15)};
    for (int k = 0; k < columns; ++k)
      *out++ = static_cast<T>(static_cast<float>(row[static_cast<std::size_t>(k)]));
  }
  return marks;
}

}  // namespace sequin::inline SEQUIN_ABI
