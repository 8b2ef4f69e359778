// MossFormer2's separation with the official constants, one layer of it and all 24.
#include "model_line.hpp"

#include "sequin/models/mossformer2.hpp"
#include "sequin/ops/loss.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Kept : Drawn<MossFormer2<float>> {
  using Drawn::Drawn;
  Tensor<float, 2> mixture;
  Tensor<float, 3> target;
};

Work work_of(const MossFormer2Config& c, index_t samples) {
  const index_t hop = c.encoder_kernel_size / 2;
  const auto frames = static_cast<double>((samples - c.encoder_kernel_size) / hop + 1);
  const auto d = static_cast<double>(c.channels), q = static_cast<double>(c.query_key_dim);
  const auto i = static_cast<double>(c.inner_channels), g = static_cast<double>(c.group_size);
  const auto n = static_cast<double>(c.in_channels), spks = static_cast<double>(c.num_spks);
  const auto size = static_cast<double>(c.encoder_kernel_size);
  const auto taps = static_cast<double>(2 * c.lorder - 1);
  const auto ff = [](double in, double out) { return 2 * out * (in + 17); };
  const double gau = ff(d, 4 * d) + ff(d, q) + ff(2 * d, d) + 2 * g * (q + 4 * d) + 4 * q * 4 * d;
  const double fsmn = 4 * d * i + 2 * ff(i, i) + 4 * i * i + 2 * 3 * i * taps;
  const auto layers = static_cast<double>(c.num_layers);
  Work w;
  w.flops = frames * (layers * (gau + fsmn) + 2 * n * size + 2 * n * d + 2 * d * d * spks +
                      spks * (4 * d * d + 2 * d * n + 2 * n * size));
  w.exps = frames * (layers * (7 * d + q + 2 * i) + 2 * d * spks);
  return w;
}

nlohmann::json request_of(const MossFormer2Config& c) {
  return {{"op", "mossformer2"},
          {"jit", true},
          {"config",
           {{"num_spks", c.num_spks},
            {"encoder_kernel_size", c.encoder_kernel_size},
            {"in_channels", c.in_channels},
            {"channels", c.channels},
            {"num_layers", c.num_layers},
            {"group_size", c.group_size},
            {"query_key_dim", c.query_key_dim},
            {"inner_channels", c.inner_channels},
            {"lorder", c.lorder}}}};
}

Line mossformer2_line(index_t layers, index_t samples, bool trains) {
  MossFormer2Config config;
  config.num_layers = layers;
  const auto keep = std::make_shared<Kept>(config);
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  line.inputs.push_back(drawn("mixture", {1, samples}, 2));
  keep->mixture = tensor<2>(line.inputs.back());
  line.work = work_of(config, samples);
  line.request = request_of(config);
  line.floor_seconds = layers > 1 ? 1e-3 : 0.2;
  if (layers > 1) line.most_rounds = 3;
  if (!trains) {
    prepare(keep->model);
    set_own(line, [k = keep.get()] { return k->model.separate(k->mixture); });
    return line;
  }
  line.inputs.push_back(drawn("target", {1, samples, config.num_spks}, 3));
  keep->target = tensor<3>(line.inputs.back());
  line.work.flops *= 3;
  set_training(line, keep.get(),
               [k = keep.get()] { return mse_loss(k->model.separate(k->mixture), k->target); });
  return line;
}

}  // namespace

void add_mossformer2_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back({group, "MossFormer2, 1 layer, 2 s at 8 kHz",
                   [](index_t) { return mossformer2_line(1, 16000, false); }});
  lines.push_back({group, "MossFormer2, 24 layers, 2 s at 8 kHz",
                   [](index_t) { return mossformer2_line(24, 16000, false); }});
  lines.push_back({group, "MossFormer2, 1 layer, 1 s at 8 kHz, training step",
                   [](index_t) { return mossformer2_line(1, 8000, true); }});
}

}  // namespace sequin_compare
