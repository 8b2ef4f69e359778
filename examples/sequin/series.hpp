/// How a series is cut, as several subcommands take it.
#pragma once

#include "sequin/io/config.hpp"
#include "sequin/train/forecast_data.hpp"
#include "sequin/train/read_series.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sequin_cli {

/// The official arguments of the data loader; an empty text means: as the config says, else the
/// official default.
struct SeriesOptions {
  std::string split, features, target, freq;
  sequin::index_t horizon = 0, context = 0;  ///< of models that take any; 0: not given

  void add_to(CLI::App* cmd);
};

/// The windows' options for a model's config and a series.
sequin::WindowOptions window_options(const sequin::Config& config, const SeriesOptions& options,
                                     const sequin::Series& series);

/// The `count` moments after `times` (two at least), by the calendar: on from the last one by whole
/// months where the last two lie whole months apart on the same day (or both on a month's last day)
/// and `freq` is m, over weekends where it is b, else in steps as long as the last. Throws
/// LoadError.
std::vector<std::int64_t> future_times(std::span<const std::int64_t> times, sequin::index_t count,
                                       char freq);

/// What a naive forecaster repeats: the number of rows of a day, or 0 where a day is no whole
/// number of rows or more than the lookback.
sequin::index_t rows_per_day(const sequin::Series& series, sequin::index_t seq_len);

}  // namespace sequin_cli
