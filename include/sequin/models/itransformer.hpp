/// iTransformer: attention across variates, each variate's whole history one token.
#pragma once

#include "sequin/blocks/encoder.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/shape.hpp"

#include <string>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// Hyper-parameters under their official names. The number of variates is not one of them: it is
/// taken from the input (but for classification, whose head is as wide as `enc_in` tokens).
struct ITransformerConfig {
  /// thuml/iTransformer, or the form of thuml/Time-Series-Library (its head is called `projection`,
  /// it always normalises, and it knows further tasks).
  enum class Form { official, tslib };
  enum class Task { forecast, imputation, anomaly_detection, classification };

  Form form = Form::official;
  Task task = Task::forecast;
  index_t seq_len = 96;
  index_t pred_len = 96;
  index_t d_model = 512;
  index_t n_heads = 8;
  index_t e_layers = 2;
  index_t d_ff = 2048;
  Activation activation = Activation::gelu;  ///< relu, or the exact gelu
  bool use_norm = true;
  bool output_attention = false;
  double dropout = 0.1;
  index_t enc_in = 7;     ///< classification only
  index_t num_class = 0;  ///< classification only

  /// Number of parameters that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto d = static_cast<double>(d_model);
    const auto f = static_cast<double>(d_ff);
    const auto inner = static_cast<double>(d_model / n_heads * n_heads);
    const double layer = 3 * (d * inner + inner) + inner * d + d + 2 * d * f + f + d + 4 * d;
    const bool classifies = task == Task::classification;
    const double head_in = classifies ? d * static_cast<double>(enc_in) : d;
    const auto head_out = static_cast<double>(classifies ? num_class : pred_len);
    return static_cast<double>(seq_len) * d + d + static_cast<double>(e_layers) * layer + 2 * d +
           head_in * head_out + head_out;
  }

  /// Reads the official keys; `tslib` when "model" says itransformer_tslib or a "task_name" is
  /// there. Throws ConfigError naming key, expected and found.
  template <class Reader>
  static ITransformerConfig read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 24;
    ITransformerConfig c;
    const std::string model = r.get_string("model", "itransformer");
    if (model == "itransformer_tslib" || r.has("task_name")) c.form = Form::tslib;
    if (c.form == Form::tslib)
      c.task = task_named(r, r.get_string("task_name", "long_term_forecast"));
    c.seq_len = r.get_int("seq_len", 1, kMax);
    const bool forecasts = c.task == Task::forecast;
    c.pred_len = forecasts ? r.get_int("pred_len", 1, kMax) : c.seq_len;
    c.d_model = r.get_int("d_model", 512, 1, kMax);
    c.n_heads = r.get_int("n_heads", 8, 1, c.d_model);
    c.e_layers = r.get_int("e_layers", 2, 1, 4096);
    c.d_ff = r.get_int("d_ff", 2048, 1, kMax);
    c.activation =
        r.get_string("activation", "gelu") == "relu" ? Activation::relu : Activation::gelu;
    c.use_norm =
        c.form == Form::tslib ? c.task != Task::classification : r.get_bool("use_norm", true);
    c.output_attention = c.form == Form::official && r.get_bool("output_attention", false);
    c.dropout = r.get_double("dropout", 0.1, 0.0, 0.999);
    c.enc_in = r.get_int("enc_in", 7, 1, kMax);
    if (c.task == Task::classification) c.num_class = r.get_int("num_class", 1, kMax);
    return c;
  }

 private:
  template <class Reader>
  static Task task_named(const Reader& r, const std::string& name) {
    if (name == "long_term_forecast" || name == "short_term_forecast") return Task::forecast;
    if (name == "imputation") return Task::imputation;
    if (name == "anomaly_detection") return Task::anomaly_detection;
    if (name == "classification") return Task::classification;
    detail::fail<ConfigError>(
        {r.label(), ": task_name: expected long_term_forecast, short_term_forecast, ",
         "imputation, anomaly_detection or classification, found '", detail::printable(name), "'"});
  }
};

/// Liu et al., "iTransformer: Inverted Transformers Are Effective for Time Series Forecasting",
/// ICLR 2024; model/iTransformer.py of thuml/iTransformer and models/iTransformer.py of
/// thuml/Time-Series-Library, parameter names included.
template <Scalar T>
class ITransformer {
 public:
  using value_type = T;
  using Config = ITransformerConfig;

  /// All weights zero: load them or `initialize`.
  explicit ITransformer(const Config& config)
      : config_(config),
        value_embedding_(config.seq_len, config.d_model),
        encoder_(layer_config(config), config.e_layers),
        head_(config.task == Config::Task::classification ? config.d_model * config.enc_in
                                                          : config.d_model,
              config.task == Config::Task::classification ? config.num_class : config.pred_len) {}

  const Config& config() const noexcept { return config_; }

  /// x_enc (B, S, V), x_mark_enc (B, S, M) or undefined -> (B, P, V), or (B, S, V) for imputation
  /// and anomaly detection (which ignores the marks). Any V >= 1 and any M work with the same
  /// weights. Throws ShapeError when S is not seq_len, ConfigError for a classifier.
  Tensor<T, 3> forward(const Tensor<T, 3>& x_enc, const Tensor<T, 3>& x_mark_enc = {},
                       const ForwardContext<T>& context = {}) const {
    if (config_.task == Config::Task::classification)
      detail::fail<ConfigError>(
          {"iTransformer: this model classifies; call classify, not forward"});
    check_input(x_enc);
    if (!config_.use_norm) return project(x_enc, x_mark_enc, context);
    // The mean is a constant to the gradient, as in the official code; the deviation is not.
    const Tensor<T, 3> mean_of_x = mean(x_enc, 1, keep_axis).detach();
    const Tensor<T, 3> centred = x_enc - mean_of_x;
    const Tensor<T, 3> deviation = sqrt(add_scalar(mean(square(centred), 1, keep_axis), T(1e-5)));
    return project(centred / deviation, x_mark_enc, context) * deviation + mean_of_x;
  }

  /// x_enc (B, S, V = enc_in) -> logits (B, num_class). Throws ShapeError, and ConfigError when the
  /// model is no classifier.
  Tensor<T, 2> classify(const Tensor<T, 3>& x_enc, const ForwardContext<T>& context = {}) const {
    if (config_.task != Config::Task::classification)
      detail::fail<ConfigError>({"iTransformer: this model does not classify; call forward"});
    check_input(x_enc);
    if (x_enc.extent(2) != config_.enc_in)
      detail::fail<ShapeError>({"iTransformer: x_enc is ", x_enc.shape(),
                                ", expected [B, S, V=", config_.enc_in, "] (V from enc_in)"});
    const Tensor<T, 3> tokens = dropout(gelu(encode(x_enc, {}, context)), config_.dropout, context);
    return head_.forward(reshape<2>(tokens, {x_enc.extent(0), config_.enc_in * config_.d_model}));
  }

  /// Draws fresh weights by PyTorch's default rules.
  void initialize(Generator& generator) {
    value_embedding_.initialize(generator);
    encoder_.initialize(generator);
    head_.initialize(generator);
  }

  /// Which form a checkpoint with these names has; empty for none. `has(name)` says whether a name
  /// is there.
  template <class Has>
  static std::string variant_of(Has&& has) {
    if (!has("enc_embedding.value_embedding.weight")) return "";
    if (has("projector.weight")) return "the official form";
    return has("projection.weight") ? "the form of TSLib" : "";
  }

  void visit(Visitor<T>& v) {
    v.child("enc_embedding.value_embedding", value_embedding_);
    v.child("encoder", encoder_);
    v.child(config_.form == Config::Form::tslib ? "projection" : "projector", head_);
  }

 private:
  static EncoderLayerConfig layer_config(const Config& c) {
    EncoderLayerConfig layer;
    layer.attention.d_model = c.d_model;
    layer.attention.n_heads = c.n_heads;
    layer.attention.dropout = c.dropout;
    layer.d_ff = c.d_ff;
    layer.activation = c.activation;
    layer.dropout = c.dropout;
    return layer;
  }

  void check_input(const Tensor<T, 3>& x_enc) const {
    if (x_enc.extent(1) != config_.seq_len || x_enc.extent(2) < 1)
      detail::fail<ShapeError>({"iTransformer: x_enc is ", x_enc.shape(), ", expected [B, S=",
                                config_.seq_len, ", V >= 1] (S from seq_len)"});
  }

  /// Variates, then time marks, as tokens through the encoder: (B, V + M, D).
  Tensor<T, 3> encode(const Tensor<T, 3>& x, const Tensor<T, 3>& marks,
                      const ForwardContext<T>& context) const {
    Tensor<T, 3> tokens = transpose(x, 1, 2);
    if (marks.defined()) {
      if (marks.extent(0) != x.extent(0) || marks.extent(1) != x.extent(1))
        detail::fail<ShapeError>({"iTransformer: x_mark_enc is ", marks.shape(),
                                  ", expected [B, S, M] with x_enc ", x.shape()});
      tokens = concat(tokens, transpose(marks, 1, 2), 1);
    }
    return encoder_.forward(dropout(value_embedding_.forward(tokens), config_.dropout, context),
                            context);
  }

  /// The head on the variates' tokens, time-major again: (B, P, V).
  Tensor<T, 3> project(const Tensor<T, 3>& x, const Tensor<T, 3>& marks,
                       const ForwardContext<T>& context) const {
    const bool use_marks = marks.defined() && config_.task != Config::Task::anomaly_detection;
    Tensor<T, 3> tokens = encode(x, use_marks ? marks : Tensor<T, 3>{}, context);
    if (use_marks) tokens = slice(tokens, 1, 0, x.extent(2));
    return transpose(head_.forward(tokens), 1, 2);
  }

  Config config_;
  Linear<T> value_embedding_;
  Encoder<T> encoder_;
  Linear<T> head_;
};

}  // namespace sequin::inline SEQUIN_ABI
