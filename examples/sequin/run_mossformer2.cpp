// MossFormer2's cases.
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/mossformer2_decode.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/ops/permutation_loss.hpp"

namespace sequin_cli {

using namespace sequin;

template <class T>
void run_mossformer2(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                     const RunOptions& options) {
  if (options.stream)
    throw ConfigError(dir.string() + ": --stream: expected a causal model, found MossFormer2, " +
                      "whose norms and convolutions see the whole utterance");
  auto model = load_model<MossFormer2<T>>(dir);
  io.trace(model, options);
  const MossFormer2Config& c = model.config();
  if (c.decodes_in_segments) {
    const auto mixture = io.template get<2>("mixture");
    if (mixture.extent(0) != 1)
      throw ShapeError("mixture is " + to_string(mixture.shape()) + ", expected [1, T]");
    io.put("decoded", decode_official(model, reshape<1>(mixture, {mixture.extent(1)})));
    return;
  }
  const auto target = io.template maybe<3>("target");
  std::optional<Tape> tape;
  if (options.grad) {
    set_requires_grad(model);
    tape.emplace();
  }
  const auto finish = [&](const Tensor<T, 0>& loss, const std::string& name, const auto& x) {
    io.put("loss", loss);
    if (!options.grad) return;
    const Gradients g = tape->gradients(loss);
    io.put_gradients(g, model);
    io.put_gradient("input." + name, g, x);
  };
  if (!c.separates()) {
    const bool mel = c.layout == MossFormer2Config::Layout::clearervoice_sr48k;
    const std::string name = mel ? "mel" : "fbank";
    auto x = io.template get<3>(name);
    if (options.grad) x.set_requires_grad();
    const Tensor<T, 3> y = model.mask(x);
    io.put(mel ? "mel" : "mask", y);
    if (target.defined()) finish(mse_loss(y, target), name, x);
    return;
  }
  auto x = io.template get<2>("mixture");
  if (options.grad) x.set_requires_grad();
  const Tensor<T, 3> y = model.separate(x);
  io.put("est_source", y);
  if (!target.defined()) return;
  // Recorded cases say in a note when the loss is the permutation-invariant one.
  if (config.get_string("note", "").find("PIT") == std::string::npos)
    return finish(mse_loss(y, target), "mixture", x);
  const auto pit =
      permutation_loss(neg(si_sdr_pairwise(transpose(y, 1, 2), transpose(target, 1, 2))));
  io.put("loss_per_item", pit.loss);
  io.put("perm", pit.source_of_estimate);
  finish(mean(pit.loss), "mixture", x);
}

namespace {

const RegisterModel registered[] = {{"mossformer2", "arXiv 2312.11825 (ICASSP 2024)",
                                     "separating speakers, enhancing speech", false, true,
                                     SEQUIN_CLI_RUN(run_mossformer2)}};

}  // namespace

}  // namespace sequin_cli
