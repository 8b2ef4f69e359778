/// BatchNorm over the last axis with its running statistics.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/ops/batch_norm.hpp"

namespace sequin::inline SEQUIN_ABI {

/// `torch.nn.BatchNorm1d` with channels last: weight, bias, running_mean, running_var (C) and
/// num_batches_tracked.
///
/// While training (`ForwardContext::training`) it normalises by the batch and moves the running
/// statistics, in place and through all handles of these buffers, const or not: a forward pass in
/// training is not for several threads at once. At inference nothing changes.
template <Scalar T>
class BatchNorm1d {
 public:
  using value_type = T;

  Tensor<T, 1> weight, bias;
  Tensor<T, 1> running_mean, running_var;
  Tensor<T, 0> num_batches_tracked;
  double eps = 1e-5;
  double momentum = 0.1;

  BatchNorm1d() = default;
  explicit BatchNorm1d(index_t channels)
      : weight({channels}, T{1}),
        bias(Shape<1>{channels}),
        running_mean(Shape<1>{channels}),
        running_var({channels}, T{1}),
        num_batches_tracked(Shape<0>{}) {}

  /// x (..., C) -> (..., C). Throws ShapeError.
  template <std::size_t Rank>
  Tensor<T, Rank> forward(const Tensor<T, Rank>& x, const ForwardContext<T>& context = {}) const {
    if (!context.training())
      return probe(*this, batch_norm(x, running_mean, running_var, weight, bias, eps));
    BatchStatistics<T> batch;
    auto y = batch_norm_train(x, weight, bias, eps, batch);
    const double unbiased = static_cast<double>(x.rows()) / static_cast<double>(x.rows() - 1);
    move(running_mean, batch.mean, 1);
    move(running_var, batch.variance, unbiased);
    Tensor<T, 0> count = num_batches_tracked;
    *count.data() += 1;
    return probe(*this, std::move(y));
  }

  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.buffer("running_mean", running_mean);
    v.buffer("running_var", running_var);
    v.counter("num_batches_tracked", num_batches_tracked);
  }

 private:
  /// running = (1 - momentum) running + momentum * factor * now
  void move(Tensor<T, 1> running, const Tensor<T, 1>& now, double factor) const {
    T* const to = running.data();
    for (index_t c = 0; c < now.size(); ++c)
      to[c] = static_cast<T>((1 - momentum) * static_cast<double>(to[c]) +
                             momentum * factor * static_cast<double>(now.data()[c]));
  }
};

}  // namespace sequin::inline SEQUIN_ABI
