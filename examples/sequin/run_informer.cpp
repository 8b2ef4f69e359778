// Informer's cases: one encoder, a stack, and the form of the Time-Series-Library.
#include "adam_run.hpp"
#include "models.hpp"
#include "sampled_keys.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/ops/loss.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

/// "attns.0", or "attns.encoder.layer" of a stack.
std::vector<std::string> map_names(const InformerConfig& c) {
  std::vector<std::string> names;
  std::size_t encoder = 0;
  for (const index_t layers : c.encoders()) {
    const std::string prefix =
        c.form == InformerConfig::Form::stack ? std::to_string(encoder++) + "." : "";
    for (index_t l = 0; l < layers; ++l) names.push_back("attns." + prefix + std::to_string(l));
  }
  return names;
}

}  // namespace

template <class T>
void run_informer(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                  const RunOptions& options) {
  if (options.stream)
    throw ConfigError(dir.string() + ": --stream: expected a causal model, found Informer, which " +
                      "sees its whole window at once");
  auto model = load_model<Informer<T>>(dir);
  io.trace(model, options);
  const InformerConfig& c = model.config();
  auto x = io.template get<3>("x_enc");
  const bool forecasts = c.forecasts();
  auto x_dec = forecasts ? io.template get<3>("x_dec") : Tensor<T, 3>{};
  const bool classifies = c.task == InformerConfig::Task::classification;
  auto marks = classifies ? Tensor<T, 3>{} : io.template maybe<3>("x_mark_enc");
  auto marks_dec = forecasts ? io.template maybe<3>("x_mark_dec") : Tensor<T, 3>{};
  auto padding_mask = classifies ? io.template get<2>("padding_mask") : Tensor<T, 2>{};
  const auto want = [](bool on, auto&... inputs) {
    ((inputs.defined() ? void(inputs.set_requires_grad(on)) : void()), ...);
  };
  if (options.grad) {
    set_requires_grad(model);
    want(true, x, x_dec, marks, marks_dec, padding_mask);
  }

  SampledKeys sampled(io);
  Generator generator;
  const bool training = config.get_string("mode", "eval") == "train";
  const auto fresh_context = [&] {
    ForwardContext<T> context;
    if (training) context.dropout_generator = &generator;
    context.key_sampler = sampled.start();
    return context;
  };
  std::vector<Tensor<T, 4>> maps;
  ForwardContext<T> context = fresh_context();
  if (c.output_attention) context.attention_maps = &maps;

  const auto finish = [&](const char* name, const auto& predict, const auto& target) {
    std::optional<Tape> tape;
    if (options.grad) tape.emplace();
    const auto y = predict(context);
    io.put(name, y);
    const std::vector<std::string> names = map_names(c);
    for (std::size_t l = 0; l < maps.size(); ++l) io.put(names[l], maps[l]);
    if (training) io.put_running_buffers(model);
    if (!target.defined()) return;
    const Tensor<T, 0> loss = mse_loss(y, target);
    io.put("loss", loss);
    if (options.grad) {
      const Gradients g = tape->gradients(loss);
      io.put_gradients(g, model);
      io.put_gradient("input.x_enc", g, x);
      io.put_gradient("input.x_dec", g, x_dec);
      io.put_gradient("input.x_mark_enc", g, marks);
      io.put_gradient("input.x_mark_dec", g, marks_dec);
      io.put_gradient("input.padding_mask", g, padding_mask);
    }
    tape.reset();
    if (!config.has("train_losses")) return;
    set_requires_grad(model);
    want(false, x, x_dec, marks, marks_dec, padding_mask);
    io.put("train_losses", adam_run(model, config.section("train_losses"),
                                    [&] { return mse_loss(predict(fresh_context()), target); }));
  };
  if (classifies)
    finish(
        "logits", [&](const auto& how) { return model.classify(x, padding_mask, how); },
        io.template maybe<2>("target"));
  else
    finish(
        "dec_out", [&](const auto& how) { return model.forward(x, marks, x_dec, marks_dec, how); },
        io.template maybe<3>("target"));
}

namespace {

const RegisterModel registered[] = {
    {"informer", "arXiv 2012.07436 (AAAI 2021)", "long forecasts in one pass", false, true,
     SEQUIN_CLI_RUN(run_informer)},
    {"informerstack", "arXiv 2012.07436 (AAAI 2021)", "the same with a stack of encoders", false,
     true, SEQUIN_CLI_RUN(run_informer)},
    {"informer_tslib", "arXiv 2012.07436 (AAAI 2021)",
     "forecasting, imputation, anomalies, classification", false, true,
     SEQUIN_CLI_RUN(run_informer)}};

}  // namespace

}  // namespace sequin_cli
