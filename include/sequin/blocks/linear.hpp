/// Affine maps of the last axis, and the 1-tap convolution that is the same under another shape.
#pragma once

#include "sequin/blocks/initialize.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/ops/linear.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// y = act(x W^T + b) with W stored as `WeightRank` axes, the first of which is the output.
template <Scalar T, std::size_t WeightRank>
class AffineMap {
 public:
  using value_type = T;
  using module_type = AffineMap;  ///< of Linear and PointwiseConv1d too

  Tensor<T, WeightRank> weight;
  Tensor<T, 1> bias;  ///< (out), undefined without bias

  AffineMap() = default;
  AffineMap(const Shape<WeightRank>& shape, bool has_bias)
      : weight(Tensor<T, WeightRank>::with_room(
            shape, PackedWeight<T>::room(element_count(shape) / (std::max)(shape[0], index_t{1}),
                                         shape[0]))) {
    if (has_bias) bias = Tensor<T, 1>({shape[0]});
  }

  /// x (..., in) -> (..., out). Throws ShapeError when x's last axis is not `in`.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x,
                          Activation activation = Activation::identity) const {
    Tensor<T, Rank> y = linear(x, weight, bias, activation, &packed_);
    if (activation == Activation::identity) return probe(*this, std::move(y));
    return y;  // the official module ends before its activation
  }

  void initialize(Generator& generator) { init::torch_default(weight, bias, generator); }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.derived(*this);
  }
  void refresh_derived() { packed_.pack(weight); }
  void release_sources() { packed_.take(weight); }
  /// The weight prepared for products, for blocks that call `linear` themselves.
  const PackedWeight<T>* packed() const noexcept { return &packed_; }

 private:
  PackedWeight<T> packed_;
};

}  // namespace detail

/// `torch.nn.Linear`: weight (out, in), bias (out) or none.
template <Scalar T>
class Linear : public detail::AffineMap<T, 2> {
 public:
  Linear() = default;
  Linear(index_t in, index_t out, bool has_bias = true)
      : detail::AffineMap<T, 2>({out, in}, has_bias) {}
};

/// `torch.nn.Conv1d` with one tap, applied to time-major data (B, T, in): weight (out, in, 1).
template <Scalar T>
class PointwiseConv1d : public detail::AffineMap<T, 3> {
 public:
  PointwiseConv1d() = default;
  PointwiseConv1d(index_t in, index_t out, bool has_bias = true)
      : detail::AffineMap<T, 3>({out, in, 1}, has_bias) {}
};

}  // namespace sequin::inline SEQUIN_ABI
