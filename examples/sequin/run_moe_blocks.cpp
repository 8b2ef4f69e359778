// Cases of the blocks that mixtures of experts are made of.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/load_balancing.hpp"

#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kMax = index_t{1} << 20;

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
  run_rowwise(io, block, "hidden_state", "hidden_state", options);
}

template <class T>
void run_rms_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                  const RunOptions& options) {
  refuse_stream(config, options);
  const index_t width = config.get_int("hidden_size", 1, kMax);
  const double eps = config.get_double("rms_norm_eps", 1e-6, 0.0, 1.0);
  auto block = load_block(static_cast<double>(width), dir, [&] { return RMSNorm<T>(width, eps); });
  run_rowwise(io, block, "hidden_states", "hidden_states", options);
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
  run_block<T, 3>(io, block, "hidden_states", "hidden_states", options,
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
    if (config.has("num_experts") && logits[0].extent(1) != config.get_int("num_experts", 1, kMax))
      throw LoadError(io.label() + ": 'input.gate_logits.0': expected [N, " +
                      std::to_string(config.get_int("num_experts", 1, kMax)) + "], found " +
                      to_string(logits[0].shape()) + " (num_experts of the config)");
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
  const auto g = put_loss(io, options, tape, aux);
  if (!g) return;
  for (index_t i = 0; i < layers; ++i)
    io.put_gradient("input.gate_logits." + std::to_string(i), *g,
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
