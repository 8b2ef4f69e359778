// Cases of the blocks that mixtures of experts are made of.
#include "models.hpp"

#include "sequin/blocks/norm.hpp"
#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/load_balancing.hpp"
#include "sequin/ops/loss.hpp"

#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kMax = index_t{1} << 20;

void refuse_stream(const Config& config, const RunOptions& options) {
  if (options.stream)
    throw ConfigError(config.label() +
                      ": --stream: expected a block with a streaming form, found " +
                      config.get_string("model", ""));
}

/// What `make` makes, filled from the weights of the folder, if these are of that size.
template <class Make>
auto load_block(double size, const std::filesystem::path& dir, Make&& make) {
  const WeightsSource weights = open_weights(dir);
  check_size(size, weights);
  auto block = make();
  load_weights(block, weights);
  prepare(block);
  return block;
}

/// Loss and gradients of a block with one input and one output.
template <class T, class Block, std::size_t Rank, class Forward>
void run_block(CaseIo<T>& io, Block& block, const std::string& name, Tensor<T, Rank> x,
               const RunOptions& options, Forward&& forward) {
  if (options.grad) {
    x.set_requires_grad();
    set_requires_grad(block);
  }
  Tape tape;
  const Tensor<T, Rank> y = forward(x);
  io.put(name, y);
  if (!io.has("target")) return;
  const Tensor<T, 0> loss = mse_loss(y, io.template get<Rank>("target"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradients(g, block);
  io.put_gradient("input." + name, g, x);
}

/// The same for an input of any number of axes.
template <class T, class Block>
void run_rowwise(CaseIo<T>& io, Block& block, const std::string& name, const RunOptions& options) {
  const auto forward = [&](const auto& x) { return block.forward(x); };
  switch (io.rank(name)) {
    case 1:
      return run_block(io, block, name, io.template get<1>(name), options, forward);
    case 2:
      return run_block(io, block, name, io.template get<2>(name), options, forward);
    case 4:
      return run_block(io, block, name, io.template get<4>(name), options, forward);
    default:
      return run_block(io, block, name, io.template get<3>(name), options, forward);
  }
}

}  // namespace

template <class T>
void run_swiglu(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                const RunOptions& options) {
  refuse_stream(config, options);
  const index_t width = config.get_int("hidden_size", 1, kMax);
  const index_t inner = config.get_int("intermediate_size", 1, kMax);
  const bool bias = config.get_bool("bias", false);
  const Activation activation =
      activation_named(config.get_string("hidden_act", "silu"), config.label() + ": hidden_act");
  auto block = load_block(3 * static_cast<double>(width) * static_cast<double>(inner), dir,
                          [&] { return SwiGLU<T>(width, inner, activation, bias); });
  run_rowwise(io, block, "hidden_state", options);
}

template <class T>
void run_rms_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                  const RunOptions& options) {
  refuse_stream(config, options);
  const index_t width = config.get_int("hidden_size", 1, kMax);
  const double eps = config.get_double("rms_norm_eps", 1e-6, 0.0, 1.0);
  auto block = load_block(static_cast<double>(width), dir, [&] { return RMSNorm<T>(width, eps); });
  run_rowwise(io, block, "hidden_states", options);
}

template <class T>
void run_moe_topk_router(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                         const RunOptions& options) {
  refuse_stream(config, options);
  SparseMoeConfig c;
  c.hidden_size = config.get_int("hidden_size", 1, kMax);
  c.intermediate_size = config.get_int("intermediate_size", 1, kMax);
  c.num_experts = config.get_int("num_experts", 1, kMax);
  c.num_experts_per_tok = config.get_int("num_experts_per_tok", 1, c.num_experts);
  c.norm_topk_prob = config.get_bool("norm_topk_prob", false);
  c.shared_expert = config.get_bool("shared_expert", true);
  c.activation =
      activation_named(config.get_string("hidden_act", "silu"), config.label() + ": hidden_act");
  auto block = load_block(c.parameter_count(), dir, [&] { return SparseMoe<T>(c); });
  Routing<T> routing;
  run_block(io, block, "hidden_states", io.template get<3>("hidden_states"), options,
            [&](const Tensor<T, 3>& x) { return block.forward(x, &routing); });
  io.put("router_logits", routing.router_logits);
  io.put("routing_weights", routing.routing_weights);
  io.put("selected_experts", routing.selected_experts);
}

template <class T>
void run_load_balancing_loss(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                             const RunOptions& options) {
  refuse_stream(config, options);
  const index_t layers = config.get_int("num_hidden_layers", 1, 4096);
  std::vector<Tensor<T, 2>> logits;
  for (index_t i = 0; i < layers; ++i) {
    logits.push_back(io.template get<2>("gate_logits." + std::to_string(i)));
    if (options.grad) logits.back().set_requires_grad();
  }
  Tensor<T, 1> mask;
  if (io.has("attention_mask")) {
    const auto given = io.template integers<std::int64_t, 2>("attention_mask");
    mask = given.template cast<T>().template reshaped<1>({given.size()});
  }
  Tape tape;
  const Tensor<T, 0> aux =
      load_balancing_loss<T>(logits, config.get_int("num_experts_per_tok", 1, kMax), mask);
  io.put("aux_loss", aux);
  if (!io.has("target")) return;
  const Tensor<T, 0> loss = mse_loss(aux, io.template get<0>("target"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  for (index_t i = 0; i < layers; ++i)
    io.put_gradient("input.gate_logits." + std::to_string(i), g,
                    logits[static_cast<std::size_t>(i)]);
}

namespace {

const RegisterModel registered[] = {
    {"blocks/swiglu", "arXiv 2002.05202", "gated feed-forward block", false, true,
     SEQUIN_CLI_RUN(run_swiglu)},
    {"blocks/rms_norm", "arXiv 1910.07467", "normalisation by the root mean square", false, true,
     SEQUIN_CLI_RUN(run_rms_norm)},
    {"blocks/moe_topk_router", "arXiv 2409.16040 (ICLR 2025)", "mixture of experts", false, true,
     SEQUIN_CLI_RUN(run_moe_topk_router)},
    {"blocks/load_balancing_loss", "arXiv 2409.16040 (ICLR 2025)", "spreads tokens over experts",
     false, true, SEQUIN_CLI_RUN(run_load_balancing_loss)}};

}  // namespace

}  // namespace sequin_cli
