/// Dates and times as CSV files write them.
#pragma once

#include "sequin/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// "2016-07-01", "2016-07-01 05:30", "2016-07-01 05:30:00", the same with T or as "2016/7/1 5:30",
/// as seconds since 1970-01-01 00:00 of a clock without zones. Throws LoadError for anything else.
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
  const auto short_number = [&] {
    const bool two = at + 1 < text.size() && text[at + 1] >= '0' && text[at + 1] <= '9';
    return number(two ? 2 : 1);
  };
  const auto skip = [&](std::string_view allowed) {
    if (at >= text.size() || allowed.find(text[at]) == std::string_view::npos) fail();
    ++at;
  };
  namespace c = std::chrono;
  const int year = number(4);
  skip("-/");
  const int month = short_number();
  skip("-/");
  const int day = short_number();
  const c::year_month_day date(c::year(year), c::month(static_cast<unsigned>(month)),
                               c::day(static_cast<unsigned>(day)));
  if (!date.ok()) fail();
  int hour = 0, minute = 0, second = 0;
  if (at < text.size()) {
    skip(" T");
    hour = short_number();
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

/// "2016-07-01 05:30:00". Throws LoadError outside the years 0 to 9999.
inline std::string format_time(std::int64_t seconds) {
  if (seconds < -62167219200 || seconds > 253402300799)
    throw LoadError("expected a time in the years 0 to 9999, found " + std::to_string(seconds) +
                    " seconds since 1970");
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
