/// Scores a forecaster on the windows of a part.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/random.hpp"
#include "sequin/train/batch_order.hpp"
#include "sequin/train/metrics.hpp"
#include "sequin/train/windows.hpp"

namespace sequin::inline SEQUIN_ABI {

/// MSE and MAE of `predict(batch)` (a WindowBatch<T> in, Tensor<T, 3> [B, P, C or more] out) over
/// all windows, in order, none dropped. Nothing is recorded. With an arena what `predict` computes
/// lives there. Throws what predict throws, and ShapeError when its result does not fit the
/// targets.
template <Scalar T, class Predict>
ForecastScore evaluate(const WindowSet<T>& windows, index_t batch_size, Predict&& predict,
                       Arena* arena = nullptr) {
  const NoGrad no_grad;
  ForecastScore score;
  BatchOrder order(windows.count(), batch_size, false, false);
  WindowBatch<T> batch;
  for (auto numbers = order.next(); !numbers.empty(); numbers = order.next()) {
    windows.fetch(numbers, batch);
    if (arena == nullptr) {
      score.add(predict(std::as_const(batch)), batch.target);
      continue;
    }
    {
      const ArenaScope scope(arena);
      score.add(predict(std::as_const(batch)), batch.target);
    }
    arena->fit();
  }
  return score;
}

}  // namespace sequin::inline SEQUIN_ABI
