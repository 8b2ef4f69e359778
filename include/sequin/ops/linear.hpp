/// The affine map of the last axis, its weight packed once, the activation fused.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/ops/matmul.hpp"
#include "sequin/ops/packed_weight.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// A tensor as a matrix: its elements, and its name and extents.
template <class T>
struct MatrixOf {
  const Storage& elements;
  Var<T, 2> var;

  const T* data() const noexcept { return static_cast<const T*>(elements.data()); }
  /// The matrix as a tensor if its elements will be needed.
  Tensor<T, 2> kept_if(bool needed) const {
    return needed ? Tensor<T, 2>::from_storage(elements, var.shape) : Tensor<T, 2>();
  }
};

/// `linear` of matrices, whatever the ranks were; `packed` is defined or made here.
template <Scalar T>
Tensor<T, 2> linear_matrix(const MatrixOf<T>& x, const MatrixOf<T>& weight,
                           const Tensor<T, 1>& bias, Activation activation,
                           const Tensor<T, 1>& packed) {
  const index_t rows = x.var.shape[0], in = x.var.shape[1], out = weight.var.shape[0];
  const Tensor<T, 1> made =
      packed.defined() ? Tensor<T, 1>() : pack_b_parallel(weight.data(), index_t{1}, in, in, out);
  auto y = Tensor<T, 2>::empty({rows, out});
  kernels::GemmProblem<T> p;
  p.a = x.data();
  p.a_row = in;
  p.b = packed.defined() ? packed.data() : made.data();
  p.c = y.data();
  p.c_row = out;
  p.bias = bias.data();
  p.n = out;
  p.k = in;
  parallel_gemm(p, rows);

  Recorder* const tape = recording(x.var, weight.var, bias);
  Tensor<T, 2> before;  // the activation's input
  if (activation != Activation::identity) {
    if (tape != nullptr) {
      before = y;
      y = Tensor<T, 2>::empty(y.shape());
    }
    const T* const from = tape != nullptr ? std::as_const(before).data() : std::as_const(y).data();
    T* const to = y.data();
    parallel_for(y.size(), index_t{8192}, [&](index_t begin, index_t end) {
      kernels::activation_forward(activation, from + begin, to + begin, end - begin);
    });
  }
  if (tape == nullptr) return y;

  tape->push([x = x.kept_if(tape->tracks(weight.var)), weight = weight.kept_if(tape->tracks(x.var)),
              before, activation, rows, in, out, xv = x.var, wv = weight.var, bv = bias.var(),
              yv = tape->track(y)](auto& g) -> void {
    Tensor<T, 2> dy = g.take(yv);
    if (!dy.defined()) return;
    if (activation != Activation::identity) {
      auto d = Tensor<T, 2>::empty(dy.shape());
      T* const to = d.data();
      parallel_for(d.size(), index_t{8192}, [&](index_t begin, index_t end) {
        kernels::activation_backward(activation, before.data() + begin,
                                     std::as_const(dy).data() + begin, to + begin, end - begin);
      });
      dy = d;
    }
    const T* const d = std::as_const(dy).data();
    if (g.wants(xv)) {
      auto dx = Tensor<T, 2>::empty(xv.shape);
      product(d, out, index_t{1}, weight.data(), in, dx.data(), rows, in, out);
      g.add(xv, dx);
    }
    if (g.wants(wv)) {
      auto dw = Tensor<T, 2>::empty(wv.shape);
      product(d, index_t{1}, out, x.data(), in, dw.data(), out, in, rows);
      g.add(wv, dw);
    }
    if (g.wants(bv)) g.add(bv, column_sums(d, rows, out));
  });
  return y;
}

}  // namespace detail

/// y = activation(x W^T + b) over the last axis: x (..., in), weight (out, ...) with `in` elements
/// an output, bias (out) or undefined -> (..., out), at torch.nn.functional.linear. `packed` may
/// hold the packed weight; it is used when it is fresh. Each element is one chain of fused
/// multiply-adds: a row's result does not depend on the other rows.
///
/// Throws ShapeError, and ConfigError when the weight was given up (prepare_for_inference) and is
/// to be trained.
template <Scalar T, std::size_t Rank, std::size_t WeightRank>
Tensor<T, Rank> linear(const Tensor<T, Rank>& x, const Tensor<T, WeightRank>& weight,
                       const Tensor<T, 1>& bias = {}, Activation activation = Activation::identity,
                       const PackedWeight<T>* packed = nullptr) {
  static_assert(Rank >= 1 && WeightRank >= 2);
  const index_t out = weight.extent(0);
  const index_t in = x.cols();
  index_t weight_in = 1;
  for (std::size_t i = 1; i < WeightRank; ++i) weight_in *= weight.extent(i);
  if (in != weight_in)
    detail::fail<ShapeError>({"linear: x is ", x.shape(), ", expected [..., in=", weight_in,
                              "] (in from weight ", weight.shape(), ")"});
  if (bias.defined() && bias.extent(0) != out)
    detail::fail<ShapeError>({"linear: bias is ", bias.shape(), ", expected [out=", out,
                              "] (out from weight ", weight.shape(), ")"});
  const bool use_packed = packed != nullptr && packed->fresh(weight);
  if (weight.released() && (!use_packed || recording(x, weight, bias) != nullptr))
    detail::fail<ConfigError>({"linear: the weight ", weight.shape(),
                               " was given up by prepare_for_inference, which ends training"});
  Shape<Rank> shape = x.shape();
  shape[Rank - 1] = out;
  const Tensor<T, 2> y = detail::linear_matrix<T>(
      {x.storage(), {x.var().id, {x.rows(), in}}}, {weight.storage(), {weight.var().id, {out, in}}},
      bias, activation, use_packed ? packed->panels() : Tensor<T, 1>());
  auto result = Tensor<T, Rank>::from_storage(y.storage(), shape);
  result.set_var(y.var().id);
  return result;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::linear_matrix);
SEQUIN_INSTANTIATE(linear, 2, 2);
SEQUIN_INSTANTIATE(linear, 3, 2);
SEQUIN_INSTANTIATE(linear, 3, 3);
SEQUIN_INSTANTIATE(linear, 4, 2);
SEQUIN_INSTANTIATE(linear, 4, 3);
