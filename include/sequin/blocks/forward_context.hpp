/// What a forward pass may be told besides its inputs.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/ops/dropout.hpp"

#include <vector>

namespace sequin::inline SEQUIN_ABI {

class KeySampler;

/// Passed down from a model to its blocks. The default is inference.
template <Scalar T>
struct ForwardContext {
  /// Non-null while training: dropout is active and draws from it, BatchNorm normalises by the
  /// batch and moves its running statistics.
  Generator* dropout_generator = nullptr;
  /// Non-null to receive the attention map (B, H, Tq, Tk) of each attention layer in order.
  std::vector<Tensor<T, 4>>* attention_maps = nullptr;
  /// Where ProbSparse attention gets its sampled keys from (blocks/key_sampler.hpp); nullptr: drawn
  /// from a fixed seed in each forward pass, so that the same input gives the same result.
  KeySampler* key_sampler = nullptr;

  bool training() const noexcept { return dropout_generator != nullptr; }
};

/// Dropout while training; x itself otherwise.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> dropout(const Tensor<T, Rank>& x, double p, const ForwardContext<T>& context) {
  return context.training() ? dropout(x, p, *context.dropout_generator) : x;
}

}  // namespace sequin::inline SEQUIN_ABI
