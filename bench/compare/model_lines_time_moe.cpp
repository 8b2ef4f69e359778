// Time-MoE at the sizes of the published 50M model.
#include "model_line.hpp"

#include "sequin/models/time_moe.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/stream/session.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Kept : Drawn<TimeMoe<float>> {
  using Drawn::Drawn;
  Tensor<float, 3> x, target;
  TimeMoeState<float> after_series;
  std::unique_ptr<Session<TimeMoe<float>>> session;
  std::vector<float> said;
  float value = 0;
  index_t steps = 0;  ///< since the series

  std::span<const float> step() { return session->step({&value, 1}); }
  void back_to_series() {
    session->set_state(after_series);
    steps = 0;
  }
};

TimeMoeConfig size_50m() {
  TimeMoeConfig c;
  c.hidden_size = 384;
  c.num_hidden_layers = 12;
  c.num_attention_heads = 12;
  c.num_key_value_heads = 12;
  c.intermediate_size = 1536;
  c.horizon_lengths = {1, 8, 32, 64};
  c.num_experts = 8;
  c.max_position_embeddings = 4096;
  return c;
}

nlohmann::json request_of(const char* op, const TimeMoeConfig& c) {
  return {{"op", op},
          {"config",
           {{"hidden_size", c.hidden_size},
            {"num_hidden_layers", c.num_hidden_layers},
            {"num_attention_heads", c.num_attention_heads},
            {"intermediate_size", c.intermediate_size},
            {"num_experts", c.num_experts},
            {"num_experts_per_tok", c.num_experts_per_tok},
            {"horizon_lengths", c.horizon_lengths},
            {"rms_norm_eps", c.rms_norm_eps},
            {"rope_theta", c.rope_theta}}}};
}

/// Of one step: weights of a layer that take part. The chosen experts are as wide as the shared
/// one.
double active_weights(const TimeMoeConfig& c) {
  const auto d = static_cast<double>(c.hidden_size);
  const auto inner = static_cast<double>(c.intermediate_size);
  return 4 * d * d + 6 * d * inner + d * static_cast<double>(c.num_experts + 1);
}

/// `seen`: keys that a step sees, on average.
Work work_of(const TimeMoeConfig& c, double steps, double seen) {
  const auto d = static_cast<double>(c.hidden_size);
  const auto layers = static_cast<double>(c.num_hidden_layers);
  Work w;
  w.flops = steps * layers * (2 * active_weights(c) + 4 * d * seen);
  w.exps = steps * layers *
           (seen * static_cast<double>(c.num_attention_heads) +
            2 * static_cast<double>(c.intermediate_size));
  return w;
}

Line time_moe_line(index_t batch, index_t steps, bool trains) {
  const TimeMoeConfig config = size_50m();
  const auto keep = std::make_shared<Kept>(config);
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  line.inputs.push_back(drawn("x", {batch, steps, 1}, 2));
  keep->x = tensor<3>(line.inputs.back());
  const auto t = static_cast<double>(steps);
  line.work = work_of(config, static_cast<double>(batch) * t, (t + 1) / 2);
  line.floor_seconds = 0.2;
  line.request = request_of("time_moe", config);
  line.request["jit"] = true;
  if (!trains) {
    prepare(keep->model);
    set_own(line, [k = keep.get()] { return k->model.hidden_states(k->x); });
    return line;
  }
  line.inputs.push_back(drawn("target", {batch, steps, config.hidden_size}, 3));
  keep->target = tensor<3>(line.inputs.back());
  line.work.flops *= 3;
  set_training(line, keep.get(),
               [k = keep.get()] { return mse_loss(k->model.hidden_states(k->x), k->target); });
  return line;
}

/// A point after a series, with the cache; all heads answer. Every 64 steps the session goes back
/// to the series: the peers' step always is the first after it.
Line time_moe_step_line(index_t past) {
  const TimeMoeConfig config = size_50m();
  const auto keep = std::make_shared<Kept>(config);
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  line.inputs.push_back(drawn("series", {1, past, 1}, 2));
  const auto series = tensor<3>(line.inputs.back());
  line.inputs.push_back(drawn("x", {1, 1, 1}, 3));
  keep->value = line.inputs.back().values[0];
  prepare(keep->model);
  keep->after_series = keep->model.initial_state(1, past);
  TimeMoeCall<float> call;
  call.state = &keep->after_series;
  keep->model.hidden_states(series, call);
  keep->session = std::make_unique<Session<TimeMoe<float>>>(keep->model);
  keep->back_to_series();
  line.run = [k = keep.get()] {
    if (++k->steps > 64) k->back_to_series();
    k->step();
  };
  line.output = [k = keep.get()]() -> std::span<const float> {
    k->back_to_series();
    const std::span<const float> said = k->step();
    k->said.assign(said.begin(), said.end());
    return k->said;
  };
  const auto d = static_cast<double>(config.hidden_size);
  line.work = work_of(config, 1, static_cast<double>(past + 1));
  line.work.bytes = 4 * static_cast<double>(config.num_hidden_layers) *
                    (active_weights(config) + 2 * d * static_cast<double>(past));
  line.floor_seconds = 0.1;
  line.request = request_of("time_moe_step", config);
  return line;
}

}  // namespace

void add_time_moe_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back(
      {group, "Time-MoE 50M, 512 points", [](index_t) { return time_moe_line(1, 512, false); }});
  lines.push_back({group, "Time-MoE 50M, 4 series of 128 points, training step",
                   [](index_t) { return time_moe_line(4, 128, true); }});
  lines.push_back(
      {group, "Time-MoE 50M, a point after 512", [](index_t) { return time_moe_step_line(512); }});
}

}  // namespace sequin_compare
