/// Scores of forecasts, and the forecasts that need no model.
#pragma once

#include "sequin/core/tensor.hpp"

#include <cmath>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// MSE and MAE over everything that was added: all windows, steps and channels at once, as the
/// official `metric` takes them, not a mean of the windows' or batches' scores. Errors and sums are
/// in double (the official code: float32 arrays and numpy's pairwise mean, within about 1e-7).
class ForecastScore {
 public:
  /// Adds predictions and truth, both [B, P, C]. When the prediction has more channels than the
  /// truth the last C of them count: features MS, where the model forecasts all channels and only
  /// the target is scored. Throws ShapeError when they do not fit. Allocates nothing.
  template <Scalar T>
  void add(const Tensor<T, 3>& prediction, const Tensor<T, 3>& truth) {
    const Shape<3>& p = prediction.shape();
    const Shape<3>& t = truth.shape();
    if (p[0] != t[0] || p[1] != t[1] || p[2] < t[2])
      throw ShapeError("score: prediction is " + to_string(p) +
                       ", expected [B=" + std::to_string(t[0]) + ", P=" + std::to_string(t[1]) +
                       ", C>=" + std::to_string(t[2]) + "] (from truth)");
    const index_t rows = t[0] * t[1], skip = p[2] - t[2];
    const T* a = prediction.data() + skip;
    const T* b = truth.data();
    for (index_t r = 0; r < rows; ++r, a += p[2], b += t[2]) {
      double squares = 0, absolutes = 0;
      for (index_t c = 0; c < t[2]; ++c) {
        const double d = static_cast<double>(a[c]) - static_cast<double>(b[c]);
        squares += d * d;
        absolutes += std::abs(d);
      }
      squares_ += squares;
      absolutes_ += absolutes;
    }
    count_ += rows * t[2];
  }

  /// Number of values compared.
  index_t count() const noexcept { return count_; }
  /// mean((prediction - truth)^2); NaN before anything was added.
  double mse() const noexcept { return squares_ / static_cast<double>(count_); }
  /// mean(|prediction - truth|); NaN before anything was added.
  double mae() const noexcept { return absolutes_ / static_cast<double>(count_); }

 private:
  double squares_ = 0;
  double absolutes_ = 0;
  index_t count_ = 0;
};

namespace detail {

template <class T>
void check_history(const Tensor<T, 3>& x, index_t pred_len, const char* who) {
  if (x.extent(1) < 1 || pred_len < 0)
    throw ShapeError(std::string(who) + ": x is " + to_string(x.shape()) + " and P is " +
                     std::to_string(pred_len) + ", expected [B, S>=1, C] and P >= 0");
}

}  // namespace detail

/// The last row of x [B, S, C] for each of the next P steps: [B, P, C].
/// Throws ShapeError when S is 0.
template <Scalar T>
Tensor<T, 3> repeat_last(const Tensor<T, 3>& x, index_t pred_len) {
  detail::check_history(x, pred_len, "repeat_last");
  const index_t steps = x.extent(1), channels = x.extent(2);
  auto y = Tensor<T, 3>::empty({x.extent(0), pred_len, channels});
  T* out = y.data();
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < pred_len; ++t, out += channels)
      std::copy_n(x.data() + ((b + 1) * steps - 1) * channels, channels, out);
  return y;
}

/// The mean of x [B, S, C] over its S steps for each of the next P steps: [B, P, C].
/// Throws ShapeError when S is 0.
template <Scalar T>
Tensor<T, 3> repeat_mean(const Tensor<T, 3>& x, index_t pred_len) {
  detail::check_history(x, pred_len, "repeat_mean");
  const index_t steps = x.extent(1), channels = x.extent(2);
  auto y = Tensor<T, 3>::empty({x.extent(0), pred_len, channels});
  T* const out = y.data();
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (index_t t = 0; t < steps; ++t)
        sum += static_cast<double>(x.data()[(b * steps + t) * channels + c]);
      const T mean = static_cast<T>(sum / static_cast<double>(steps));
      for (index_t t = 0; t < pred_len; ++t) out[(b * pred_len + t) * channels + c] = mean;
    }
  return y;
}

/// The last `period` rows of x [B, S, C] again and again: [B, P, C].
/// Throws ShapeError when S is 0 and ConfigError unless 1 <= period <= S.
template <Scalar T>
Tensor<T, 3> seasonal_naive(const Tensor<T, 3>& x, index_t pred_len, index_t period) {
  detail::check_history(x, pred_len, "seasonal_naive");
  const index_t steps = x.extent(1), channels = x.extent(2);
  if (period < 1 || period > steps)
    throw ConfigError("seasonal_naive: period is " + std::to_string(period) +
                      ", expected 1 to the lookback of " + std::to_string(steps));
  auto y = Tensor<T, 3>::empty({x.extent(0), pred_len, channels});
  T* out = y.data();
  for (index_t b = 0; b < x.extent(0); ++b)
    for (index_t t = 0; t < pred_len; ++t, out += channels)
      std::copy_n(x.data() + ((b + 1) * steps - period + t % period) * channels, channels, out);
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI
