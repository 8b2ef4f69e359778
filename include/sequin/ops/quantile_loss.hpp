/// The quantile (pinball) loss: its minimum is the quantile of what may come, not the mean.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/ops/loss.hpp"

#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

inline void check_quantile(double q) {
  if (!(q > 0 && q < 1))
    throw ConfigError("quantile_loss: quantile is " + std::to_string(q) +
                      ", expected above 0 and below 1");
}

}  // namespace detail

/// mean(max(q e, (q - 1) e)) with e = target - prediction: q = 0.5 is half of mae_loss. The
/// gradient at equality is 0. Koenker and Bassett, "Regression Quantiles", 1978. Throws ShapeError,
/// ConfigError unless 0 < q < 1.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> quantile_loss(const Tensor<T, Rank>& prediction, const Tensor<T, Rank>& target,
                           double q) {
  detail::check_loss(prediction, target, "quantile_loss");
  detail::check_quantile(q);
  using V = simd::Vec<T>;
  const T above = static_cast<T>(q), below = static_cast<T>(q - 1);
  return mean(detail::unary(
      sub(target, prediction),
      [above, below](const V& e) { return simd::max<T>(V(above) * e, V(below) * e); },
      [above, below](const V& e, const V&, const V& dy) {
        const V zero(T{0});
        return dy * simd::select<T>(e > zero, V(above), simd::select<T>(e < zero, V(below), zero));
      }));
}

/// The mean of the same over several quantiles at once: prediction (..., Q), its last axis one
/// value for each of `quantiles`, and target (...). Throws ShapeError, ConfigError.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> quantile_losses(const Tensor<T, Rank>& prediction, const Tensor<T, Rank - 1>& target,
                             std::span<const double> quantiles) {
  static_assert(Rank >= 1);
  const auto count = static_cast<index_t>(quantiles.size());
  Shape<Rank> expected{};
  for (std::size_t i = 0; i + 1 < Rank; ++i) expected[i] = target.extent(i);
  expected[Rank - 1] = count;
  if (prediction.shape() != expected)
    throw ShapeError("quantile_losses: prediction is " + to_string(prediction.shape()) +
                     ", expected " + to_string(expected) + " (target " + to_string(target.shape()) +
                     ", Q=" + std::to_string(count) + " quantiles)");
  for (const double q : quantiles) detail::check_quantile(q);
  const index_t rows = target.size();
  const std::vector<double> levels(quantiles.begin(), quantiles.end());
  double total = 0;
  for (index_t r = 0; r < rows; ++r)
    for (index_t k = 0; k < count; ++k) {
      const double e = static_cast<double>(target.data()[r]) -
                       static_cast<double>(prediction.data()[r * count + k]);
      const double q = levels[static_cast<std::size_t>(k)];
      total += (std::max)(q * e, (q - 1) * e);
    }
  const double elements = static_cast<double>(rows * count);
  Tensor<T, 0> y({}, static_cast<T>(total / elements));
  if (Recorder* tape = recording(prediction, target))
    tape->push([prediction, target, levels, rows, count, elements, pv = prediction.var(),
                tv = target.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const T scale = dy.item() / static_cast<T>(elements);
      auto dp = Tensor<T, Rank>::empty(prediction.shape());
      Tensor<T, Rank - 1> dt(target.shape());
      T* const to = dp.data();
      T* const sum = dt.data();
      for (index_t r = 0; r < rows; ++r)
        for (index_t k = 0; k < count; ++k) {
          const T e = target.data()[r] - prediction.data()[r * count + k];
          const auto q = static_cast<T>(levels[static_cast<std::size_t>(k)]);
          const T slope = e > 0 ? q : e < 0 ? q - 1 : T{0};
          to[r * count + k] = -scale * slope;
          sum[r] += scale * slope;
        }
      g.add(pv, dp);
      g.add(tv, dt);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI
