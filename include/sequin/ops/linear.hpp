/// The affine map of the last axis, its weight packed once, the activation fused.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/ops/matmul.hpp"
#include "sequin/ops/packed_weight.hpp"

namespace sequin::inline SEQUIN_ABI {

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
    throw ShapeError("linear: x is " + to_string(x.shape()) +
                     ", expected [..., in=" + std::to_string(weight_in) + "] (in from weight " +
                     to_string(weight.shape()) + ")");
  if (bias.defined() && bias.extent(0) != out)
    throw ShapeError("linear: bias is " + to_string(bias.shape()) + ", expected [out=" +
                     std::to_string(out) + "] (out from weight " + to_string(weight.shape()) + ")");
  const index_t rows = x.rows();
  Shape<Rank> shape = x.shape();
  shape[Rank - 1] = out;

  Tape* const tape = recording(x, weight, bias);
  const bool use_packed = packed != nullptr && packed->fresh(weight);
  if (weight.released() && (tape != nullptr || !use_packed))
    throw ConfigError("linear: the weight " + to_string(weight.shape()) +
                      " was given up by prepare_for_inference, which ends training");
  const Tensor<T, 1> made =
      use_packed ? Tensor<T, 1>() : detail::pack_b_parallel(weight.data(), index_t{1}, in, in, out);
  auto y = Tensor<T, Rank>::empty(shape);
  kernels::GemmProblem<T> p;
  p.a = x.data();
  p.a_row = in;
  p.b = use_packed ? packed->panels().data() : made.data();
  p.c = y.data();
  p.c_row = out;
  p.bias = bias.data();
  p.n = out;
  p.k = in;
  detail::parallel_gemm(p, rows);
  if (tape == nullptr && activation == Activation::identity) return y;

  Tensor<T, Rank> before;  // the activation's input
  if (activation != Activation::identity) {
    if (tape != nullptr) {
      before = y;
      y = Tensor<T, Rank>::empty(shape);
    }
    const T* const from = tape != nullptr ? std::as_const(before).data() : std::as_const(y).data();
    T* const to = y.data();
    parallel_for(y.size(), index_t{8192}, [&](index_t begin, index_t end) {
      kernels::activation_forward(activation, from + begin, to + begin, end - begin);
    });
  }
  if (tape == nullptr) return y;

  tape->push([x = kept_if(tape->tracks(weight), x), weight = kept_if(tape->tracks(x), weight),
              before, activation, rows, in, out, xv = x.var(), wv = weight.var(), bv = bias.var(),
              yv = tape->track(y)](Gradients& g) {
    Tensor<T, Rank> dy = g.take(yv);
    if (!dy.defined()) return;
    if (activation != Activation::identity) {
      auto d = Tensor<T, Rank>::empty(dy.shape());
      T* const to = d.data();
      parallel_for(d.size(), index_t{8192}, [&](index_t begin, index_t end) {
        kernels::activation_backward(activation, before.data() + begin,
                                     std::as_const(dy).data() + begin, to + begin, end - begin);
      });
      dy = d;
    }
    const T* const d = std::as_const(dy).data();
    if (g.wants(xv)) {
      auto dx = Tensor<T, Rank>::empty(xv.shape);
      detail::product(d, out, index_t{1}, weight.data(), in, dx.data(), rows, in, out);
      g.add(xv, dx);
    }
    if (g.wants(wv)) {
      auto dw = Tensor<T, WeightRank>::empty(wv.shape);
      detail::product(d, index_t{1}, out, x.data(), in, dw.data(), out, in, rows);
      g.add(wv, dw);
    }
    if (g.wants(bv)) g.add(bv, detail::column_sums(d, rows, out));
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(linear, 2, 2);
SEQUIN_INSTANTIATE(linear, 3, 2);
SEQUIN_INSTANTIATE(linear, 3, 3);
SEQUIN_INSTANTIATE(linear, 4, 2);
SEQUIN_INSTANTIATE(linear, 4, 3);
