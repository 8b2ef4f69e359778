/// Windows of a multivariate series: options, split and batch assembly of the official code.
#pragma once

#include "sequin/core/tensor.hpp"
#include "sequin/train/time_marks.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// `--features`: which columns go in and which are forecast.
enum class Features {
  kM,   ///< all in, all forecast
  kS,   ///< the target in, the target forecast
  kMS,  ///< all in, the target (last column) forecast
};

/// How rows are divided into training, validation and test.
enum class SplitRule {
  kEttHour,    ///< 12, 4 and 4 months of 30 days of 24 rows: ETTh1, ETTh2
  kEttMinute,  ///< the same with 96 rows a day: ETTm1, ETTm2
  kCustom,     ///< int(0.7 n) first rows, what is between, int(0.2 n) last rows
};

enum class Part { kTrain, kVal, kTest };

/// "M", "S" or "MS". Throws ConfigError for anything else.
inline Features features_from(std::string_view name) {
  if (name == "M") return Features::kM;
  if (name == "S") return Features::kS;
  if (name == "MS") return Features::kMS;
  throw ConfigError("features is \"" + detail::printable(name) + "\", expected M, S or MS");
}

/// The official argument `--data`: "ETTh1", "ETTh2", "ETTm1", "ETTm2" or "custom".
/// Throws ConfigError for anything else.
inline SplitRule split_rule_from(std::string_view name) {
  if (name == "ETTh1" || name == "ETTh2") return SplitRule::kEttHour;
  if (name == "ETTm1" || name == "ETTm2") return SplitRule::kEttMinute;
  if (name == "custom") return SplitRule::kCustom;
  throw ConfigError("data is \"" + detail::printable(name) +
                    "\", expected ETTh1, ETTh2, ETTm1, ETTm2 or custom");
}

/// The official arguments of the data loader.
struct WindowOptions {
  index_t seq_len = 96;    ///< S, rows that the model sees
  index_t label_len = 48;  ///< rows of x that y repeats before the future, at most S
  index_t pred_len = 96;   ///< P, rows to forecast
  Features features = Features::kM;
  std::string target = "OT";
  SplitRule split = SplitRule::kCustom;
  bool scale = true;
  TimeEncoding embed = TimeEncoding::kTimeF;
  char freq = 'h';
  bool quarter_hours = false;  ///< fixed marks count them with every split, not ETTm alone
};

/// Rows of a part with the lookback before it: [begin, end).
struct RowRange {
  index_t begin = 0;
  index_t end = 0;
};

/// Where the parts of a series of `rows` rows lie. Throws ConfigError when a part would begin
/// before the first row or end behind the last.
/// Official: border1s, border2s of Dataset_ETT_hour, Dataset_ETT_minute and Dataset_Custom.
inline std::array<RowRange, 3> split_rows(SplitRule rule, index_t rows, index_t seq_len) {
  index_t train = 0, val_end = 0, test_begin = 0, test_end = 0;
  if (rule == SplitRule::kCustom) {
    train = static_cast<index_t>(static_cast<double>(rows) * 0.7);
    test_begin = val_end = rows - static_cast<index_t>(static_cast<double>(rows) * 0.2);
    test_end = rows;
  } else {
    const index_t month = 30 * 24 * (rule == SplitRule::kEttMinute ? 4 : 1);
    train = 12 * month;
    test_begin = val_end = 16 * month;
    test_end = 20 * month;
  }
  if (test_end > rows)
    throw ConfigError("split: the series has " + std::to_string(rows) +
                      " rows, expected at least " + std::to_string(test_end) + " for an ETT split");
  if (train < seq_len)
    throw ConfigError("split: " + std::to_string(rows) + " rows leave " + std::to_string(train) +
                      " for training, expected at least seq_len = " + std::to_string(seq_len));
  return {RowRange{0, train}, RowRange{train - seq_len, val_end},
          RowRange{test_begin - seq_len, test_end}};
}

/// What a training or evaluation step gets; B windows. The elements belong to the batch object that
/// `WindowSet::fetch` fills, the next fetch overwrites them.
template <Scalar T>
struct WindowBatch {
  Tensor<T, 3> x;        ///< [B, S, V]
  Tensor<T, 3> x_mark;   ///< [B, S, K]
  Tensor<T, 3> y;        ///< [B, label_len + P, V]
  Tensor<T, 3> y_mark;   ///< [B, label_len + P, K]
  Tensor<T, 3> target;   ///< [B, P, C]: the last P rows of y; C = V, or 1 (last column) with MS
  index_t capacity = 0;  ///< windows that the memory is enough for

  index_t size() const noexcept { return x.extent(0); }
};

/// The windows of one part, stride 1: window i is x = r[i, i + S), y = r[i + S - label_len,
/// i + S + P) of the part's rows r. A value; copies share the series.
template <Scalar T>
class WindowSet {
 public:
  using Batch = WindowBatch<T>;

  WindowSet(Tensor<T, 2> values, Tensor<T, 2> marks, const WindowOptions& options, RowRange rows)
      : values_(std::move(values)), marks_(std::move(marks)), options_(options), rows_(rows) {}

  /// Rows - S - P + 1.
  index_t count() const noexcept {
    return (std::max)(index_t{0},
                      rows_.end - rows_.begin - options_.seq_len - options_.pred_len + 1);
  }
  const WindowOptions& options() const noexcept { return options_; }
  /// Rows of the series that the part reads, lookback included.
  RowRange rows() const noexcept { return rows_; }
  index_t variates() const noexcept { return values_.cols(); }
  /// K, columns of the time marks.
  index_t marks() const noexcept { return marks_.cols(); }
  /// C, columns that are forecast and scored.
  index_t targets() const noexcept {
    return options_.features == Features::kMS ? 1 : values_.cols();
  }

  /// Copies the windows with the given numbers into `batch`. Allocates (on the heap) only when
  /// there are more of them than in any fetch before. Throws ShapeError when a number is out of
  /// range.
  void fetch(std::span<const index_t> windows, WindowBatch<T>& batch) const {
    for (const index_t i : windows)
      if (i < 0 || i >= count())
        throw ShapeError("fetch: window " + std::to_string(i) + ", expected 0 to " +
                         std::to_string(count() - 1));
    const index_t b = static_cast<index_t>(windows.size());
    const index_t s = options_.seq_len, l = options_.label_len, p = options_.pred_len;
    const bool grow = b > batch.capacity || !fits(batch);
    if (grow) batch.capacity = b;
    fit(batch.x, {b, s, variates()}, grow);
    fit(batch.x_mark, {b, s, marks()}, grow);
    fit(batch.y, {b, l + p, variates()}, grow);
    fit(batch.y_mark, {b, l + p, marks()}, grow);
    fit(batch.target, {b, p, targets()}, grow);
    T* const x = batch.x.data();
    T* const x_mark = batch.x_mark.data();
    T* const y = batch.y.data();
    T* const y_mark = batch.y_mark.data();
    T* target = batch.target.data();
    for (index_t k = 0; k < b; ++k) {
      const index_t first = rows_.begin + windows[static_cast<std::size_t>(k)];
      copy_rows(values_, first, s, x + k * s * variates());
      copy_rows(marks_, first, s, x_mark + k * s * marks());
      copy_rows(values_, first + s - l, l + p, y + k * (l + p) * variates());
      copy_rows(marks_, first + s - l, l + p, y_mark + k * (l + p) * marks());
      const T* row = values_.data() + (first + s) * variates() + (variates() - targets());
      for (index_t t = 0; t < p; ++t, row += variates(), target += targets())
        std::copy_n(row, targets(), target);
    }
  }

 private:
  bool fits(const WindowBatch<T>& batch) const noexcept {
    return batch.x.defined() && batch.x.extent(1) == options_.seq_len &&
           batch.x.extent(2) == variates() && batch.x_mark.extent(2) == marks() &&
           batch.y.extent(1) == options_.label_len + options_.pred_len &&
           batch.target.extent(1) == options_.pred_len && batch.target.extent(2) == targets();
  }
  static void fit(Tensor<T, 3>& t, const Shape<3>& shape, bool grow) {
    if (grow) {
      const ArenaScope heap(nullptr);
      t = Tensor<T, 3>::empty(shape);
    } else if (t.shape() != shape) {
      t = Tensor<T, 3>::from_storage(t.storage(), shape);
    }
  }
  static void copy_rows(const Tensor<T, 2>& from, index_t first, index_t rows, T* to) noexcept {
    std::copy_n(from.data() + first * from.cols(), rows * from.cols(), to);
  }

  Tensor<T, 2> values_;
  Tensor<T, 2> marks_;
  WindowOptions options_;
  RowRange rows_;
};

}  // namespace sequin::inline SEQUIN_ABI
