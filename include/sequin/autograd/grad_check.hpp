/// Opt-in: compares gradients with finite differences.
#pragma once

#include "sequin/autograd/tape.hpp"

#include <cmath>
#include <string>
#include <tuple>

namespace sequin::inline SEQUIN_ABI {

/// What `grad_check` found.
struct GradCheckResult {
  double worst = 0;   ///< largest |analytic - numeric| / max(1, |numeric|) of all entries
  std::string where;  ///< "input 2, entry 17: analytic 0.31, numeric 0.30"
  bool ok(double tolerance = 1e-6) const noexcept { return worst <= tolerance; }
};

/// Differentiates s = sum(f(inputs...) * w) with fixed irregular weights w, by the tape and by
/// central differences with step `step`, for every entry of every input. `f` takes the tensors and
/// returns one tensor of double; call it with tensors of double only.
///
///     auto r = grad_check([](auto& x, auto& w) { return softmax(x); }, x, w);
///     REQUIRE(r.ok());
template <class F, std::size_t... Ranks>
GradCheckResult grad_check(F&& f, Tensor<double, Ranks>... inputs) {
  const auto weight = [](index_t i) { return std::sin(1.7 * static_cast<double>(i) + 0.3) + 0.2; };
  const auto weighted_sum = [&](const auto& y) {
    double sum = 0;
    for (index_t i = 0; i < y.size(); ++i) sum += y.data()[i] * weight(i);
    return sum;
  };
  std::tuple<Tensor<double, Ranks>...> x(inputs.clone()...);
  std::apply([](auto&... t) { (t.set_requires_grad(), ...); }, x);

  Tape tape;
  auto y = std::apply(f, x);
  auto dy = decltype(y)::empty(y.shape());
  for (index_t i = 0; i < dy.size(); ++i) dy.data()[i] = weight(i);
  const Gradients gradients = tape.gradients(y, dy);
  const NoGrad no_grad;

  GradCheckResult result;
  int input = 0;
  const auto check_one = [&](auto& t) {
    const auto analytic = gradients.of(t);
    for (index_t i = 0; i < t.size(); ++i) {
      const double keep = std::as_const(t).data()[i];
      // The step is rounded to what the addition really does.
      const double step = 1e-5 * (std::max)(1.0, std::abs(keep));
      const volatile double high = keep + step;
      const volatile double low = keep - step;
      t.data()[i] = high;
      const double up = weighted_sum(std::apply(f, x));
      t.data()[i] = low;
      const double down = weighted_sum(std::apply(f, x));
      t.data()[i] = keep;
      const double numeric = (up - down) / (high - low);
      const double ours = analytic.data()[i];
      double error = std::abs(ours - numeric) / (std::max)(1.0, std::abs(numeric));
      if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
      if (error > result.worst) {
        result.worst = error;
        result.where = "input " + std::to_string(input) + ", entry " + std::to_string(i) +
                       ": analytic " + std::to_string(ours) + ", numeric " +
                       std::to_string(numeric);
      }
    }
    ++input;
  };
  std::apply([&](auto&... t) { (check_one(t), ...); }, x);
  return result;
}

}  // namespace sequin::inline SEQUIN_ABI
