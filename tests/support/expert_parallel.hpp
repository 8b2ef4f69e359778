// ExpertParallelMoe on some ranks against SparseMoe on all of their tokens.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/expert_parallel_moe.hpp"

#include "support/tensors.hpp"

#include <algorithm>
#include <vector>

namespace sequin_test {

/// The largest differences of this rank's results; all ranks call it. Rank r brings counts[r]
/// tokens.
struct ExpertParallelErrors {
  double output = 0, input_gradient = 0, expert_gradients = 0, router_gradient = 0,
         shared_gradient = 0;
};

inline ExpertParallelErrors expert_parallel_errors(sequin::Replicas& replicas,
                                                   const sequin::SparseMoeConfig& config,
                                                   const std::vector<index_t>& counts) {
  using namespace sequin;
  const auto rank = static_cast<std::size_t>(replicas.rank());
  index_t total = 0, begin = 0;
  for (std::size_t r = 0; r < counts.size(); ++r) {
    if (r == rank) begin = total;
    total += counts[r];
  }
  const index_t end = begin + counts[rank];
  SparseMoe<double> whole(config);
  ExpertParallelMoe<double> parallel(config, replicas);
  Generator generator(3), again(3);
  whole.initialize(generator);
  parallel.initialize(again);
  set_requires_grad(whole);
  set_requires_grad(parallel);

  const index_t width = config.hidden_size;
  auto x = wavy<double, 2>({total, width}, 0.4, 2);
  const auto dy = wavy<double, 2>({total, width}, 1.1);
  auto mine = slice(x, 0, begin, end);
  x.set_requires_grad();
  mine.set_requires_grad();
  ExpertParallelErrors errors;
  Tape of_whole;
  const Tensor<double, 2> y = whole.forward(x);
  const Gradients g = of_whole.gradients(y, dy);
  Tape of_mine;
  const Tensor<double, 2> y_mine = parallel.forward(mine);
  const Gradients g_mine = of_mine.gradients(y_mine, slice(dy.detach(), 0, begin, end));
  const NoGrad no_grad;
  errors.output = largest_difference(slice(y.detach(), 0, begin, end), y_mine.detach());
  errors.input_gradient = largest_difference(slice(g.of(x), 0, begin, end), g_mine.of(mine));
  const index_t first = ExpertExchange::first(config.num_experts, replicas.rank(), replicas.size());
  for (std::size_t e = 0; e < parallel.experts.size(); ++e) {
    const auto& a = whole.experts[static_cast<std::size_t>(first) + e];
    const auto& b = parallel.experts[e];
    for (const auto map :
         {&SwiGLU<double>::gate_proj, &SwiGLU<double>::up_proj, &SwiGLU<double>::down_proj})
      errors.expert_gradients =
          (std::max)(errors.expert_gradients,
                     g_mine.has((b.*map).weight)
                         ? largest_difference(g.of((a.*map).weight), g_mine.of((b.*map).weight))
                         : INFINITY);
  }
  const auto summed = [&](const Tensor<double, 2>& a, const Tensor<double, 2>& b) {
    Tensor<double, 2> sum = g_mine.of(b).clone();
    replicas.sum(sum.span());
    return largest_difference(g.of(a), sum);
  };
  errors.router_gradient = summed(whole.gate.weight, parallel.gate.weight);
  if (config.shared_expert)
    errors.shared_gradient =
        summed(whole.shared_expert.up_proj.weight, parallel.shared_expert.up_proj.weight);
  return errors;
}

}  // namespace sequin_test
