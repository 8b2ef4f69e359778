// iTransformer's cases.
#include "adam_run.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/ops/loss.hpp"

namespace sequin_cli {

using namespace sequin;

template <class T>
void run_itransformer(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                      const RunOptions& options) {
  if (options.stream)
    throw ConfigError(dir.string() +
                      ": --stream: expected a causal model, found iTransformer, which " +
                      "sees its whole window at once");
  auto model = load_model<ITransformer<T>>(dir);
  io.trace(model, options);
  const ITransformerConfig& c = model.config();
  auto x = io.template get<3>("x_enc");
  auto marks = io.template maybe<3>("x_mark_enc");
  if (options.grad) {
    set_requires_grad(model);
    x.set_requires_grad();
    if (marks.defined()) marks.set_requires_grad();
  }
  std::vector<Tensor<T, 4>> maps;
  ForwardContext<T> context;
  if (c.output_attention) context.attention_maps = &maps;

  std::optional<Tape> tape;
  if (options.grad) tape.emplace();
  const auto finish = [&](const auto& output, const auto& target) {
    if (!target.defined()) return;
    const Tensor<T, 0> loss = mse_loss(output, target);
    io.put("loss", loss);
    if (!options.grad) return;
    const Gradients g = tape->gradients(loss);
    io.put_gradients(g, model);
    io.put_gradient("input.x_enc", g, x);
    io.put_gradient("input.x_mark_enc", g, marks);
  };
  const auto train = [&](const auto& target, const auto& loss) {
    if (!target.defined() || !config.has("train_losses")) return;
    set_requires_grad(model);
    x.set_requires_grad(false);
    if (marks.defined()) marks.set_requires_grad(false);
    io.put("train_losses", adam_run(model, config.section("train_losses"), loss));
  };
  if (c.task == ITransformerConfig::Task::classification) {
    const auto logits = model.classify(x, context);
    io.put("logits", logits);
    const auto target = io.template maybe<2>("target");
    finish(logits, target);
    tape.reset();
    train(target, [&] { return mse_loss(model.classify(x), target); });
    return;
  }
  const auto y = model.forward(x, marks, context);
  io.put("dec_out", y);
  for (std::size_t l = 0; l < maps.size(); ++l) io.put("attns." + std::to_string(l), maps[l]);
  const auto target = io.template maybe<3>("target");
  finish(y, target);
  tape.reset();
  train(target, [&] { return mse_loss(model.forward(x, marks), target); });
}

namespace {

const RegisterModel registered[] = {
    {"itransformer", "arXiv 2310.06625 (ICLR 2024)", "forecasting many series at once", false, true,
     SEQUIN_CLI_RUN(run_itransformer)},
    {"itransformer_tslib", "arXiv 2310.06625 (ICLR 2024)",
     "forecasting, imputation, anomalies, classification", false, true,
     SEQUIN_CLI_RUN(run_itransformer)}};

}  // namespace

}  // namespace sequin_cli
