/// The negative log-likelihood of Student's t: a forecast with its own width and heavy tails.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/error.hpp"

#include <cmath>
#include <string>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The derivative of log(gamma(x)) for x > 0, to about 1e-14: recurrence up to 8, then the
/// asymptotic series (Abramowitz and Stegun, 6.3.5 and 6.3.18).
inline double digamma(double x) noexcept {
  if (!(x > 0)) return std::nan("");
  double sum = 0;
  for (; x < 8; x += 1) sum -= 1 / x;
  const double s = 1 / (x * x);
  const double series =
      s * (1.0 / 12 -
           s * (1.0 / 120 -
                s * (1.0 / 252 -
                     s * (1.0 / 240 - s * (1.0 / 132 - s * (691.0 / 32760 - s * (1.0 / 12)))))));
  return sum + std::log(x) - 0.5 / x - series;
}

}  // namespace detail

/// mean over all elements of -log p(target), p Student's t with the given location, scale > 0 and
/// degrees of freedom > 0, all four of the same extents:
///
///     log s + log(nu pi) / 2 + lgamma(nu / 2) - lgamma((nu + 1) / 2)
///       + (nu + 1) / 2 log(1 + ((y - m) / s)^2 / nu)
///
/// Differentiable in all four; computed in double. A model makes its scale and degrees positive,
/// with softplus as a rule (and degrees above 2, where the variance exists); where one is not, the
/// loss is NaN. torch.distributions.StudentT's -log_prob. Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> student_t_loss(const Tensor<T, Rank>& location, const Tensor<T, Rank>& scale,
                            const Tensor<T, Rank>& degrees, const Tensor<T, Rank>& target) {
  const auto check = [&](const Tensor<T, Rank>& t, const char* name) {
    if (t.shape() != location.shape())
      throw ShapeError(std::string("student_t_loss: ") + name + " is " + to_string(t.shape()) +
                       ", expected " + to_string(location.shape()) + " as location");
  };
  check(scale, "scale");
  check(degrees, "degrees");
  check(target, "target");
  constexpr double log_pi = 1.1447298858494002;
  const index_t n = location.size();
  double total = 0;
  for (index_t i = 0; i < n; ++i) {
    const auto s = static_cast<double>(scale.data()[i]);
    const auto nu = static_cast<double>(degrees.data()[i]);
    const double z =
        (static_cast<double>(target.data()[i]) - static_cast<double>(location.data()[i])) / s;
    if (!(s > 0 && nu > 0)) {
      total = std::nan("");
      break;
    }
    total += std::log(s) + (std::log(nu) + log_pi) / 2 + std::lgamma(nu / 2) -
             std::lgamma((nu + 1) / 2) + (nu + 1) / 2 * std::log1p(z * z / nu);
  }
  Tensor<T, 0> y({}, static_cast<T>(total / static_cast<double>(n)));
  if (Recorder* tape = recording(location, scale, degrees, target))
    tape->push([location, scale, degrees, target, n, mv = location.var(), sv = scale.var(),
                nv = degrees.var(), tv = target.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const double share = static_cast<double>(dy.item()) / static_cast<double>(n);
      auto dm = Tensor<T, Rank>::empty(location.shape()), ds = dm.clone(), dn = dm.clone(),
           dt = dm.clone();
      T* const to_m = dm.data();
      T* const to_s = ds.data();
      T* const to_n = dn.data();
      T* const to_t = dt.data();
      for (index_t i = 0; i < n; ++i) {
        const auto s = static_cast<double>(scale.data()[i]);
        const auto nu = static_cast<double>(degrees.data()[i]);
        const double z =
            (static_cast<double>(target.data()[i]) - static_cast<double>(location.data()[i])) / s;
        const double pull = (nu + 1) * z / (nu + z * z);  // d/dz
        to_m[i] = static_cast<T>(-share * pull / s);
        to_t[i] = static_cast<T>(share * pull / s);
        to_s[i] = static_cast<T>(share * (1 - pull * z) / s);
        to_n[i] = static_cast<T>(share / 2 *
                                 (1 / nu + detail::digamma(nu / 2) - detail::digamma((nu + 1) / 2) +
                                  std::log1p(z * z / nu) - pull * z / nu));
      }
      g.add(mv, dm);
      g.add(sv, ds);
      g.add(nv, dn);
      g.add(tv, dt);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI
