// iTransformer with the official sizes of ETTh1 and Traffic.
#include "model_line.hpp"

#include "sequin/models/itransformer.hpp"
#include "sequin/ops/loss.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Kept : Drawn<ITransformer<float>> {
  using Drawn::Drawn;
  Tensor<float, 3> x, target;
};

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
  const auto keep = std::make_shared<Kept>(config);
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
  set_training(line, keep.get(),
               [k = keep.get()] { return mse_loss(k->model.forward(k->x), k->target); });
  return line;
}

}  // namespace

void add_itransformer_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back({group, "iTransformer, 7 variates, batch 32",
                   [](index_t) { return itransformer_line(7, 32, false); }});
  lines.push_back({group, "iTransformer, 862 variates, batch 1",
                   [](index_t) { return itransformer_line(862, 1, false); }});
  lines.push_back({group, "iTransformer, 7 variates, batch 32, training step",
                   [](index_t) { return itransformer_line(7, 32, true); }});
}

}  // namespace sequin_compare
