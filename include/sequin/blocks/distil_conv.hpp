/// Informer's distilling layer: convolution, BatchNorm, ELU, and every second step.
#pragma once

#include "sequin/blocks/batch_norm.hpp"
#include "sequin/blocks/conv1d.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/max_pool1d.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `ConvLayer` of zhouhaoyi/Informer2020 (`padding` 1: T becomes (T - 1) / 2 + 1) and of
/// thuml/Time-Series-Library on torch 1.5 and later (`padding` 2: (T + 1) / 2 + 1), rounded down.
template <Scalar T>
class DistilConv {
 public:
  using value_type = T;

  Conv1d<T> downConv;  // NOLINT(readability-identifier-naming): the official name
  BatchNorm1d<T> norm;

  DistilConv() = default;
  explicit DistilConv(index_t channels, index_t padding = 1)
      : downConv(channels, channels, 3, Conv1dOptions{1, padding, 1, PaddingMode::circular}),
        norm(channels) {}

  /// x (B, T, C) -> (B, about T / 2, C). Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {}) const {
    const Tensor<T, 3> y = elu(norm.forward(downConv.forward(x), context));
    return probe(*this, max_pool1d(y, index_t{3}, index_t{2}, index_t{1}));
  }

  void initialize(Generator& generator) { downConv.initialize(generator); }

  void visit(Visitor<T>& v) {
    v.child("downConv", downConv);
    v.child("norm", norm);
  }
};

}  // namespace sequin::inline SEQUIN_ABI
