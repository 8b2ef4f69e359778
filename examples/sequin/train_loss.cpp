#include "train_loss.hpp"

#include "sequin/ops/loss.hpp"
#include "sequin/ops/quantile_loss.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/train/exact_text.hpp"
#include "sequin/train/metrics.hpp"

namespace sequin_cli {

using namespace sequin;

std::string ForecastLoss::text() const {
  if (name == "huber") return name + " " + detail::exact_text(huber_delta);
  if (name == "quantile") return name + " " + detail::exact_text(quantile);
  return name;
}

Tensor<float, 0> ForecastLoss::operator()(const Tensor<float, 3>& prediction,
                                          const Tensor<float, 3>& target) const {
  Tensor<float, 3> y = prediction;
  if (target.extent(2) < y.extent(2)) y = slice(y, 2, y.extent(2) - target.extent(2), y.extent(2));
  if (name == "mae") return mae_loss(y, target);
  if (name == "huber") return huber_loss(y, target, huber_delta);
  if (name == "quantile") return quantile_loss(y, target, quantile);
  return mse_loss(y, target);
}

double ForecastLoss::criterion(const Tensor<float, 3>& prediction,
                               const Tensor<float, 3>& target) const {
  if (name != "mse") return static_cast<double>((*this)(prediction, target).item());
  ForecastScore score;
  score.add(prediction, target);
  return score.mse();
}

}  // namespace sequin_cli
