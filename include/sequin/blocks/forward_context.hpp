/// What a forward pass may be told besides its inputs.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Passed down from a model to its blocks. The default is inference.
template <Scalar T>
struct ForwardContext {
  /// Non-null while training: dropout is active and draws from it.
  Generator* dropout_generator = nullptr;
  /// Non-null to receive the attention map (B, H, Tq, Tk) of each attention layer in order.
  std::vector<Tensor<T, 4>>* attention_maps = nullptr;
};

}  // namespace sequin::inline SEQUIN_ABI
