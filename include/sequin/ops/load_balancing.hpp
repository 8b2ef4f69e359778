/// The auxiliary loss that spreads tokens evenly over experts.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/replicas.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/ops/softmax.hpp"
#include "sequin/ops/top_k.hpp"

#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// X * sum over e of F[e] P[e]: P[e] the mean softmax probability of expert e, F[e] the mean number
/// of times that it is among a token's k choices, both over the tokens of all layers. Perfect
/// balance gives k. `router_logits`: one (N, X) a layer; `mask` (N), undefined or 0 at tokens that
/// do not count. No gradient passes through F. 0 when no token counts (the official code: NaN).
///
/// Fedus et al., "Switch Transformers", arXiv 2101.03961, equations 4 to 6, with k choices as in
/// `load_balancing_loss_func` of Time-MoE. Its masked form is written for k = 2: it fails for more
/// and counts a single choice twice, as is done here. Throws ShapeError.
///
/// With `replicas` F is that of the tokens of all ranks, which call it together, and P of this
/// rank's: the mean of the ranks' losses, by their tokens, is the loss of all tokens, and so are
/// its gradients.
template <Scalar T>
Tensor<T, 0> load_balancing_loss(std::span<const Tensor<T, 2>> router_logits, index_t k,
                                 const Tensor<T, 1>& mask = {}, Replicas* replicas = nullptr) {
  Tensor<T, 1> probability;  // sums over tokens
  Tensor<double, 1> chosen;
  double tokens = 0;
  for (const Tensor<T, 2>& logits : router_logits) {
    const index_t rows = logits.extent(0);
    const index_t experts = logits.extent(1);
    if (chosen.defined() && chosen.extent(0) != experts)
      throw ShapeError("load_balancing_loss: a layer's logits are " + to_string(logits.shape()) +
                       ", expected [N, X=" + std::to_string(chosen.extent(0)) +
                       "] (X from the first layer)");
    if (mask.defined() && mask.extent(0) != rows)
      throw ShapeError("load_balancing_loss: mask is " + to_string(mask.shape()) +
                       ", expected [N=" + std::to_string(rows) + "] (N from the logits " +
                       to_string(logits.shape()) + ")");
    if (!chosen.defined()) chosen = Tensor<double, 1>(Shape<1>{experts});
    Tensor<T, 2> p = softmax(logits);
    const TopK<T> top = top_k(p.detach(), k);
    for (index_t i = 0; i < rows; ++i) {
      const double weight = mask.defined() ? static_cast<double>(mask(i)) : 1;
      tokens += weight;
      for (index_t j = 0; j < k; ++j) chosen(top.indices(i, j)) += weight;
    }
    if (mask.defined()) p = mul(p, mask.template reshaped<2>({rows, 1}));
    const Tensor<T, 1> sums = sum(p, 0);
    probability = probability.defined() ? add(probability, sums) : sums;
  }
  double all_tokens = tokens;
  if (replicas != nullptr && chosen.defined()) {
    std::vector<double> sums(chosen.span().begin(), chosen.span().end());
    sums.push_back(tokens);
    if (replicas->stands_in()) sums.assign(sums.size(), 0);
    replicas->sum(std::span<double>(sums));
    all_tokens = sums.back();
    sums.pop_back();
    chosen.copy_from(sums);
  }
  if (!(tokens != 0) || !(all_tokens != 0)) return Tensor<T, 0>(Shape<0>{});
  const double times = mask.defined() && k == 1 ? 2 : 1;
  for (double& c : chosen.span())
    c *= times * static_cast<double>(chosen.size()) / (tokens * all_tokens);
  return sum(mul(probability, chosen.template cast<T>()));
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(load_balancing_loss);
