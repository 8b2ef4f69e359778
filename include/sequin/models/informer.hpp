/// Informer: long forecasts in one pass, by attention that few queries take part in.
#pragma once

#include "sequin/blocks/prob_sparse.hpp"
#include "sequin/models/informer_config.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/shape.hpp"

#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
/// AAAI 2021; models/model.py of zhouhaoyi/Informer2020 (`Informer`, `InformerStack`) and
/// models/Informer.py of thuml/Time-Series-Library, parameter names included.
///
/// ProbSparse attention draws keys in every call, where the official code draws anew each time:
/// here from `ForwardContext::key_sampler`, and without one from a fixed seed, so that the same
/// input gives the same forecast.
///
/// Knowingly different: with one head the Time-Series-Library squeezes an axis too many, by which
/// the queries that are active in one batch entry are so in all of them. Here an entry's result
/// never depends on the others; with one entry at a time it is the official one.
template <Scalar T>
class Informer {
 public:
  using value_type = T;
  using Config = InformerConfig;

  /// All weights zero: load them or `initialize`. Throws ConfigError for impossible sizes.
  explicit Informer(const Config& config)
      : config_(config),
        enc_embedding_(config.embedding(config.enc_in)),
        dec_embedding_(config.embedding(config.dec_in)),
        decoder_(config.decoder_layer(), config.d_layers, &prob_sparse<T>),
        decoder_projection_(config.d_model, config.c_out) {
    for (const index_t layers : config.encoders())
      encoders_.emplace_back(config.encoder_layer(), layers, config.distil_padding(),
                             &prob_sparse<T>);
    if (config.task == Config::Task::classification)
      projection_ = Linear<T>(config.d_model * config.seq_len, config.num_class);
    else if (!config.forecasts())
      projection_ = Linear<T>(config.d_model, config.c_out);
  }

  const Config& config() const noexcept { return config_; }

  /// A forecast: x_enc (B, S, enc_in) with marks (B, S, M), x_dec (B, L, dec_in) with marks
  /// (B, L, M), L >= pred_len -> (B, pred_len, c_out), the last steps of the decoder. x_dec is by
  /// custom the last label_len steps known, then zeros; see `decoder_input`. Undefined marks add
  /// nothing. S and L are at most 5000. short_term_forecast normalises by mean and deviation of
  /// x_enc, which are constants to the gradient; it needs c_out = enc_in (or enc_in = 1).
  ///
  /// Imputation and anomaly detection: (B, S, c_out), of x_enc (and for imputation its marks)
  /// alone. Throws ShapeError, and ConfigError for a classifier.
  Tensor<T, 3> forward(const Tensor<T, 3>& x_enc, const Tensor<T, 3>& x_mark_enc = {},
                       const Tensor<T, 3>& x_dec = {}, const Tensor<T, 3>& x_mark_dec = {},
                       const ForwardContext<T>& context = {}) const {
    KeySampler fixed;
    const ForwardContext<T> with_keys = sampled(context, fixed);
    switch (config_.task) {
      case Config::Task::long_term_forecast:
        return forecast(x_enc, x_mark_enc, x_dec, x_mark_dec, with_keys);
      case Config::Task::short_term_forecast: {
        check_input("x_enc", x_enc, config_.enc_in);
        const Tensor<T, 3> mean_of_x = mean(x_enc, 1, keep_axis).detach();
        const Tensor<T, 3> centred = x_enc - mean_of_x;
        const Tensor<T, 3> deviation =
            sqrt(add_scalar(mean(square(centred.detach()), 1, keep_axis), T(1e-5))).detach();
        return forecast(centred / deviation, x_mark_enc, x_dec, x_mark_dec, with_keys) * deviation +
               mean_of_x;
      }
      case Config::Task::imputation:
        return projection_.forward(encode(x_enc, x_mark_enc, with_keys));
      case Config::Task::anomaly_detection:
        return projection_.forward(encode(x_enc, {}, with_keys));
      default:
        throw ConfigError("Informer: this model classifies; call classify, not forward");
    }
  }

  /// x_enc (B, S = seq_len, enc_in), padding_mask (B, S), 0 for steps that do not count -> logits
  /// (B, num_class). Throws ShapeError, and ConfigError when the model is no classifier.
  Tensor<T, 2> classify(const Tensor<T, 3>& x_enc, const Tensor<T, 2>& padding_mask,
                        const ForwardContext<T>& context = {}) const {
    if (config_.task != Config::Task::classification)
      throw ConfigError("Informer: this model does not classify; call forward");
    const Shape<2> expected{x_enc.extent(0), config_.seq_len};
    if (x_enc.extent(1) != config_.seq_len)
      throw ShapeError("Informer: x_enc is " + to_string(x_enc.shape()) + ", expected [B, S=" +
                       std::to_string(config_.seq_len) + ", C] (S from seq_len)");
    if (padding_mask.shape() != expected)
      throw ShapeError("Informer: padding_mask is " + to_string(padding_mask.shape()) +
                       ", expected " + to_string(expected) + " ([B, S] from x_enc)");
    KeySampler fixed;
    Tensor<T, 3> y = gelu(encode(x_enc, {}, sampled(context, fixed)));
    if (context.training()) y = dropout(y, config_.dropout, *context.dropout_generator);
    y = y * reshape<3>(padding_mask, {expected[0], expected[1], 1});
    return projection_.forward(reshape<2>(y, {expected[0], expected[1] * config_.d_model}));
  }

  /// Draws fresh weights by PyTorch's default rules and those of the embeddings.
  void initialize(Generator& generator) {
    enc_embedding_.initialize(generator);
    dec_embedding_.initialize(generator);
    for (auto& encoder : encoders_) encoder.initialize(generator);
    decoder_.initialize(generator);
    decoder_projection_.initialize(generator);
    if (projection_.weight.defined()) projection_.initialize(generator);
  }

  /// Which form a checkpoint with these names has; empty for none. `has(name)` says whether a name
  /// is there.
  template <class Has>
  static std::string variant_of(Has&& has) {
    if (!has("enc_embedding.value_embedding.tokenConv.weight")) return "";
    if (has("encoder.encoders.0.norm.weight")) return "an InformerStack";
    if (has("decoder.projection.weight")) return "the form of TSLib";
    return has("projection.weight") ? "the official Informer" : "";
  }

  /// Tasks without a decoder hold its weights nevertheless, as official checkpoints do.
  void visit(Visitor<T>& v) {
    v.child("enc_embedding", enc_embedding_);
    v.child("dec_embedding", dec_embedding_);
    if (config_.form == Config::Form::stack)
      v.children("encoder.encoders", encoders_);
    else
      v.child("encoder", encoders_.front());
    v.child("decoder", decoder_);
    const bool tslib = config_.form == Config::Form::tslib;
    v.child(tslib ? "decoder.projection" : "projection", decoder_projection_);
    if (projection_.weight.defined()) v.child("projection", projection_);
  }

 private:
  static ForwardContext<T> sampled(ForwardContext<T> context, KeySampler& fixed) noexcept {
    if (context.key_sampler == nullptr) context.key_sampler = &fixed;
    return context;
  }

  static void check_input(const char* name, const Tensor<T, 3>& x, index_t channels) {
    if (x.extent(1) < 1 || x.extent(2) != channels)
      throw ShapeError(std::string("Informer: ") + name + " is " + to_string(x.shape()) +
                       ", expected [B, T >= 1, C=" + std::to_string(channels) + "]");
  }

  /// The memory of the decoder: what each encoder makes of the steps that it reads, one after the
  /// other. Encoder i of a stack reads the last S / 2^i steps, or all where that is none.
  Tensor<T, 3> encode(const Tensor<T, 3>& x_enc, const Tensor<T, 3>& x_mark_enc,
                      const ForwardContext<T>& context) const {
    check_input("x_enc", x_enc, config_.enc_in);
    const Tensor<T, 3> x = enc_embedding_.forward(x_enc, x_mark_enc, context);
    const index_t length = x.extent(1);
    Tensor<T, 3> memory = encoders_.front().forward(x, context);
    for (std::size_t i = 1; i < encoders_.size(); ++i) {
      const index_t part = length >> i;
      const Tensor<T, 3> last = slice(x, 1, part == 0 ? 0 : length - part, length);
      memory = concat(memory, encoders_[i].forward(last, context), 1);
    }
    return memory;
  }

  Tensor<T, 3> forecast(const Tensor<T, 3>& x_enc, const Tensor<T, 3>& x_mark_enc,
                        const Tensor<T, 3>& x_dec, const Tensor<T, 3>& x_mark_dec,
                        const ForwardContext<T>& context) const {
    check_input("x_dec", x_dec, config_.dec_in);
    if (x_dec.extent(0) != x_enc.extent(0) || x_dec.extent(1) < config_.pred_len)
      throw ShapeError("Informer: x_dec is " + to_string(x_dec.shape()) +
                       ", expected [B=" + std::to_string(x_enc.extent(0)) +
                       ", L >= " + std::to_string(config_.pred_len) + ", C] (L from pred_len)");
    const Tensor<T, 3> memory = encode(x_enc, x_mark_enc, context);
    // As in the official code the maps are the encoders'.
    ForwardContext<T> unseen = context;
    unseen.attention_maps = nullptr;
    const Tensor<T, 3> x = dec_embedding_.forward(x_dec, x_mark_dec, unseen);
    const Tensor<T, 3> y = decoder_.forward(x, memory, unseen);
    const index_t length = y.extent(1);
    return decoder_projection_.forward(slice(y, 1, length - config_.pred_len, length));
  }

  Config config_;
  DataEmbedding<T> enc_embedding_, dec_embedding_;
  std::vector<DistilEncoder<T>> encoders_;
  Decoder<T> decoder_;
  Linear<T> decoder_projection_;
  Linear<T> projection_;  ///< of the tasks without a decoder
};

/// The official decoder input: the last `label_len` steps of x (B, S, C), then `pred_len` steps of
/// zeros, or with `padding` of ones: (B, label_len + pred_len, C). Throws ShapeError.
template <Scalar T>
Tensor<T, 3> decoder_input(const Tensor<T, 3>& x, index_t label_len, index_t pred_len,
                           bool padding = false) {
  if (label_len < 0 || pred_len < 0 || x.extent(1) < label_len)
    throw ShapeError("decoder_input: x is " + to_string(x.shape()) + ", expected [B, S >= " +
                     std::to_string(label_len) + ", C] (S from label_len)");
  const Tensor<T, 3> unknown({x.extent(0), pred_len, x.extent(2)}, padding ? T{1} : T{0});
  return concat(slice(x, 1, x.extent(1) - label_len, x.extent(1)), unknown, 1);
}

}  // namespace sequin::inline SEQUIN_ABI
