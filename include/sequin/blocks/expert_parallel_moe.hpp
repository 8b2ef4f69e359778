/// SparseMoe with its experts spread over processes.
#pragma once

#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/ops/expert_exchange.hpp"

#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What SparseMoe computes, in n processes of which each has 1 / n of the experts and brings tokens
/// of its own: they travel to their experts and back (Lepikhin et al., "GShard", arXiv 2006.16668).
/// Router and shared expert are alike on all ranks. All ranks call `forward` and go backward
/// together. The gradients of the experts are those of all ranks' tokens; those of the router and
/// the shared expert are of this rank's and are to be summed over the ranks, as `train` does.
template <Scalar T>
class ExpertParallelMoe {
 public:
  using value_type = T;

  Linear<T> gate;
  std::vector<SwiGLU<T>> experts;  ///< of this rank, in order
  SwiGLU<T> shared_expert;
  Linear<T> shared_expert_gate;

  /// `replicas` outlives the block. All weights zero: load or draw them. Throws ConfigError when
  /// a size is impossible or there are fewer experts than ranks.
  ExpertParallelMoe(const SparseMoeConfig& c, Replicas& replicas)
      : gate(c.hidden_size, c.num_experts, false), config_(c), replicas_(&replicas) {
    c.check();
    if (c.num_experts < replicas.size())
      throw ConfigError("ExpertParallelMoe: num_experts is " + std::to_string(c.num_experts) +
                        ", expected one each at least for " + std::to_string(replicas.size()) +
                        " ranks");
    for (index_t e = first(replicas.rank()); e < first(replicas.rank() + 1); ++e)
      experts.emplace_back(c.hidden_size, c.expert_width(), c.activation);
    if (!c.shared_expert) return;
    shared_expert = SwiGLU<T>(c.hidden_size, c.intermediate_size, c.activation);
    shared_expert_gate = Linear<T>(c.hidden_size, 1, false);
  }

  const SparseMoeConfig& config() const noexcept { return config_; }

  /// x (..., D), this rank's -> (..., D); `routing`, unless null, gets what was decided about each
  /// row. Throws ShapeError.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x, Routing<T>* routing = nullptr) const {
    const Tensor<T, 2> tokens = reshape<2>(x, {x.rows(), x.cols()});
    Routing<T> r = route(gate.forward(tokens), config_.num_experts_per_tok, config_.norm_topk_prob);
    const ExpertExchange exchange(*replicas_, r.selected_experts, config_.num_experts);
    const ExpertPlan& here = exchange.here();
    const Tensor<T, 2> guests = send_tokens(tokens, exchange);
    const Tensor<T, 2> ones({here.tokens(), 1}, T{1});
    Tensor<T, 2> made(guests.shape());
    for (index_t e = 0; e < here.experts(); ++e) {
      const NoProbe<T> guests_too;  // not this rank's tokens alone
      const SwiGLU<T>& expert = experts[static_cast<std::size_t>(e)];
      // Recorded even without tokens, as in SparseMoe.
      if (here.count(e) == 0 && recording(guests, expert.down_proj.weight) == nullptr) continue;
      made = add_expert(std::move(made), expert.forward(gather_tokens(guests, here, e)), ones, here,
                        e);
    }
    Tensor<T, 2> y = config_.shared_expert
                         ? mul(shared_expert.forward(tokens),
                               shared_expert_gate.forward(tokens, Activation::sigmoid))
                         : Tensor<T, 2>(tokens.shape());
    y = return_tokens(std::move(y), made, r.routing_weights, exchange);
    if (routing != nullptr) *routing = std::move(r);
    return probe(*this, reshape<Rank>(y, x.shape()));
  }

  /// The weights that SparseMoe::initialize draws, of which this rank keeps its own.
  void initialize(Generator& generator) {
    gate.initialize(generator);
    SwiGLU<T> other(config_.hidden_size, config_.expert_width(), config_.activation);
    for (index_t e = 0; e < config_.num_experts; ++e) {
      const index_t own = e - first(replicas_->rank());
      const bool mine = own >= 0 && own < static_cast<index_t>(experts.size());
      (mine ? experts[static_cast<std::size_t>(own)] : other).initialize(generator);
    }
    if (!config_.shared_expert) return;
    shared_expert.initialize(generator);
    shared_expert_gate.initialize(generator);
  }

  /// The names of SparseMoe; other ranks' experts are elsewhere.
  void visit(Visitor<T>& v) {
    v.child("gate", gate);
    const index_t in = config_.hidden_size, inner = config_.expert_width();
    for (index_t rank = 0; rank < replicas_->size(); ++rank)
      for (index_t e = first(rank); e < first(rank + 1); ++e) {
        const std::string name = "experts." + std::to_string(e);
        if (rank == replicas_->rank()) {
          v.child_of(rank, name, experts[static_cast<std::size_t>(e - first(rank))]);
          continue;
        }
        v.elsewhere(rank, name + ".gate_proj.weight", Shape<2>{inner, in});
        v.elsewhere(rank, name + ".up_proj.weight", Shape<2>{inner, in});
        v.elsewhere(rank, name + ".down_proj.weight", Shape<2>{in, inner});
      }
    if (!config_.shared_expert) return;
    v.child("shared_expert", shared_expert);
    v.child("shared_expert_gate", shared_expert_gate);
  }

 private:
  index_t first(index_t rank) const noexcept {
    return ExpertExchange::first(config_.num_experts, rank, replicas_->size());
  }

  SparseMoeConfig config_;
  Replicas* replicas_;
};

}  // namespace sequin::inline SEQUIN_ABI
