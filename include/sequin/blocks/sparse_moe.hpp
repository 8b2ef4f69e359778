/// A mixture of experts: each token is computed by the few that its router chooses.
#pragma once

#include "sequin/blocks/swiglu.hpp"
#include "sequin/ops/expert_dispatch.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/ops/softmax.hpp"
#include "sequin/ops/top_k.hpp"

#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a SparseMoe.
struct SparseMoeConfig {
  index_t hidden_size = 0;
  index_t intermediate_size = 0;  ///< of the shared expert; the others have 1 / k of it, floored
  index_t num_experts = 1;
  index_t num_experts_per_tok = 1;
  bool norm_topk_prob = false;  ///< the k weights are divided by their sum
  bool shared_expert = true;
  Activation activation = Activation::silu;

  index_t expert_width() const noexcept { return intermediate_size / num_experts_per_tok; }

  /// Throws ConfigError when a size is impossible.
  void check() const {
    if (num_experts_per_tok < 1 || num_experts_per_tok > num_experts)
      throw ConfigError("SparseMoe: num_experts_per_tok is " + std::to_string(num_experts_per_tok) +
                        ", expected 1 to num_experts = " + std::to_string(num_experts));
    if (expert_width() < 1)
      throw ConfigError(
          "SparseMoe: intermediate_size is " + std::to_string(intermediate_size) +
          ", expected at least num_experts_per_tok = " + std::to_string(num_experts_per_tok));
  }

  double parameter_count() const {
    const auto d = static_cast<double>(hidden_size);
    const auto experts = static_cast<double>(num_experts);
    return d * experts * (1 + 3 * static_cast<double>(expert_width())) +
           (shared_expert ? d * (1 + 3 * static_cast<double>(intermediate_size)) : 0);
  }
};

/// What a router decided about N tokens.
template <Scalar T>
struct Routing {
  Tensor<T, 2> router_logits;                ///< (N, X)
  Tensor<T, 2> routing_weights;              ///< (N, k), descending
  Tensor<std::int64_t, 2> selected_experts;  ///< (N, k)
};

/// weights and experts of tokens from router logits (N, X): the k largest of softmax(logits),
/// divided by their sum if `normalize`. Throws ShapeError unless k <= X.
template <Scalar T>
Routing<T> route(const Tensor<T, 2>& router_logits, index_t k, bool normalize) {
  const TopK<T> top = top_k(softmax(router_logits), k);
  return {router_logits, normalize ? div(top.values, sum(top.values, 1, keep_axis)) : top.values,
          top.indices};
}

/// `TimeMoeSparseExpertsLayer` of Time-MoE (after Qwen2-MoE):
/// y = sum over the chosen of weight_j expert_j(x) + sigmoid(shared_expert_gate x)
/// shared_expert(x). Each expert gathers its tokens and computes them together, so that the cost
/// follows the experts that are chosen, not those that exist. The weights of one that no token
/// chose have a gradient of zeros, as in the official code (Adam moves them by their moments).
template <Scalar T>
class SparseMoe {
 public:
  using value_type = T;

  Linear<T> gate;
  std::vector<SwiGLU<T>> experts;
  SwiGLU<T> shared_expert;
  Linear<T> shared_expert_gate;

  SparseMoe() = default;
  /// Throws ConfigError when a size is impossible.
  explicit SparseMoe(const SparseMoeConfig& c)
      : gate(c.hidden_size, c.num_experts, false), config_(c) {
    c.check();
    experts.reserve(static_cast<std::size_t>(c.num_experts));
    for (index_t e = 0; e < c.num_experts; ++e)
      experts.emplace_back(c.hidden_size, c.expert_width(), c.activation);
    if (!c.shared_expert) return;
    shared_expert = SwiGLU<T>(c.hidden_size, c.intermediate_size, c.activation);
    shared_expert_gate = Linear<T>(c.hidden_size, 1, false);
  }

  const SparseMoeConfig& config() const noexcept { return config_; }

  /// x (..., D) -> (..., D); `routing`, unless null, gets what was decided about each row.
  /// Throws ShapeError. Real-time safe under an arena.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x, Routing<T>* routing = nullptr) const {
    const Tensor<T, 2> tokens = reshape<2>(x, {x.rows(), x.cols()});
    Routing<T> r = route(gate.forward(tokens), config_.num_experts_per_tok, config_.norm_topk_prob);
    const ExpertPlan plan(r.selected_experts, config_.num_experts);
    Tensor<T, 2> y = config_.shared_expert
                         ? mul(shared_expert.forward(tokens),
                               shared_expert_gate.forward(tokens, Activation::sigmoid))
                         : Tensor<T, 2>(tokens.shape());
    for (index_t e = 0; e < plan.experts(); ++e) {
      const NoProbe<T> sorted;  // an expert has its tokens in another order than officially
      const SwiGLU<T>& expert = experts[static_cast<std::size_t>(e)];
      // Recorded even without tokens: its gradients are zeros then, not missing.
      if (plan.count(e) == 0 && recording(tokens, expert.down_proj.weight) == nullptr) continue;
      const Tensor<T, 2> made = expert.forward(gather_tokens(tokens, plan, e));
      y = add_expert(std::move(y), made, r.routing_weights, plan, e);
    }
    if (routing != nullptr) *routing = std::move(r);
    return probe(*this, reshape<Rank>(y, x.shape()));
  }

  void initialize(Generator& generator) {
    gate.initialize(generator);
    for (auto& expert : experts) expert.initialize(generator);
    if (!config_.shared_expert) return;
    shared_expert.initialize(generator);
    shared_expert_gate.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("gate", gate);
    v.children("experts", experts);
    if (!config_.shared_expert) return;
    v.child("shared_expert", shared_expert);
    v.child("shared_expert_gate", shared_expert_gate);
  }

 private:
  SparseMoeConfig config_;
};

}  // namespace sequin::inline SEQUIN_ABI
