/// Informer's hyper-parameters under their official names.
#pragma once

#include "sequin/blocks/data_embedding.hpp"
#include "sequin/blocks/decoder.hpp"
#include "sequin/blocks/distil_encoder.hpp"

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Sizes and options of an Informer.
struct InformerConfig {
  /// zhouhaoyi/Informer2020 with one encoder or a stack of them, or the form of
  /// thuml/Time-Series-Library: ProbSparse everywhere, heads always mixed, no biases in the
  /// embeddings, distilling with padding 2 and for forecasts alone, and further tasks.
  enum class Form { official, stack, tslib };
  enum class Task {
    long_term_forecast,
    short_term_forecast,
    imputation,
    anomaly_detection,
    classification
  };

  Form form = Form::official;
  Task task = Task::long_term_forecast;
  index_t seq_len = 96;    ///< classification only: other tasks take any length up to 5000
  index_t label_len = 48;  ///< of the decoder's input; for those who make it
  index_t pred_len = 24;
  index_t enc_in = 7;
  index_t dec_in = 7;
  index_t c_out = 7;
  index_t d_model = 512;
  index_t n_heads = 8;
  index_t e_layers = 2;
  index_t d_layers = 1;
  std::vector<index_t> s_layers{3, 2, 1};  ///< layers of each encoder of a stack
  index_t d_ff = 2048;
  index_t factor = 5;  ///< of ProbSparse attention
  bool distil = true;
  AttentionKind attn = AttentionKind::prob_sparse;
  TimeEmbedding embed = TimeEmbedding::timeF;
  std::string freq = "h";
  Activation activation = Activation::gelu;  ///< relu, or the exact gelu
  bool mix = true;                           ///< mixed heads in the decoder's self-attention
  bool padding = false;  ///< the decoder's input ends in ones, not zeros; for those who make it
  bool output_attention = false;
  double dropout = 0.05;
  index_t num_class = 0;  ///< classification only

  bool forecasts() const noexcept {
    return task == Task::long_term_forecast || task == Task::short_term_forecast;
  }

  EncoderLayerConfig encoder_layer() const {
    EncoderLayerConfig c;
    c.attention.d_model = d_model;
    c.attention.n_heads = n_heads;
    c.attention.dropout = dropout;
    c.attention.kind = attn;
    c.attention.factor = factor;
    c.attention.mix = form == Form::tslib;
    c.d_ff = d_ff;
    c.activation = activation;
    c.dropout = dropout;
    return c;
  }

  DecoderLayerConfig decoder_layer() const {
    DecoderLayerConfig c;
    c.self_attention = encoder_layer().attention;
    c.self_attention.causal = true;
    c.self_attention.mix = form == Form::tslib || mix;
    c.cross_attention = encoder_layer().attention;
    if (form != Form::tslib) c.cross_attention.kind = AttentionKind::full;
    c.d_ff = d_ff;
    c.activation = activation;
    c.dropout = dropout;
    return c;
  }

  DataEmbeddingConfig embedding(index_t channels) const {
    DataEmbeddingConfig c;
    c.kind = form == Form::tslib ? DataEmbeddingKind::tslib : DataEmbeddingKind::informer;
    c.c_in = channels;
    c.d_model = d_model;
    c.embed = embed;
    c.freq = freq;
    c.dropout = dropout;
    return c;
  }

  /// Padding of the distilling layers, 0 where there are none.
  index_t distil_padding() const noexcept {
    if (form == Form::tslib) return distil && forecasts() ? 2 : 0;
    return distil ? 1 : 0;
  }

  /// Layers of each encoder.
  std::vector<index_t> encoders() const {
    return form == Form::stack ? s_layers : std::vector<index_t>{e_layers};
  }

  /// Number of parameters and buffers that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto d = static_cast<double>(d_model);
    const auto f = static_cast<double>(d_ff);
    const auto inner = static_cast<double>(d_model / n_heads * n_heads);
    const double attention = 3 * (d * inner + inner) + inner * d + d;
    const double feed_forward = 2 * d * f + f + d;
    const double conv = 3 * d * d + 5 * d + 1;
    double count = 0;
    for (const index_t layers : encoders()) {
      count += static_cast<double>(layers) * (attention + feed_forward + 4 * d) + 2 * d;
      if (distil_padding() != 0) count += static_cast<double>(layers - 1) * conv;
    }
    count += static_cast<double>(d_layers) * (2 * attention + feed_forward + 6 * d) + 2 * d;
    count += embedding(enc_in).parameter_count() + embedding(dec_in).parameter_count();
    count += d * static_cast<double>(c_out) + static_cast<double>(c_out);
    if (task == Task::classification)
      count += (d * static_cast<double>(seq_len) + 1) * static_cast<double>(num_class);
    else if (!forecasts())
      count += (d + 1) * static_cast<double>(c_out);
    return count;
  }

  /// Reads the official keys; `tslib` when "model" says informer_tslib or a "task_name" is there,
  /// `stack` for informerstack. Throws ConfigError naming key, expected and found.
  template <class Reader>
  static InformerConfig read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 24;
    InformerConfig c;
    const std::string model = r.get_string("model", "informer");
    if (model == "informerstack") c.form = Form::stack;
    if (model == "informer_tslib" || (c.form == Form::official && r.has("task_name")))
      c.form = Form::tslib;
    const bool tslib = c.form == Form::tslib;
    if (tslib) c.task = task_named(r, r.get_string("task_name", "long_term_forecast"));
    c.seq_len = r.get_int("seq_len", 96, 1, kMax);
    c.label_len = r.get_int("label_len", 48, 0, kMax);
    c.pred_len = c.forecasts() ? r.get_int("pred_len", tslib ? 96 : 24, 1, kMax) : 0;
    c.enc_in = r.get_int("enc_in", 7, 1, kMax);
    c.dec_in = r.get_int("dec_in", 7, 1, kMax);
    c.c_out = r.get_int("c_out", 7, 1, kMax);
    c.d_model = r.get_int("d_model", 512, 2, kMax);
    if (c.d_model % 2 != 0)
      throw ConfigError(r.label() + ": d_model: expected an even number, found " +
                        std::to_string(c.d_model));
    c.n_heads = r.get_int("n_heads", 8, 1, c.d_model);
    c.e_layers = r.get_int("e_layers", 2, 1, 4096);
    c.d_layers = r.get_int("d_layers", 1, 1, 4096);
    if (c.form == Form::stack) c.s_layers = layer_list(r, r.get_string("s_layers", "3,2,1"));
    c.d_ff = r.get_int("d_ff", 2048, 1, kMax);
    c.factor = r.get_int("factor", tslib ? 1 : 5, 1, kMax);
    c.distil = r.get_bool("distil", true);
    if (!tslib) c.attn = attention_named(r, r.get_string("attn", "prob"));
    c.embed = time_embedding_named(r.get_string("embed", "timeF"), r.label() + ": embed");
    c.freq = r.get_string("freq", "h");
    time_mark_count(c.freq, r.label() + ": freq");
    c.activation =
        r.get_string("activation", "gelu") == "relu" ? Activation::relu : Activation::gelu;
    c.mix = tslib || r.get_bool("mix", true);
    c.padding = r.get_int("padding", 0, 0, 1) == 1;
    c.output_attention = !tslib && r.get_bool("output_attention", false);
    c.dropout = r.get_double("dropout", tslib ? 0.1 : 0.05, 0.0, 0.999);
    if (c.task == Task::classification) c.num_class = r.get_int("num_class", 1, kMax);
    return c;
  }

 private:
  template <class Reader>
  static Task task_named(const Reader& r, const std::string& name) {
    if (name == "long_term_forecast") return Task::long_term_forecast;
    if (name == "short_term_forecast") return Task::short_term_forecast;
    if (name == "imputation") return Task::imputation;
    if (name == "anomaly_detection") return Task::anomaly_detection;
    if (name == "classification") return Task::classification;
    throw ConfigError(
        r.label() + ": task_name: expected long_term_forecast, short_term_forecast, " +
        "imputation, anomaly_detection or classification, found '" + detail::printable(name) + "'");
  }

  template <class Reader>
  static AttentionKind attention_named(const Reader& r, const std::string& name) {
    if (name == "prob") return AttentionKind::prob_sparse;
    if (name == "full") return AttentionKind::full;
    throw ConfigError(r.label() + ": attn: expected prob or full, found '" +
                      detail::printable(name) + "'");
  }

  /// "3,2,1"
  template <class Reader>
  static std::vector<index_t> layer_list(const Reader& r, std::string text) {
    std::erase(text, ' ');
    std::vector<index_t> layers;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (bool more = true; more;) {
      index_t n = 0;
      const auto [next, error] = std::from_chars(at, end, n);
      more = next != end && *next == ',';
      if (error != std::errc() || n < 1 || n > 4096 || layers.size() == 62 ||
          (next != end && !more))
        throw ConfigError(r.label() + ": s_layers: expected numbers of layers like '3,2,1', " +
                          "found '" + detail::printable(text) + "'");
      layers.push_back(n);
      at = next + 1;
    }
    return layers;
  }
};

}  // namespace sequin::inline SEQUIN_ABI
