/// Dates and times as CSV files write them.
#pragma once

#include "sequin/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// "2016-07-01", "2016-07-01 05:30", "2016-07-01 05:30:00" or the same with T, as seconds since
/// 1970-01-01 00:00 of a clock without zones. Throws LoadError for anything else.
inline std::int64_t parse_time(std::string_view text) {
  const auto fail = [&] {
    throw LoadError("expected a time as 2016-07-01 05:30:00, found '" +
                    detail::printable(text, 40) + "'");
  };
  std::size_t at = 0;
  const auto number = [&](int digits) {
    int value = 0;
    for (int i = 0; i < digits; ++i, ++at) {
      if (at >= text.size() || text[at] < '0' || text[at] > '9') fail();
      value = value * 10 + (text[at] - '0');
    }
    return value;
  };
  const auto skip = [&](std::string_view allowed) {
    if (at >= text.size() || allowed.find(text[at]) == std::string_view::npos) fail();
    ++at;
  };
  namespace c = std::chrono;
  const int year = number(4);
  skip("-/");
  const int month = number(2);
  skip("-/");
  const int day = number(2);
  const c::year_month_day date(c::year(year), c::month(static_cast<unsigned>(month)),
                               c::day(static_cast<unsigned>(day)));
  if (!date.ok()) fail();
  int hour = 0, minute = 0, second = 0;
  if (at < text.size()) {
    skip(" T");
    hour = number(2);
    skip(":");
    minute = number(2);
    if (at < text.size()) {
      skip(":");
      second = number(2);
    }
  }
  if (at != text.size() || hour > 23 || minute > 59 || second > 59) fail();
  const auto days = c::sys_days(date).time_since_epoch().count();
  return static_cast<std::int64_t>(days) * 86400 + hour * 3600 + minute * 60 + second;
}

/// "2016-07-01 05:30:00".
inline std::string format_time(std::int64_t seconds) {
  namespace c = std::chrono;
  const c::sys_seconds moment{c::seconds(seconds)};
  const c::sys_days date = c::floor<c::days>(moment);
  const c::year_month_day ymd(date);
  const auto in_day = static_cast<int>((moment - date).count());
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u %02d:%02d:%02d", static_cast<int>(ymd.year()),
                static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()), in_day / 3600,
                in_day / 60 % 60, in_day % 60);
  return text;
}

}  // namespace sequin::inline SEQUIN_ABI
