/// Losses: means over all elements, as PyTorch's default reduction.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/softmax.hpp"

#include <cmath>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T, std::size_t Rank>
void check_loss(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target, const char* op) {
  if (prediction.shape() != target.shape())
    throw ShapeError(std::string(op) + ": target is " + to_string(target.shape()) + ", expected " +
                     to_string(prediction.shape()) + " as the prediction");
}

}  // namespace detail

/// mean((prediction - target)^2). Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> mse_loss(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target) {
  detail::check_loss(prediction, target, "mse_loss");
  return mean(square(sub(prediction, target)));
}

/// mean(|prediction - target|); the gradient at equality is 0. Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> mae_loss(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target) {
  detail::check_loss(prediction, target, "mae_loss");
  return mean(abs(sub(prediction, target)));
}

/// e^2 / 2 where |e| < delta, else delta (|e| - delta / 2), elementwise with e = prediction -
/// target. Throws ShapeError, ConfigError unless delta > 0.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> huber(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target,
                      double delta = 1) {
  detail::check_loss(prediction, target, "huber_loss");
  if (!(delta > 0))
    throw ConfigError("huber_loss: delta is " + std::to_string(delta) + ", expected > 0");
  using V = simd::Vec<T>;
  const T d = static_cast<T>(delta);
  return detail::unary(
      sub(prediction, target),
      [d](const V& e) {
        const V a = simd::abs<T>(e);
        return simd::select<T>(a < V(d), V(T(0.5)) * e * e, V(d) * (a - V(d / 2)));
      },
      [d](const V& e, const V&, const V& dy) {
        return dy * simd::max<T>(V(-d), simd::min<T>(V(d), e));
      });
}

/// mean(huber(prediction, target, delta)): torch.nn.HuberLoss (for SmoothL1Loss with beta, divide
/// by beta = delta). Throws ShapeError, ConfigError unless delta > 0.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> huber_loss(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target,
                        double delta = 1) {
  return mean(huber(prediction, target, delta));
}

/// mean of -log softmax(logits)[target] over rows whose target is not `ignore_index`: logits
/// (..., V), targets one a row. NaN when all are ignored, as in PyTorch.
/// Throws ShapeError when the numbers differ or a target is out of range.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> cross_entropy(const Tensor<T, Rank>& logits, std::span<const std::int64_t> targets,
                           std::int64_t ignore_index = -100) {
  const index_t rows = logits.rows();
  const index_t classes = logits.cols();
  if (static_cast<index_t>(targets.size()) != rows)
    throw ShapeError("cross_entropy: " + std::to_string(targets.size()) + " targets, expected " +
                     std::to_string(rows) + " (rows of logits " + to_string(logits.shape()) + ")");
  index_t counted = 0;
  for (const std::int64_t t : targets) {
    if (t == ignore_index) continue;
    ++counted;
    if (t < 0 || t >= classes)
      throw ShapeError("cross_entropy: target " + std::to_string(t) +
                       " is out of range [0, V=" + std::to_string(classes) + ")");
  }
  const Tensor<T, Rank> log_p = log_softmax(logits);
  double total = 0;
  for (index_t r = 0; r < rows; ++r) {
    const std::int64_t t = targets[static_cast<std::size_t>(r)];
    if (t != ignore_index) total -= static_cast<double>(log_p.data()[r * classes + t]);
  }
  Tensor<T, 0> y({}, static_cast<T>(total / static_cast<double>(counted)));
  if (Recorder* tape = recording(log_p)) {
    const Tensor<std::int64_t, 1> kept({rows}, targets);
    tape->push([kept, ignore_index, classes, counted, lv = log_p.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, Rank> d(lv.shape);
      T* const to = d.data();
      for (index_t r = 0; r < kept.size(); ++r)
        if (kept.data()[r] != ignore_index)
          to[r * classes + kept.data()[r]] = -dy.item() / static_cast<T>(counted);
      g.add(lv, d);
    });
  }
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(mse_loss);
SEQUIN_INSTANTIATE_RANKS(mae_loss);
SEQUIN_INSTANTIATE_RANKS(huber);
SEQUIN_INSTANTIATE_RANKS(huber_loss);
SEQUIN_INSTANTIATE_RANKS(cross_entropy);
