// The cases of the causal MossFormer2.
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/ops/loss.hpp"

#include <optional>

namespace sequin_cli {

using namespace sequin;

namespace {

/// What `separate` gives, a hop at a time.
template <class T>
Tensor<T, 3> stream(const CausalMossFormer2<T>& model, const Tensor<T, 2>& mixture) {
  const index_t hop = model.stream_width(), batch = mixture.extent(0), length = mixture.extent(1);
  const index_t speakers = model.config().num_spks;
  auto state = model.initial_state(batch);
  Tensor<T, 3> y({batch, length, speakers});
  Tensor<T, 2> now({batch, hop});
  for (index_t first = 0; first < length + hop; first += hop) {
    for (index_t b = 0; b < batch; ++b)
      for (index_t t = 0; t < hop; ++t)
        now(b, t) = first + t < length ? mixture(b, first + t) : T{0};
    const Tensor<T, 2> made = model.step(std::as_const(now).span(), state);
    for (index_t b = 0; b < batch; ++b)
      for (index_t t = 0; t < hop; ++t)
        for (index_t s = 0; s < speakers; ++s)
          if (const index_t at = first - hop + t; at >= 0 && at < length)
            y(b, at, s) = made(b, t * speakers + s);
  }
  return y;
}

}  // namespace

template <class T>
void run_causal_mossformer2(CaseIo<T>& io, const Config&, const std::filesystem::path& dir,
                            const RunOptions& options) {
  auto model = load_model<CausalMossFormer2<T>>(dir);
  io.trace(model, options);
  const auto target = io.template maybe<3>("target");
  auto x = io.template get<2>("mixture");
  std::optional<Tape> tape;
  if (options.grad && !options.stream) {
    set_requires_grad(model);
    x.set_requires_grad();
    tape.emplace();
  }
  const Tensor<T, 3> y = options.stream ? stream(model, x) : model.separate(x);
  io.put("est_source", y);
  if (!target.defined()) return;
  const Tensor<T, 0> loss = mse_loss(y, target);
  io.put("loss", loss);
  if (!tape) return;
  const Gradients g = tape->gradients(loss);
  io.put_gradients(g, model);
  io.put_gradient("input.mixture", g, x);
}

namespace {

const RegisterModel registered[] = {{"causal_mossformer2", "ours, after arXiv 2312.11825",
                                     "separating speakers while they speak", true, true,
                                     SEQUIN_CLI_RUN(run_causal_mossformer2)}};

}  // namespace

}  // namespace sequin_cli
