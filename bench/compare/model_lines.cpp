// Whole models with the official sizes, on drawn weights under the official names.
#include "run_in_arena.hpp"

#include "sequin/core/parameter.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/optimizer.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

/// A model with drawn weights; its parameters and buffers become inputs of the peers.
template <class Model>
struct Keep {
  Model model;
  Tensor<float, 3> x, target;
  Tensor<std::int64_t, 2> ids;
  Generator random{5};
  std::unique_ptr<Adam<float>> adam;
  Arena arena;

  explicit Keep(const typename Model::Config& config) : model(config) {
    Generator generator(1);
    model.initialize(generator);
  }
};

template <class Model>
void hand_over(Line& line, Model& model) {
  for (const auto& p : parameters(model).items) {
    Input input;
    input.name = p.name;
    input.shape.assign(p.shape.begin(), p.shape.end());
    const auto values = std::as_const(p.values).span();
    input.values.assign(values.begin(), values.end());
    line.inputs.push_back(std::move(input));
  }
}

ITransformerConfig itransformer_config(index_t variates) {
  ITransformerConfig c;
  c.seq_len = c.pred_len = 96;
  c.enc_in = variates;
  c.d_model = c.d_ff = variates > 100 ? 512 : 256;
  c.n_heads = 8;
  c.e_layers = variates > 100 ? 3 : 2;
  c.dropout = 0;
  c.use_norm = true;
  return c;
}

nlohmann::json request_of(const ITransformerConfig& c) {
  return {{"op", "itransformer"},
          {"jit", true},
          {"config",
           {{"seq_len", c.seq_len},
            {"pred_len", c.pred_len},
            {"d_model", c.d_model},
            {"d_ff", c.d_ff},
            {"n_heads", c.n_heads},
            {"e_layers", c.e_layers},
            {"dropout", 0}}}};
}

double itransformer_flops(const ITransformerConfig& c, index_t batch) {
  const auto d = static_cast<double>(c.d_model), n = static_cast<double>(c.enc_in);
  const double token = 2 * d * static_cast<double>(c.seq_len + c.pred_len) +
                       static_cast<double>(c.e_layers) *
                           (8 * d * d + 4 * d * static_cast<double>(c.d_ff) + 4 * d * n);
  return static_cast<double>(batch) * n * token;
}

Line itransformer_line(index_t variates, index_t batch, bool trains) {
  const ITransformerConfig config = itransformer_config(variates);
  const auto keep = std::make_shared<Keep<ITransformer<float>>>(config);
  Line line;
  line.keep = keep;
  const Input x = drawn("x", {batch, config.seq_len, variates}, 2);
  const Input target = drawn("target", {batch, config.pred_len, variates}, 3);
  keep->x = tensor<3>(x);
  keep->target = tensor<3>(target);
  hand_over(line, keep->model);
  line.inputs.push_back(x);
  line.request = request_of(config);
  line.work.flops = itransformer_flops(config, batch) * (trains ? 3 : 1);
  line.floor_seconds = 0.2;
  if (!trains) {
    prepare(keep->model);
    set_own(line, [k = keep.get()] { return k->model.forward(k->x); });
    return line;
  }
  line.inputs.push_back(target);
  line.request["trains"] = true;
  set_requires_grad(keep->model);
  keep->adam = std::make_unique<Adam<float>>(parameters(keep->model), AdamOptions{});
  line.run = [k = keep.get()] {
    {
      const ArenaScope scope(&k->arena);
      Tape tape;
      k->adam->step(tape.gradients(mse_loss(k->model.forward(k->x), k->target)));
    }
    k->arena.fit();
  };
  return line;
}

Line mamba_line(index_t steps) {
  MambaConfig config;
  config.d_model = 768;
  config.n_layer = 4;
  config.vocab_size = 1024;
  const auto keep = std::make_shared<Keep<Mamba<float>>>(config);
  Line line;
  line.keep = keep;
  keep->ids = Tensor<std::int64_t, 2>({1, steps});
  Input ids{"ids", {1, steps}, {}};
  for (index_t t = 0; t < steps; ++t) {
    keep->ids(0, t) = t * 37 % 1024;
    ids.values.push_back(static_cast<float>(t * 37 % 1024));
  }
  hand_over(line, keep->model);
  line.inputs.push_back(ids);
  prepare(keep->model);
  const auto t = static_cast<double>(steps);
  const double inner = 1536, width = 768;
  line.work.flops = t * (4 * 2 * (3 * width * inner + inner * 80 + 48 * inner) + 2 * width * 1024 +
                         4 * 6 * 16 * inner);
  line.work.exps = t * 4 * 16 * inner;
  line.floor_seconds = 0.2;
  set_own(line, [k = keep.get()] { return k->model.forward(k->ids); });
  line.request = {{"op", "mamba"}, {"jit", false}};
  return line;
}

}  // namespace

void add_model_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back({group, "iTransformer, 7 variates, batch 32",
                   [](index_t) { return itransformer_line(7, 32, false); }});
  lines.push_back({group, "iTransformer, 862 variates, batch 1",
                   [](index_t) { return itransformer_line(862, 1, false); }});
  lines.push_back({group, "iTransformer, 7 variates, batch 32, training step",
                   [](index_t) { return itransformer_line(7, 32, true); }});
  lines.push_back(
      {group, "Mamba, width 768, 4 layers, 512 tokens", [](index_t) { return mamba_line(512); }});
}

}  // namespace sequin_compare
