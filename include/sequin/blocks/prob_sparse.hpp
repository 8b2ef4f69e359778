/// ProbSparse attention between the projections of an AttentionLayer.
#pragma once

#include "sequin/blocks/attention_layer.hpp"
#include "sequin/blocks/key_sampler.hpp"
#include "sequin/ops/prob_sparse_attention.hpp"

namespace sequin::inline SEQUIN_ABI {

/// The AttentionForm of AttentionKind::prob_sparse, for layers that are built with it. The keys are
/// drawn by the context's sampler, or from a fixed seed. Throws ShapeError, ConfigError.
template <Scalar T>
Tensor<T, 4> prob_sparse(const AttentionLayerConfig& config, const Tensor<T, 4>& q,
                         const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                         const ForwardContext<T>& context) {
  const ProbSparseOptions options{config.factor, config.scale, config.causal};
  KeySampler fixed;
  KeySampler& sampler = context.key_sampler == nullptr ? fixed : *context.key_sampler;
  const auto samples = sampler.next(q.extent(1), k.extent(1), config.factor);
  if (!context.attention_maps) return prob_sparse_attention(q, k, v, samples, options);
  Tensor<T, 4> map;
  auto o = prob_sparse_attention(q, k, v, samples, options, &map);
  context.attention_maps.add(map);
  return o;
}

}  // namespace sequin::inline SEQUIN_ABI
