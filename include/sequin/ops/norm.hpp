/// LayerNorm and RMSNorm over the last axis.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/norm.hpp"
#include "sequin/ops/elementwise.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T, std::size_t Rank>
void check_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& weight, const char* op,
                const char* name) {
  static_assert(Rank >= 1);
  if (weight.defined() && weight.extent(0) != x.cols())
    detail::fail<ShapeError>({op, ": ", name, " is ", weight.shape(), ", expected [D=", x.cols(),
                              "] (D from x ", x.shape(), ")"});
}

/// Rows that are worth a thread.
inline index_t norm_grain(index_t n) { return 8192 / (n + 1) + 1; }

}  // namespace detail

/// (x - mean) / sqrt(var + eps) * weight + bias over the last axis, var biased: x (..., D), weight
/// and bias (D) or undefined -> (..., D). torch.nn.functional.layer_norm. Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> layer_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& weight,
                           const Tensor<T, 1>& bias, double eps = 1e-5) {
  detail::check_norm(x, weight, "layer_norm", "weight");
  detail::check_norm(x, bias, "layer_norm", "bias");
  const index_t rows = x.rows();
  const index_t n = x.cols();
  auto y = Tensor<T, Rank>::empty(x.shape());
  Recorder* const tape = recording(x, weight, bias);
  Tensor<T, 1> mean, rstd;
  if (tape != nullptr) {
    mean = Tensor<T, 1>::empty({rows});
    rstd = Tensor<T, 1>::empty({rows});
  }
  T* const to = y.data();
  T* const mean_to = mean.data();
  T* const rstd_to = rstd.data();
  parallel_for(rows, detail::norm_grain(n), [&](index_t begin, index_t end) {
    kernels::layer_norm_forward(x.data() + begin * n, weight.data(), bias.data(),
                                static_cast<T>(eps), end - begin, n, to + begin * n,
                                mean_to == nullptr ? nullptr : mean_to + begin,
                                rstd_to == nullptr ? nullptr : rstd_to + begin);
  });
  if (tape == nullptr) return y;
  tape->push([x, weight, mean, rstd, rows, n, xv = x.var(), wv = weight.var(), bv = bias.var(),
              yv = tape->track(y)](auto& g) -> void {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    if (g.wants(xv)) {
      auto dx = Tensor<T, Rank>::empty(x.shape());
      T* const out = dx.data();
      parallel_for(rows, detail::norm_grain(n), [&](index_t begin, index_t end) {
        kernels::layer_norm_backward(x.data() + begin * n, weight.data(), mean.data() + begin,
                                     rstd.data() + begin, dy.data() + begin * n, end - begin, n,
                                     out + begin * n);
      });
      g.add(xv, dx);
    }
    if (!g.wants(wv) && !g.wants(bv)) return;
    Tensor<T, 1> dweight, dbias;
    if (g.wants(wv)) dweight = Tensor<T, 1>(wv.shape);
    if (g.wants(bv)) dbias = Tensor<T, 1>(bv.shape);
    T* const w = dweight.data();
    T* const b = dbias.data();
    parallel_for(n, index_t{256}, [&](index_t begin, index_t end) {
      kernels::layer_norm_backward_weights(x.data(), mean.data(), rstd.data(), dy.data(), rows, n,
                                           begin, end, w, b);
    });
    if (dweight.defined()) g.add(wv, dweight);
    if (dbias.defined()) g.add(bv, dbias);
  });
  return y;
}

/// layer_norm(x + residual): the residual connection of a post-norm layer.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> add_layer_norm(const Tensor<T, Rank>& x, const Tensor<T, Rank>& residual,
                               const Tensor<T, 1>& weight, const Tensor<T, 1>& bias,
                               double eps = 1e-5) {
  return layer_norm(add(x, residual), weight, bias, eps);
}

/// x / sqrt(mean(x^2) + eps) * weight over the last axis: x (..., D), weight (D) or undefined ->
/// (..., D). Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
/// Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> rms_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& weight, double eps = 1e-5) {
  detail::check_norm(x, weight, "rms_norm", "weight");
  const index_t rows = x.rows();
  const index_t n = x.cols();
  auto y = Tensor<T, Rank>::empty(x.shape());
  Recorder* const tape = recording(x, weight);
  Tensor<T, 1> rstd;
  if (tape != nullptr) rstd = Tensor<T, 1>::empty({rows});
  T* const to = y.data();
  T* const rstd_to = rstd.data();
  parallel_for(rows, detail::norm_grain(n), [&](index_t begin, index_t end) {
    kernels::rms_norm_forward(x.data() + begin * n, weight.data(), static_cast<T>(eps), end - begin,
                              n, to + begin * n, rstd_to == nullptr ? nullptr : rstd_to + begin);
  });
  if (tape == nullptr) return y;
  tape->push([x, weight, rstd, rows, n, xv = x.var(), wv = weight.var(),
              yv = tape->track(y)](auto& g) -> void {
    const auto dy = g.take(yv);
    if (!dy.defined()) return;
    if (g.wants(xv)) {
      auto dx = Tensor<T, Rank>::empty(x.shape());
      T* const out = dx.data();
      parallel_for(rows, detail::norm_grain(n), [&](index_t begin, index_t end) {
        kernels::rms_norm_backward(x.data() + begin * n, weight.data(), rstd.data() + begin,
                                   dy.data() + begin * n, end - begin, n, out + begin * n);
      });
      g.add(xv, dx);
    }
    if (!g.wants(wv)) return;
    Tensor<T, 1> dweight(wv.shape);
    T* const w = dweight.data();
    parallel_for(n, index_t{256}, [&](index_t begin, index_t end) {
      kernels::layer_norm_backward_weights(x.data(), static_cast<const T*>(nullptr), rstd.data(),
                                           dy.data(), rows, n, begin, end, w,
                                           static_cast<T*>(nullptr));
    });
    g.add(wv, dweight);
  });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(layer_norm);
SEQUIN_INSTANTIATE_RANKS(add_layer_norm);
SEQUIN_INSTANTIATE_RANKS(rms_norm);
