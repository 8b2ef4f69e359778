/// How the time-series models turn steps into tokens: value, position and calendar.
#pragma once

#include "sequin/blocks/conv1d.hpp"
#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/temporal_embedding.hpp"
#include "sequin/ops/shape.hpp"

#include <cmath>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Whose embedding: zhouhaoyi/Informer2020 (with biases), thuml/Time-Series-Library (without), or
/// thuml/Autoformer (without position, whose table its checkpoints hold nevertheless).
enum class DataEmbeddingKind { informer, tslib, autoformer_wo_pos };

/// Sizes of a DataEmbedding.
struct DataEmbeddingConfig {
  DataEmbeddingKind kind = DataEmbeddingKind::informer;
  index_t c_in = 1;
  index_t d_model = 512;
  TimeEmbedding embed = TimeEmbedding::timeF;
  std::string freq = "h";
  double dropout = 0;

  /// Rows of the table of positions: the longest series.
  static constexpr index_t kPositions = 5000;

  /// Elements of its parameters and buffers.
  double parameter_count() const {
    const auto d = static_cast<double>(d_model);
    const double marks = embed == TimeEmbedding::timeF
                             ? static_cast<double>(time_mark_count(freq, "freq") + 1)
                             : 80.0;
    return d * (3 * static_cast<double>(c_in) + 1 + static_cast<double>(kPositions) + marks);
  }
};

/// `DataEmbedding`: dropout(value + position + calendar). value is a circular convolution over
/// three steps, position a table of sines and cosines.
template <Scalar T>
class DataEmbedding {
 public:
  using value_type = T;

  Conv1d<T> tokenConv;  // NOLINT(readability-identifier-naming): the official name
  Tensor<T, 3> pe;      ///< (1, 5000, D)
  CalendarEmbedding<T> temporal_embedding;

  DataEmbedding() = default;
  /// Throws ConfigError for an odd or missing width, no channels or an unknown frequency.
  explicit DataEmbedding(const DataEmbeddingConfig& config) : config_(checked(config)) {
    const bool has_bias = config.kind == DataEmbeddingKind::informer;
    tokenConv = Conv1d<T>(config.c_in, config.d_model, 3,
                          Conv1dOptions{1, 1, 1, PaddingMode::circular}, has_bias);
    pe = Tensor<T, 3>({1, DataEmbeddingConfig::kPositions, config.d_model});
    temporal_embedding = CalendarEmbedding<T>(config.embed, config.freq, config.d_model, has_bias);
  }

  /// x (B, T, c_in), marks (B, T, M) or undefined (then no calendar) -> (B, T, D). T <= 5000.
  /// Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const Tensor<T, 3>& marks = {},
                       const ForwardContext<T>& context = {}) const {
    const bool positions = config_.kind != DataEmbeddingKind::autoformer_wo_pos;
    if (x.extent(2) != config_.c_in || x.extent(1) < 1 || (positions && x.extent(1) > pe.extent(1)))
      throw ShapeError("DataEmbedding: x is " + to_string(x.shape()) + ", expected [B, T of 1 to " +
                       std::to_string(DataEmbeddingConfig::kPositions) +
                       ", C=" + std::to_string(config_.c_in) + "]");
    if (marks.defined() && (marks.extent(0) != x.extent(0) || marks.extent(1) != x.extent(1)))
      throw ShapeError("DataEmbedding: marks are " + to_string(marks.shape()) +
                       ", expected [B, T, M] with x " + to_string(x.shape()));
    Tensor<T, 3> y = tokenConv.forward(x);
    if (marks.defined()) y = y + temporal_embedding.forward(marks);
    if (positions) y = y + slice(pe, 1, 0, x.extent(1));
    return probe(*this, dropout(y, config_.dropout, context));
  }

  /// The convolution is drawn from N(0, 2 / fan_in), Kaiming's normal; its bias, where there is
  /// one, by PyTorch's default.
  void initialize(Generator& generator) {
    tokenConv.initialize(generator);
    init::normal(tokenConv.weight, std::sqrt(2 / (3 * static_cast<double>(config_.c_in))),
                 generator);
    detail::fill_sinusoids(pe.data(), pe.extent(1), pe.extent(2));
    temporal_embedding.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("value_embedding.tokenConv", tokenConv);
    v.buffer("position_embedding.pe", pe);
    v.child("temporal_embedding", temporal_embedding);
  }

  const DataEmbeddingConfig& config() const noexcept { return config_; }

 private:
  static const DataEmbeddingConfig& checked(const DataEmbeddingConfig& c) {
    if (c.c_in < 1 || c.d_model < 2 || c.d_model % 2 != 0)
      throw ConfigError("DataEmbedding: c_in is " + std::to_string(c.c_in) + " and d_model " +
                        std::to_string(c.d_model) + ", expected >= 1 and an even number");
    return c;
  }

  DataEmbeddingConfig config_;
};

/// `DataEmbedding_inverted` of thuml/iTransformer: each variate's (and each mark's) whole series is
/// one token.
template <Scalar T>
class InvertedEmbedding {
 public:
  using value_type = T;

  Linear<T> value_embedding;

  InvertedEmbedding() = default;
  InvertedEmbedding(index_t steps, index_t width, double dropout = 0)
      : value_embedding(steps, width), dropout_(dropout) {}

  /// x (B, S, V), marks (B, S, M) or undefined -> (B, V + M, D). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const Tensor<T, 3>& marks = {},
                       const ForwardContext<T>& context = {}) const {
    Tensor<T, 3> tokens = transpose(x, 1, 2);
    if (marks.defined()) tokens = concat(tokens, transpose(marks, 1, 2), 1);
    const Tensor<T, 3> y = value_embedding.forward(tokens);
    return probe(*this, dropout(y, dropout_, context));
  }

  void initialize(Generator& generator) { value_embedding.initialize(generator); }
  void visit(Visitor<T>& v) { v.child("value_embedding", value_embedding); }

 private:
  double dropout_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
