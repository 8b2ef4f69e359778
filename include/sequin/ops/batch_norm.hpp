/// BatchNorm over the last axis: with given statistics, or with the batch's own.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/batch_norm.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

/// What `batch_norm_train` normalised with: over all rows, the variance biased.
template <class T>
struct BatchStatistics {
  Tensor<T, 1> mean, variance;
};

namespace detail {

template <Scalar T, std::size_t Rank>
void check_batch_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& t, const char* name) {
  if (t.extent(0) != x.cols())
    throw ShapeError(std::string("batch_norm: ") + name + " is " + to_string(t.shape()) +
                     ", expected [C=" + std::to_string(x.cols()) + "] (C from x " +
                     to_string(x.shape()) + ")");
}

/// `of_batch`: the statistics are those of x, so that x moves them.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> batch_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& mean,
                           const Tensor<T, 1>& variance, const Tensor<T, 1>& weight,
                           const Tensor<T, 1>& bias, double eps, bool of_batch) {
  const index_t n = x.cols();
  const index_t rows = x.rows();
  const index_t grain = 8192 / (n + 1) + 1;
  auto rstd = Tensor<T, 1>::empty({n});
  T* const deviation = rstd.data();
  for (index_t c = 0; c < n; ++c)
    deviation[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(variance.data()[c]) + eps));
  auto y = Tensor<T, Rank>::empty(x.shape());
  T* const to = y.data();
  parallel_for(rows, grain, [&](index_t begin, index_t end) {
    kernels::batch_norm_forward(x.data() + begin * n, mean.data(), std::as_const(rstd).data(),
                                weight.data(), bias.data(), end - begin, n, to + begin * n);
  });
  if (Recorder* tape = recording(x, weight, bias))
    tape->push([x, mean, rstd, weight, of_batch, n, rows, grain, xv = x.var(), wv = weight.var(),
                bv = bias.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      auto dweight = Tensor<T, 1>::empty({n});
      auto dbias = Tensor<T, 1>::empty({n});
      T* const dw = dweight.data();
      T* const db = dbias.data();
      parallel_for(n, kernels::detail::kSumColumns, [&](index_t begin, index_t end) {
        kernels::batch_norm_backward_weights(x.data(), mean.data(), rstd.data(), dy.data(), rows, n,
                                             begin, end, dw, db);
      });
      if (g.wants(xv)) {
        auto dx = Tensor<T, Rank>::empty(x.shape());
        T* const out = dx.data();
        parallel_for(rows, grain, [&](index_t begin, index_t end) {
          kernels::batch_norm_backward(x.data() + begin * n, mean.data(), rstd.data(),
                                       weight.data(), static_cast<const T*>(dw),
                                       static_cast<const T*>(db), of_batch ? rows : index_t{0},
                                       dy.data() + begin * n, end - begin, n, out + begin * n);
        });
        g.add(xv, dx);
      }
      g.add(wv, dweight);
      g.add(bv, dbias);
    });
  return y;
}

}  // namespace detail

/// (x - mean) / sqrt(variance + eps) * weight + bias, channel by channel: x (..., C), all others
/// (C)
/// -> (..., C). torch.nn.functional.batch_norm in evaluation, channels last. mean and variance are
/// constants to the gradient. Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> batch_norm(const Tensor<T, Rank>& x, const Tensor<T, 1>& mean,
                           const Tensor<T, 1>& variance, const Tensor<T, 1>& weight,
                           const Tensor<T, 1>& bias, double eps = 1e-5) {
  detail::check_batch_norm(x, mean, "mean");
  detail::check_batch_norm(x, variance, "variance");
  detail::check_batch_norm(x, weight, "weight");
  detail::check_batch_norm(x, bias, "bias");
  return detail::batch_norm(x, mean, variance, weight, bias, eps, false);
}

/// The same with mean and biased variance of x over all axes but the last, which are differentiated
/// through and returned in `statistics`. Summed in double, in row order.
/// Throws ShapeError, also for fewer than two values a channel, as PyTorch does.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> batch_norm_train(const Tensor<T, Rank>& x, const Tensor<T, 1>& weight,
                                 const Tensor<T, 1>& bias, double eps,
                                 BatchStatistics<T>& statistics) {
  detail::check_batch_norm(x, weight, "weight");
  detail::check_batch_norm(x, bias, "bias");
  const index_t n = x.cols();
  if (x.rows() < 2)
    throw ShapeError("batch_norm_train: x is " + to_string(x.shape()) +
                     ", expected at least 2 values for each of its C channels");
  statistics.mean = Tensor<T, 1>::empty({n});
  statistics.variance = Tensor<T, 1>::empty({n});
  T* const mean = statistics.mean.data();
  T* const variance = statistics.variance.data();
  parallel_for(n, kernels::detail::kSumColumns, [&](index_t begin, index_t end) {
    kernels::column_moments(x.data(), x.rows(), n, begin, end, mean, variance);
  });
  return detail::batch_norm(x, statistics.mean, statistics.variance, weight, bias, eps, true);
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(batch_norm);
SEQUIN_INSTANTIATE_RANKS(batch_norm_train);
