#include "series.hpp"

#include "sequin/io/calendar.hpp"

#include <chrono>

namespace sequin_cli {

using namespace sequin;

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

namespace {

namespace c = std::chrono;

struct Moment {
  c::year_month_day date;
  std::int64_t in_day;  ///< seconds since midnight

  explicit Moment(std::int64_t seconds)
      : date(c::floor<c::days>(c::sys_seconds(c::seconds(seconds)))),
        in_day(seconds - seconds_of(c::sys_days(date))) {}

  static std::int64_t seconds_of(c::sys_days days) {
    return static_cast<std::int64_t>(days.time_since_epoch().count()) * 86400;
  }
  bool ends_month() const {
    return date == c::year_month_day(date.year() / date.month() / c::last);
  }
};

/// Months from a to b where they lie whole months apart, else 0.
int whole_months(const Moment& a, const Moment& b) {
  const bool aligned = a.date.day() == b.date.day() || (a.ends_month() && b.ends_month());
  if (!aligned || a.in_day != b.in_day) return 0;
  return static_cast<int>(b.date.year()) * 12 + static_cast<int>(unsigned(b.date.month())) -
         static_cast<int>(a.date.year()) * 12 - static_cast<int>(unsigned(a.date.month()));
}

}  // namespace

std::vector<std::int64_t> future_times(std::span<const std::int64_t> times, index_t count,
                                       char freq) {
  if (times.size() < 2 || times.back() <= times[times.size() - 2])
    throw LoadError("times: expected at least two that ascend, to go on from");
  const std::int64_t step = times.back() - times[times.size() - 2];
  const Moment last(times.back());
  const int months = freq == 'm' ? whole_months(Moment(times[times.size() - 2]), last) : 0;
  const bool skips_weekends = freq == 'b' && step % 86400 == 0;
  std::vector<std::int64_t> future;
  std::int64_t now = times.back();
  for (index_t i = 1; i <= count; ++i) {
    if (months > 0) {
      const c::year_month month =
          last.date.year() / last.date.month() + c::months(months * static_cast<int>(i));
      const c::year_month_day end(month / c::last);
      const c::year_month_day same(month / last.date.day());
      now = Moment::seconds_of(c::sys_days(last.ends_month() || !same.ok() ? end : same)) +
            last.in_day;
    } else if (skips_weekends) {
      // Friday to Monday is one step, too.
      do now += 86400;
      while (c::weekday(c::floor<c::days>(c::sys_seconds(c::seconds(now)))).iso_encoding() > 5);
    } else {
      now += step;
    }
    future.push_back(now);
  }
  return future;
}

index_t rows_per_day(const Series& series, index_t seq_len) {
  if (series.times.size() < 2) return 0;
  const std::int64_t step = series.times[1] - series.times[0];
  if (step <= 0 || 86400 % step != 0) return 0;
  const index_t period = static_cast<index_t>(86400 / step);
  return period >= 1 && period <= seq_len ? period : 0;
}

}  // namespace sequin_cli
