/// A table of vectors, one a token.
#pragma once

#include "sequin/blocks/initialize.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/ops/embedding.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `torch.nn.Embedding`: weight (V, D).
template <Scalar T>
class Embedding {
 public:
  using value_type = T;

  Tensor<T, 2> weight;

  Embedding() = default;
  Embedding(index_t tokens, index_t width)
      : weight(Tensor<T, 2>::with_room({tokens, width}, PackedWeight<T>::room(width, tokens))) {}

  /// ids (B, T) -> (B, T, D); `packed` is the packed table of a head that shares it. Throws
  /// ShapeError naming the first token out of range.
  Tensor<T, 3> forward(const Tensor<std::int64_t, 2>& ids,
                       const PackedWeight<T>* packed = nullptr) const {
    return probe(*this, embedding(weight, ids, packed));
  }

  void visit(Visitor<T>& v) { v.parameter("weight", weight); }
};

}  // namespace sequin::inline SEQUIN_ABI
