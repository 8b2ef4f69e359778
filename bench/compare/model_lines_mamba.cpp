// Mamba at the width of the published 130M model, four of its layers.
#include "model_line.hpp"

#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/stream/session.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Kept : Drawn<Mamba<float>> {
  using Drawn::Drawn;
  Tensor<std::int64_t, 2> ids;
  std::vector<std::int64_t> targets;
  MambaState<float> prompted;
  std::unique_ptr<Session<Mamba<float>>> session;
  std::vector<float> logits;
};

MambaConfig config_of() {
  MambaConfig c;
  c.d_model = 768;
  c.n_layer = 4;
  c.vocab_size = 1024;
  return c;
}

std::int64_t token(index_t t) { return t * 37 % 1024; }

Input ids_input(const char* name, std::vector<index_t> shape, index_t from, index_t count) {
  Input ids{name, std::move(shape), {}};
  for (index_t t = from; t < from + count; ++t) ids.values.push_back(static_cast<float>(token(t)));
  return ids;
}

Work work_of(index_t steps) {
  const auto t = static_cast<double>(steps);
  const double inner = 1536, width = 768;
  Work w;
  w.flops = t * (4 * 2 * (3 * width * inner + inner * 80 + 48 * inner) + 2 * width * 1024 +
                 4 * 6 * 16 * inner);
  w.exps = t * 4 * 16 * inner;
  return w;
}

Line mamba_line(index_t steps, bool trains) {
  const auto keep = std::make_shared<Kept>(config_of());
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  keep->ids = Tensor<std::int64_t, 2>({1, steps});
  for (index_t t = 0; t < steps; ++t) keep->ids(0, t) = token(t);
  line.inputs.push_back(ids_input("ids", {1, steps}, 0, steps));
  line.work = work_of(steps);
  line.floor_seconds = 0.2;
  line.request = {{"op", "mamba"}, {"jit", false}};
  if (!trains) {
    prepare(keep->model);
    set_own(line, [k = keep.get()] { return k->model.forward(k->ids); });
    return line;
  }
  for (index_t t = 0; t < steps; ++t) keep->targets.push_back(token(t + 1));
  line.inputs.push_back(ids_input("targets", {1, steps}, 1, steps));
  line.work.flops *= 3;
  set_training(line, keep.get(),
               [k = keep.get()] { return cross_entropy(k->model.forward(k->ids), k->targets); });
  return line;
}

/// A token after a prompt. What is compared is the first step from the prompt's state.
Line mamba_step_line() {
  constexpr index_t prompt = 64;
  const auto keep = std::make_shared<Kept>(config_of());
  Line line;
  line.keep = keep;
  hand_over(line, keep->model);
  prepare(keep->model);
  keep->ids = Tensor<std::int64_t, 2>({1, prompt});
  for (index_t t = 0; t < prompt; ++t) keep->ids(0, t) = token(t);
  keep->prompted = keep->model.initial_state(1);
  keep->model.prefill(keep->ids, keep->prompted);
  const auto give = [&](const std::string& name, const Tensor<float, 3>& state) {
    Input input{name, {state.extent(0), state.extent(1), state.extent(2)}, {}};
    input.values.assign(state.span().begin(), state.span().end());
    line.inputs.push_back(std::move(input));
  };
  for (std::size_t i = 0; i < keep->prompted.layers.size(); ++i) {
    give("conv_state." + std::to_string(i), keep->prompted.layers[i].conv_state);
    give("ssm_state." + std::to_string(i), keep->prompted.layers[i].ssm_state);
  }
  line.inputs.push_back(ids_input("ids", {1}, prompt, 1));
  keep->session = std::make_unique<Session<Mamba<float>>>(keep->model);
  keep->session->set_state(keep->prompted);
  const std::int64_t next = token(prompt);
  line.run = [k = keep.get(), next] { k->session->step({&next, 1}); };
  line.output = [k = keep.get(), next]() -> std::span<const float> {
    k->session->set_state(k->prompted);
    const std::span<const float> logits = k->session->step({&next, 1});
    k->logits.assign(logits.begin(), logits.end());
    return k->logits;
  };
  line.work = work_of(1);
  line.work.bytes = 4 * config_of().parameter_count();
  line.floor_seconds = 0.1;
  line.request = {{"op", "mamba_step"}, {"jit", true}};
  return line;
}

}  // namespace

void add_mamba_lines(std::vector<LineMaker>& lines) {
  const char* const group = "whole models";
  lines.push_back({group, "Mamba, width 768, 4 layers, 512 tokens",
                   [](index_t) { return mamba_line(512, false); }});
  lines.push_back(
      {group, "Mamba, width 768, 4 layers, a token", [](index_t) { return mamba_step_line(); }});
  lines.push_back({group, "Mamba, width 768, 4 layers, 128 tokens, training step",
                   [](index_t) { return mamba_line(128, true); }});
}

}  // namespace sequin_compare
