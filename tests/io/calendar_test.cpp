#include "sequin/io/calendar.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <limits>

using namespace sequin;
using namespace sequin_test;

TEST_CASE("calendar: a time is its seconds since 1970") {
  // By `date -u -d ... +%s`.
  CHECK(parse_time("1970-01-01") == 0);
  CHECK(parse_time("1970-01-01 00:00:01") == 1);
  CHECK(parse_time("1969-12-31 23:59:59") == -1);
  CHECK(parse_time("2016-07-01 00:00:00") == 1467331200);
  CHECK(parse_time("2016-07-01T05:30:07") == 1467351007);
  CHECK(parse_time("2016-07-01 05:30") == 1467351000);
  CHECK(parse_time("2000-02-29") == 951782400);
  CHECK(parse_time("2100-03-01") == 4107542400);
  CHECK(parse_time("1990/1/1 0:00") == parse_time("1990-01-01 00:00:00"));
  CHECK(parse_time("9999-12-31 23:59:59") == 253402300799);
}

TEST_CASE("calendar: what is written is read back") {
  for (const std::int64_t t : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1467351007},
                               std::int64_t{-62167219200}, std::int64_t{253402300799}})
    CHECK(parse_time(format_time(t)) == t);
  for (std::int64_t day = -200'000; day < 200'000; day += 37)
    if (parse_time(format_time(day * 86400 + 4711)) != day * 86400 + 4711) FAIL(day);
  CHECK(format_time(1467351007) == "2016-07-01 05:30:07");
}

TEST_CASE("calendar: what is no time is refused") {
  for (const char* text : {"",
                           "2016",
                           "2016-07",
                           "2016-07-",
                           "2016-13-01",
                           "2016-00-01",
                           "2016-07-00",
                           "2016-07-32",
                           "2015-02-29",
                           "2100-02-29",
                           "2016-07-01 ",
                           "2016-07-01 24:00",
                           "2016-07-01 00:60",
                           "2016-07-01 00:00:60",
                           "2016-07-01 00:00:00 ",
                           "2016-07-01 00:00:00Z",
                           "2016-07-01 00:00:00.5",
                           "16-07-01",
                           "20160701",
                           "2016-07-01x00:00",
                           "2016-07-01 00",
                           "2016-07-01 00:0",
                           "+016-07-01",
                           "2016-07--1",
                           "01/07/2016",
                           "2016-07-001",
                           "x"}) {
    INFO(text);
    CHECK(contains(message_of<LoadError>([&] { parse_time(text); }), "expected a time as 2016"));
  }
  CHECK(contains(message_of<LoadError>([] { parse_time("\x1b[2J"); }), "'\\x1b[2J'"));
  for (const std::int64_t t : {std::numeric_limits<std::int64_t>::min(), std::int64_t{253402300800},
                               std::numeric_limits<std::int64_t>::max()})
    CHECK(contains(message_of<LoadError>([&] { format_time(t); }), "expected a time in the years"));
}
