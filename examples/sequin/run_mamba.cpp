// Mamba's cases: the language model and its mixer.
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/generate.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"

#include <optional>

namespace sequin_cli {

using namespace sequin;

namespace {

/// Columns [begin, end) of an integer matrix.
Tensor<std::int64_t, 2> columns(const Tensor<std::int64_t, 2>& ids, index_t begin, index_t end) {
  Tensor<std::int64_t, 2> out({ids.extent(0), end - begin});
  for (index_t b = 0; b < ids.extent(0); ++b)
    std::copy_n(ids.data() + b * ids.extent(1) + begin, end - begin,
                out.data() + b * (end - begin));
  return out;
}

/// Writes x (B, 1, D) as step t of y (B, T, D).
template <class T>
void set_step(Tensor<T, 3>& y, index_t t, const T* x) {
  for (index_t b = 0; b < y.extent(0); ++b)
    std::copy_n(x + b * y.extent(2), y.extent(2), y.data() + (b * y.extent(1) + t) * y.extent(2));
}

/// Logits of every token, one step at a time.
template <class T>
Tensor<T, 3> stream(const Mamba<T>& model, const Tensor<std::int64_t, 2>& ids,
                    const Tensor<T, 2>& mask, MambaState<T>& state) {
  Tensor<T, 3> logits({ids.extent(0), ids.extent(1), model.config().vocab_size});
  for (index_t t = 0; t < ids.extent(1); ++t) {
    const Tensor<T, 2> now = mask.defined() ? slice(mask, 1, t, t + 1) : Tensor<T, 2>{};
    set_step(logits, t, model.forward(columns(ids, t, t + 1), &state, now).span().data());
  }
  return logits;
}

template <class T>
void put_states(CaseIo<T>& io, const std::string& prefix, const MambaState<T>& state) {
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    io.put(prefix + "conv_state." + std::to_string(i), state.layers[i].conv_state);
    io.put(prefix + "ssm_state." + std::to_string(i), state.layers[i].ssm_state);
  }
}

}  // namespace

template <class T>
void run_mamba(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
               const RunOptions& options) {
  auto model = load_model<Mamba<T>>(dir);
  io.trace(model, options);
  const auto ids = io.template integers<std::int64_t, 2>("input_ids");
  Tensor<T, 2> mask;
  if (io.has("attention_mask")) {
    const auto given = io.template integers<std::int64_t, 2>("attention_mask");
    for (const std::int64_t m : given.span())
      if (m != 0 && m != 1)
        throw LoadError(io.label() + ": 'input.attention_mask': expected 0 or 1, found " +
                        std::to_string(m));
    mask = given.template cast<T>();
  }

  auto state = model.initial_state(ids.extent(0));
  if (options.stream) {
    io.put("logits", stream(model, ids, mask, state));
  } else {
    io.put("logits", model.forward(ids, &state, mask));
  }
  put_states(io, "", state);
  if (!mask.defined()) {
    auto fresh = model.initial_state(ids.extent(0));
    io.put("stream_logits", stream(model, ids, mask, fresh));
  }

  if (io.has("prompt")) {
    const auto prompt = io.template integers<std::int64_t, 2>("prompt");
    auto after = model.initial_state(prompt.extent(0));
    if (options.stream) {
      stream(model, prompt, Tensor<T, 2>{}, after);
    } else {
      model.forward(prompt, &after);
    }
    put_states(io, "prompt_", after);
    GenerateOptions generation;
    generation.max_length =
        options.generate_length > 0
            ? options.generate_length
            : config.get_int("max_length", prompt.extent(1) + 9, prompt.extent(1) + 1, 1 << 30);
    io.put("generated", generate(model, prompt, generation));
  }

  if (!io.has("target")) return;
  if (options.grad) set_requires_grad(model);
  Tape tape;
  const Tensor<T, 0> loss =
      mse_loss(model.forward(ids, nullptr, mask), io.template get<3>("target"));
  io.put("loss", loss);
  if (options.grad) io.put_gradients(tape.gradients(loss), model);
}

template <class T>
void run_mamba_mixer(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                     const RunOptions& options) {
  const auto sizes = MambaMixerConfig::read(config, config.get_int("d_model", 1, index_t{1} << 20));
  const WeightsSource weights = open_weights(dir);
  check_size(sizes.parameter_count(), weights);
  MambaMixer<T> mixer(sizes);
  load_weights(mixer, weights);
  prepare(mixer);
  auto x = io.template get<3>("hidden_states");
  auto state = mixer.initial_state(x.extent(0));
  const auto step_through = [&](const Tensor<T, 3>& v) {
    Tensor<T, 3> y(v.shape());
    for (index_t t = 0; t < v.extent(1); ++t)
      set_step(y, t, mixer.forward(slice(v, 1, t, t + 1), &state).span().data());
    return y;
  };
  io.put("y", options.stream ? step_through(x) : mixer.forward(x, &state));
  io.put("conv_state", state.conv_state);
  io.put("ssm_state", state.ssm_state);
  if (io.has("next")) {
    io.put("next_y", step_through(io.template get<3>("next")));
    io.put("next_conv_state", state.conv_state);
    io.put("next_ssm_state", state.ssm_state);
  }
  if (!io.has("target")) return;
  if (options.grad) {
    set_requires_grad(mixer);
    x.set_requires_grad();
  }
  Tape tape;
  const Tensor<T, 0> loss = mse_loss(mixer.forward(x), io.template get<3>("target"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradients(g, mixer);
  io.put_gradient("input.hidden_states", g, x);
}

namespace {

const RegisterModel registered[] = {
    {"mamba", "arXiv 2312.00752", "language modelling and generation", true, true,
     SEQUIN_CLI_RUN(run_mamba)},
    {"blocks/mamba_mixer", "arXiv 2312.00752", "the mixer of Mamba", true, true,
     SEQUIN_CLI_RUN(run_mamba_mixer)}};

}  // namespace

}  // namespace sequin_cli
