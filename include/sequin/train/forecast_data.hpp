/// Makes training, validation and test windows of a series, as the official data loaders do.
#pragma once

#include "sequin/train/scaler.hpp"
#include "sequin/train/windows.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

/// A table of numbers over time.
struct Series {
  std::vector<std::string> columns;  ///< names, V
  Tensor<double, 2> values;          ///< [rows, V]
  std::vector<std::int64_t> times;   ///< seconds since 1970-01-01 00:00 without zones, one a row
};

/// A series prepared by the official protocol: columns chosen and ordered, scaled by the training
/// rows' mean and std in float64, rounded to float32 (for every T, so that double sees the same
/// data), with the time marks of every row.
///
/// Column order: ETT rules keep the file's; custom puts the target last. With S only the target
/// remains. Fixed marks have a quarter-hour column with the ETTm rule, or where `quarter_hours`
/// asks for it, whatever `freq` says.
template <Scalar T>
class ForecastData {
 public:
  /// Throws ConfigError (lengths, target, split) and ShapeError (names, values and times that do
  /// not belong together).
  ForecastData(const Series& series, const WindowOptions& options) : options_(options) {
    check(series);
    const index_t rows = series.values.rows();
    parts_ = split_rows(options.split, rows, options.seq_len);
    const std::vector<std::size_t> order = choose_columns(series.columns);
    const auto columns = static_cast<index_t>(order.size());
    auto chosen = Tensor<double, 2>::empty({rows, columns});
    double* out = chosen.data();
    for (index_t r = 0; r < rows; ++r)
      for (const std::size_t c : order)
        *out++ = series.values.data()[r * series.values.cols() + static_cast<index_t>(c)];
    for (const std::size_t c : order) columns_.push_back(series.columns[c]);
    scaler_ = options.scale ? StandardScaler::fit(chosen, parts_[0].begin, parts_[0].end)
                            : StandardScaler::identity(columns);
    values_ = Tensor<T, 2>::empty({rows, columns});
    T* z = values_.data();
    const double* x = std::as_const(chosen).data();
    for (index_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < order.size(); ++c)
        *z++ = static_cast<T>(static_cast<float>(scaler_.transform(*x++, c)));
    marks_ = time_marks<T>(series.times, options.embed, options.freq,
                           options.quarter_hours || options.split == SplitRule::kEttMinute);
  }

  /// Names in the order of the last axis of x and y.
  const std::vector<std::string>& columns() const noexcept { return columns_; }
  const StandardScaler& scaler() const noexcept { return scaler_; }
  const WindowOptions& options() const noexcept { return options_; }
  /// All rows, scaled: [rows, V].
  const Tensor<T, 2>& values() const noexcept { return values_; }
  /// The time marks of all rows: [rows, K].
  const Tensor<T, 2>& marks() const noexcept { return marks_; }

  /// Throws ConfigError when the part has not one window.
  WindowSet<T> part(Part which) const {
    WindowSet<T> set(values_, marks_, options_, parts_[static_cast<std::size_t>(which)]);
    if (set.count() < 1) {
      static constexpr std::array<const char*, 3> kNames{"training", "validation", "test"};
      throw ConfigError(
          "windows: the " + std::string(kNames[static_cast<std::size_t>(which)]) + " part has " +
          std::to_string(set.rows().end - set.rows().begin) + " rows, expected at least " +
          std::to_string(options_.seq_len + options_.pred_len) + " (seq_len + pred_len)");
    }
    return set;
  }

 private:
  void check(const Series& series) const {
    const auto names = static_cast<index_t>(series.columns.size());
    const auto times = static_cast<index_t>(series.times.size());
    if (series.values.cols() != names || series.values.rows() != times || names < 1)
      throw ShapeError("series: values are " + to_string(series.values.shape()) +
                       ", expected [rows=" + std::to_string(times) +
                       " (times), V=" + std::to_string(names) + " (columns)]");
    constexpr auto most = static_cast<index_t>(std::int64_t{1} << (sizeof(index_t) > 4 ? 40 : 29));
    const auto& o = options_;
    if (o.seq_len < 1 || o.seq_len > most || o.pred_len < 1 || o.pred_len > most ||
        o.label_len < 0 || o.label_len > o.seq_len)
      throw ConfigError("windows: seq_len " + std::to_string(o.seq_len) + ", label_len " +
                        std::to_string(o.label_len) + ", pred_len " + std::to_string(o.pred_len) +
                        ", expected seq_len and pred_len >= 1 and label_len 0 to seq_len");
  }

  std::vector<std::size_t> choose_columns(const std::vector<std::string>& names) const {
    const auto found = std::find(names.begin(), names.end(), options_.target);
    const bool needed = options_.features != Features::kM || options_.split == SplitRule::kCustom;
    if (needed && found == names.end()) {
      std::string all;
      for (const auto& n : names) all += (all.empty() ? "" : ", ") + detail::printable(n);
      throw ConfigError("target is \"" + detail::printable(options_.target) +
                        "\", expected one of the columns " + all.substr(0, 400));
    }
    const auto target = static_cast<std::size_t>(found - names.begin());
    if (options_.features == Features::kS) return {target};
    std::vector<std::size_t> order;
    for (std::size_t c = 0; c < names.size(); ++c)
      if (options_.split != SplitRule::kCustom || c != target) order.push_back(c);
    if (options_.split == SplitRule::kCustom) order.push_back(target);
    // The official code would score the last column under another column's name.
    if (options_.features == Features::kMS && order.back() != target)
      throw ConfigError("target is \"" + detail::printable(options_.target) +
                        "\", expected the last column \"" + detail::printable(names.back()) +
                        "\" with features MS and the ETT split");
    return order;
  }

  WindowOptions options_;
  std::array<RowRange, 3> parts_;
  std::vector<std::string> columns_;
  StandardScaler scaler_;
  Tensor<T, 2> values_;
  Tensor<T, 2> marks_;
};

}  // namespace sequin::inline SEQUIN_ABI
