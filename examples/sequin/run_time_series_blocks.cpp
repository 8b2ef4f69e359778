// Cases of attention layers, embeddings and distilling layers.
#include "block_case.hpp"
#include "models.hpp"
#include "sampled_keys.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/data_embedding.hpp"
#include "sequin/blocks/distil_conv.hpp"
#include "sequin/blocks/prob_sparse.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kMax = index_t{1} << 20;

/// A block that takes x and perhaps marks.
template <class T, class Block>
void run_embedding(CaseIo<T>& io, Block& block, const WeightsSource& weights,
                   const RunOptions& options) {
  load_weights(block, weights);
  prepare(block);
  auto x = io.template get<3>("x");
  auto marks = io.template maybe<3>("x_mark");
  if (options.grad) {
    set_requires_grad(block);
    x.set_requires_grad();
    if (marks.defined()) marks.set_requires_grad();
  }
  Tape tape;
  const Tensor<T, 3> y = block.forward(x, marks);
  io.put("y", y);
  if (const auto g =
          put_loss(io, options, tape, y, NamedInput{"x", x}, NamedInput{"x_mark", marks}))
    io.put_gradients(*g, block);
}

}  // namespace

template <class T>
void run_attention(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                   const RunOptions& options) {
  refuse_stream(config, options);
  AttentionLayerConfig c;
  c.d_model = config.get_int("d_model", 1, kMax);
  c.n_heads = config.get_int("n_heads", 1, kMax);
  c.d_keys = config.get_int("d_keys", 0, 0, kMax);
  c.d_values = config.get_int("d_values", 0, 0, kMax);
  c.causal = config.get_bool("mask_flag", false);
  c.scale = config.get_double("scale", 0.0);
  c.mix = config.get_bool("mix", false);
  if (config.get_string("model", "") == "blocks/attention/prob_sparse")
    c.kind = AttentionKind::prob_sparse;
  c.factor = config.get_int("factor", 5, 1, kMax);
  const WeightsSource weights = open_weights(dir);
  const double per_head = static_cast<double>((std::max)(c.d_keys, c.d_model / c.n_heads));
  check_size(2 * static_cast<double>(c.d_model) * static_cast<double>(c.n_heads) * per_head,
             weights);
  AttentionLayer<T> layer(c, &prob_sparse<T>);
  load_weights(layer, weights);
  prepare(layer);

  auto queries = io.template get<3>("queries");
  auto keys = io.template maybe<3>("keys");
  auto values = io.template maybe<3>("values");
  const auto want = [&](auto& t) {
    if (options.grad && t.defined()) t.set_requires_grad();
  };
  want(queries), want(keys), want(values);
  if (options.grad) set_requires_grad(layer);
  std::vector<Tensor<T, 4>> maps;
  ForwardContext<T> context;
  SampledKeys sampled(io);
  context.key_sampler = sampled.start();
  if (config.get_bool("output_attention", false)) context.attention_maps = &maps;
  Tape tape;
  const Tensor<T, 3>& k = keys.defined() ? keys : queries;
  const Tensor<T, 3> y = layer.forward(queries, k, values.defined() ? values : k, context);
  io.put("y", y);
  if (!maps.empty()) io.put("attn", maps.front());
  if (const auto g = put_loss(io, options, tape, y, NamedInput{"queries", queries},
                              NamedInput{"keys", keys}, NamedInput{"values", values}))
    io.put_gradients(*g, layer);
}

template <class T>
void run_data_embedding(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                        const RunOptions& options) {
  refuse_stream(config, options);
  const WeightsSource weights = open_weights(dir);
  const std::string kind = config.get_string("kind");
  if (kind == "inverted") {
    const index_t steps = config.get_int("c_in", 1, kMax);
    const index_t width = config.get_int("d_model", 1, kMax);
    check_size(static_cast<double>(steps) * static_cast<double>(width), weights);
    InvertedEmbedding<T> block(steps, width);
    return run_embedding(io, block, weights, options);
  }
  DataEmbeddingConfig c;
  if (kind == "informer")
    c.kind = DataEmbeddingKind::informer;
  else if (kind == "tslib")
    c.kind = DataEmbeddingKind::tslib;
  else if (kind == "autoformer_wo_pos")
    c.kind = DataEmbeddingKind::autoformer_wo_pos;
  else
    throw ConfigError(config.label() +
                      ": kind: expected informer, tslib, autoformer_wo_pos or inverted, found '" +
                      detail::printable(kind) + "'");
  c.c_in = config.get_int("c_in", 1, kMax);
  c.d_model = config.get_int("d_model", 1, kMax);
  c.embed = time_embedding_named(config.get_string("embed", "timeF"), config.label() + ": embed");
  c.freq = config.get_string("freq", "h");
  check_size(c.parameter_count(), weights);
  DataEmbedding<T> block(c);
  run_embedding(io, block, weights, options);
}

template <class T>
void run_distil_conv(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                     const RunOptions& options) {
  refuse_stream(config, options);
  const WeightsSource weights = open_weights(dir);
  const index_t channels = config.get_int("c_in", 1, kMax);
  const std::string kind = config.get_string("kind");
  if (kind != "informer" && kind != "tslib")
    throw ConfigError(config.label() + ": kind: expected informer or tslib, found '" +
                      detail::printable(kind) + "'");
  check_size(3.0 * static_cast<double>(channels) * static_cast<double>(channels), weights);
  DistilConv<T> block(channels, kind == "tslib" ? 2 : 1);
  load_weights(block, weights);
  prepare(block);
  auto x = io.template get<3>("x");
  if (options.grad) {
    set_requires_grad(block);
    x.set_requires_grad();
  }
  Generator generator;
  ForwardContext<T> context;
  const bool training = config.get_string("mode", "eval") == "train";
  if (training) context.dropout_generator = &generator;
  Tape tape;
  const Tensor<T, 3> y = block.forward(x, context);
  io.put("y", y);
  if (training) io.put_running_buffers(block);
  if (const auto g = put_loss(io, options, tape, y, NamedInput{"x", x}))
    io.put_gradients(*g, block);
}

namespace {

const RegisterModel registered[] = {
    {"blocks/attention/full", "arXiv 1706.03762", "multi-head attention with projections", false,
     true, SEQUIN_CLI_RUN(run_attention)},
    {"blocks/attention/prob_sparse", "arXiv 2012.07436 (AAAI 2021)",
     "attention of few queries, with projections", false, true, SEQUIN_CLI_RUN(run_attention)},
    {"blocks/distil_conv", "arXiv 2012.07436 (AAAI 2021)", "Informer's halving of the time axis",
     false, true, SEQUIN_CLI_RUN(run_distil_conv)},
    {"blocks/data_embedding", "arXiv 2012.07436 (AAAI 2021)",
     "tokens from values, positions and the calendar", false, true,
     SEQUIN_CLI_RUN(run_data_embedding)}};

}  // namespace

}  // namespace sequin_cli
