// Informer with the official sizes of ETTh1: 96 steps known, 24 to come. The keys that ProbSparse
// attention samples are drawn once and given to all.
#include "model_line.hpp"

#include "sequin/blocks/key_sampler.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/ops/loss.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Kept : Drawn<Informer<float>> {
  using Drawn::Drawn;
  Tensor<float, 3> x_enc, x_mark_enc, x_dec, x_mark_dec, target;
  KeySampler sampler;
  Generator dropout{5};

  Tensor<float, 3> forward(bool trains) {
    sampler.rewind();
    ForwardContext<float> context;
    context.key_sampler = &sampler;
    if (trains) context.dropout_generator = &dropout;
    return model.forward(x_enc, x_mark_enc, x_dec, x_mark_dec, context);
  }
};

/// Steps that each attention layer of the encoder sees.
std::vector<index_t> encoder_steps(const InformerConfig& c) {
  std::vector<index_t> steps{c.seq_len};
  while (static_cast<index_t>(steps.size()) < c.e_layers)
    steps.push_back((steps.back() - 1) / 2 + 1);
  return steps;
}

Work work_of(const InformerConfig& c, index_t batch) {
  const auto d = static_cast<double>(c.d_model), f = static_cast<double>(c.d_ff);
  const auto heads = static_cast<double>(c.n_heads);
  Work w;
  const auto sparse = [&](index_t steps) {
    const auto t = static_cast<double>(steps);
    const auto u = static_cast<double>(prob_sparse_count(c.factor, steps));
    w.flops += t * 8 * d * d + 2 * t * u * d + 4 * u * t * d;
    w.exps += u * t * heads;
  };
  const auto feed_forward = [&](index_t steps) {
    w.flops += static_cast<double>(steps) * 4 * d * f;
  };
  const auto embedding = [&](index_t steps, index_t channels) {
    w.flops += static_cast<double>(steps) * 2 * d * static_cast<double>(3 * channels + 4);
  };
  const std::vector<index_t> steps = encoder_steps(c);
  embedding(c.seq_len, c.enc_in);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    sparse(steps[i]);
    feed_forward(steps[i]);
    if (i + 1 < steps.size()) w.flops += static_cast<double>(steps[i]) * 6 * d * d;
  }
  const index_t known = c.label_len + c.pred_len;
  const auto t = static_cast<double>(known), memory = static_cast<double>(steps.back());
  embedding(known, c.dec_in);
  for (index_t i = 0; i < c.d_layers; ++i) {
    sparse(known);
    w.flops += (t + memory) * 4 * d * d + 4 * t * memory * d;
    w.exps += t * memory * heads;
    feed_forward(known);
  }
  w.flops += static_cast<double>(c.pred_len) * 2 * d * static_cast<double>(c.c_out);
  w.flops *= static_cast<double>(batch);
  w.exps *= static_cast<double>(batch);
  return w;
}

nlohmann::json request_of(const InformerConfig& c) {
  return {{"op", "informer"},
          {"jit", true},
          {"config",
           {{"pred_len", c.pred_len},
            {"enc_in", c.enc_in},
            {"dec_in", c.dec_in},
            {"c_out", c.c_out},
            {"marks", 4},
            {"d_model", c.d_model},
            {"n_heads", c.n_heads},
            {"e_layers", c.e_layers},
            {"d_layers", c.d_layers},
            {"d_ff", c.d_ff},
            {"factor", c.factor}}}};
}

/// The tables of sampled keys in the order of the calls: the encoder's layers, the decoder's.
std::vector<Tensor<std::int32_t, 2>> sampled_keys(Line& line, const InformerConfig& c) {
  std::vector<index_t> steps = encoder_steps(c);
  steps.insert(steps.end(), static_cast<std::size_t>(c.d_layers), c.label_len + c.pred_len);
  Generator generator(7);
  std::vector<Tensor<std::int32_t, 2>> tables;
  for (const index_t t : steps) {
    tables.push_back(prob_sparse_samples(t, t, c.factor, generator));
    const auto& table = std::as_const(tables.back());
    Input input{"index_sample." + std::to_string(tables.size() - 1), {t, table.extent(1)}, {}};
    input.values.assign(table.span().begin(), table.span().end());
    line.inputs.push_back(std::move(input));
  }
  return tables;
}

Line informer_line(index_t batch, bool trains) {
  InformerConfig config;
  config.dropout = 0;
  const auto keep = std::make_shared<Kept>(config);
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  keep->sampler = KeySampler(sampled_keys(line, config));
  const index_t known = config.label_len + config.pred_len;
  const auto give = [&](const char* name, index_t steps, index_t channels, std::uint64_t seed) {
    line.inputs.push_back(drawn(name, {batch, steps, channels}, seed));
    return tensor<3>(line.inputs.back());
  };
  keep->x_enc = give("x_enc", config.seq_len, config.enc_in, 2);
  keep->x_mark_enc = give("x_mark_enc", config.seq_len, 4, 3);
  keep->x_dec = give("x_dec", known, config.dec_in, 4);
  keep->x_mark_dec = give("x_mark_dec", known, 4, 5);
  line.request = request_of(config);
  line.work = work_of(config, batch);
  line.floor_seconds = 0.2;
  if (!trains) {
    prepare(keep->model);
    set_own(line, [k = keep.get()] { return k->forward(false); });
    return line;
  }
  keep->target = give("target", config.pred_len, config.c_out, 6);
  line.work.flops *= 3;
  set_training(line, keep.get(),
               [k = keep.get()] { return mse_loss(k->forward(true), k->target); });
  return line;
}

}  // namespace

void add_informer_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back({group, "Informer, 96 + 24 steps, batch 32",
                   [](index_t) { return informer_line(32, false); }});
  lines.push_back({group, "Informer, 96 + 24 steps, batch 32, training step",
                   [](index_t) { return informer_line(32, true); }});
}

}  // namespace sequin_compare
