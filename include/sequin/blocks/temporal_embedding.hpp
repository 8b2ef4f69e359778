/// What a step's place in the calendar adds to its embedding.
#pragma once

#include "sequin/blocks/embedding.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/ops/elementwise.hpp"

#include <cmath>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// Official `embed`: a linear map of real-valued marks, or the sum of rows of tables (sin/cos ones
/// that are not trained, or trained ones) that whole-numbered marks look up.
enum class TimeEmbedding { timeF, fixed, learned };

/// "timeF", "fixed" or "learned". Throws ConfigError, its message beginning with `label`.
inline TimeEmbedding time_embedding_named(std::string_view name, const std::string& label) {
  if (name == "timeF") return TimeEmbedding::timeF;
  if (name == "fixed") return TimeEmbedding::fixed;
  if (name == "learned") return TimeEmbedding::learned;
  throw ConfigError(label + ": expected timeF, fixed or learned, found '" +
                    detail::printable(name) + "'");
}

/// Number of timeF marks of a step for the official `freq`, of which the last letter counts (3h is
/// h): h 4, t 5, s 6, m 1, a 1, w 2, d 3, b 3. Throws ConfigError.
inline index_t time_mark_count(std::string_view freq, const std::string& label) {
  switch (freq.empty() ? '\0' : freq.back()) {
    case 'h':
      return 4;
    case 't':
      return 5;
    case 's':
      return 6;
    case 'm':
    case 'a':
      return 1;
    case 'w':
      return 2;
    case 'd':
    case 'b':
      return 3;
    default:
      throw ConfigError(label + ": expected h, t, s, m, a, w, d or b, found '" +
                        detail::printable(freq) + "'");
  }
}

namespace detail {

/// table (rows, D), D even: columns 2i sin(t w_i), 2i + 1 cos(t w_i), w_i = exp(-2i ln(10000) / D),
/// in float32 arithmetic as the official code for every T.
template <Scalar T>
void fill_sinusoids(T* table, index_t rows, index_t width) {
  const auto step = static_cast<float>(-(std::log(10000.0) / static_cast<double>(width)));
  for (index_t i = 0; i < width; i += 2) {
    const float frequency = std::exp(static_cast<float>(i) * step);
    for (index_t t = 0; t < rows; ++t) {
      const float angle = static_cast<float>(t) * frequency;
      table[t * width + i] = static_cast<T>(std::sin(angle));
      table[t * width + i + 1] = static_cast<T>(std::cos(angle));
    }
  }
}

/// Column `column` of marks (B, T, M), truncated to whole numbers.
template <Scalar T>
Tensor<std::int64_t, 2> whole_marks(const Tensor<T, 3>& marks, index_t column) {
  auto ids = Tensor<std::int64_t, 2>::empty({marks.extent(0), marks.extent(1)});
  std::int64_t* const to = ids.data();
  for (index_t i = 0; i < ids.size(); ++i) {
    const T v = marks.data()[i * marks.extent(2) + column];
    // Far outside every table, and safe to convert; NaN fails the comparison too.
    to[i] = std::abs(v) < T(1e6) ? static_cast<std::int64_t>(v) : -1;
  }
  return ids;
}

}  // namespace detail

/// `TemporalEmbedding` and `TimeFeatureEmbedding` of zhouhaoyi/Informer2020 and the repositories of
/// thuml (the latter without bias).
template <Scalar T>
class CalendarEmbedding {
 public:
  using value_type = T;

  Linear<T> embed;  ///< timeF
  Embedding<T> minute_embed, hour_embed, weekday_embed, day_embed, month_embed;

  CalendarEmbedding() = default;
  /// Throws ConfigError for an unknown frequency.
  CalendarEmbedding(TimeEmbedding kind, std::string_view freq, index_t width, bool has_bias)
      : kind_(kind) {
    const index_t marks = time_mark_count(freq, "freq");
    if (kind == TimeEmbedding::timeF) {
      embed = Linear<T>(marks, width, has_bias);
      return;
    }
    // A quarter of the hour, as the official marks count minutes.
    if (freq.back() == 't') minute_embed = Embedding<T>(4, width);
    hour_embed = Embedding<T>(24, width);
    weekday_embed = Embedding<T>(7, width);
    day_embed = Embedding<T>(32, width);
    month_embed = Embedding<T>(13, width);
  }

  /// marks (B, T, M) -> (B, T, D). For timeF M is that of the frequency, else month, day, weekday,
  /// hour and, for `t`, quarter of the hour. Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& marks) const {
    if (kind_ == TimeEmbedding::timeF) return probe(*this, embed.forward(marks));
    const bool minutes = minute_embed.weight.defined();
    if (marks.extent(2) < (minutes ? 5 : 4))
      throw ShapeError("CalendarEmbedding: marks are " + to_string(marks.shape()) +
                       ", expected [B, T, M >= " + (minutes ? "5" : "4") +
                       "] (month, day, weekday, hour" + (minutes ? ", quarter" : "") + ")");
    const auto row = [&](const Embedding<T>& table, index_t column) {
      return table.forward(detail::whole_marks(marks, column));
    };
    Tensor<T, 3> y =
        row(hour_embed, 3) + row(weekday_embed, 2) + row(day_embed, 1) + row(month_embed, 0);
    return probe(*this, minutes ? y + row(minute_embed, 4) : y);
  }

  /// Throws ConfigError when the tables are sinusoids of an odd width.
  void initialize(Generator& generator) {
    if (kind_ == TimeEmbedding::timeF) return embed.initialize(generator);
    for (Embedding<T>* const table :
         {&minute_embed, &hour_embed, &weekday_embed, &day_embed, &month_embed}) {
      Tensor<T, 2>& w = table->weight;
      if (!w.defined()) continue;
      if (kind_ == TimeEmbedding::learned)
        init::normal(w, 1.0, generator);
      else
        detail::fill_sinusoids(w.data(), w.extent(0), w.extent(1));
    }
  }

  void visit(Visitor<T>& v) {
    if (kind_ == TimeEmbedding::timeF) return v.child("embed", embed);
    const auto table = [&](const std::string& name, Embedding<T>& t) {
      if (kind_ == TimeEmbedding::learned)
        v.parameter(name + ".weight", t.weight);
      else
        v.buffer(name + ".emb.weight", t.weight);
    };
    table("minute_embed", minute_embed);
    table("hour_embed", hour_embed);
    table("weekday_embed", weekday_embed);
    table("day_embed", day_embed);
    table("month_embed", month_embed);
  }

 private:
  TimeEmbedding kind_ = TimeEmbedding::timeF;
};

}  // namespace sequin::inline SEQUIN_ABI
