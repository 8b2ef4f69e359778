/// Scale-invariant signal-to-distortion ratio of one estimate and one source, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/row_sum.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI::kernels {

/// The constant that stands beside the source's energy, beside the noise's and inside the
/// logarithm.
inline constexpr double kSiSdrEps = 1e-8;

namespace detail {

/// sum of f(in[i]...) for i < n, blocks of 1024 added in double. `f` is 0 for zeros.
template <class T, class F, class... In>
double blocked_sum(index_t n, F f, const In*... in) {
  constexpr index_t kBlock = 1024;
  double total = 0;
  for (index_t i = 0; i < n; i += kBlock)
    total += static_cast<double>(sum_of<T>((n - i < kBlock ? n - i : kBlock), f, (in + i)...));
  return total;
}

}  // namespace detail

/// y[t] = x[t] - (sum of the first `summed` samples) / length for t < length, 0 up to n.
/// Real-time safe.
template <class T>
void center_forward(const T* x, index_t n, index_t length, index_t summed, T* y) {
  using V = simd::Vec<T>;
  const double sum = detail::blocked_sum<T>(
      summed, [](const V& v) { return v; }, x);
  const V mean(static_cast<T>(sum / static_cast<double>(length)));
  simd::transform<T>(
      length, y, [&](const V& v) { return v - mean; }, x);
  for (index_t t = length; t < n; ++t) y[t] = T{0};
}

/// dx from dy, which is 0 from `length` on: dy[t] less the mean of dy where the sample entered the
/// sum. dx may be dy.
template <class T>
void center_backward(const T* dy, index_t n, index_t length, index_t summed, T* dx) {
  using V = simd::Vec<T>;
  const double sum = detail::blocked_sum<T>(
      length, [](const V& v) { return v; }, dy);
  const T mean = static_cast<T>(sum / static_cast<double>(length));
  const V m(mean);
  simd::transform<T>(
      length, dx, [&](const V& v) { return v - m; }, dy);
  for (index_t t = length; t < n; ++t) dx[t] = t < summed ? -mean : T{0};
}

/// What the backward pass needs of a pair: s is the source and e the estimate, both centred.
struct SiSdrPair {
  double scale;   ///< a = <e, s> / (|s|^2 + eps); the projection is a s
  double energy;  ///< |s|^2
  double noise;   ///< |e - a s|^2
  double ratio;   ///< a^2 |s|^2 / (noise + eps)
  double value;   ///< 10 log10(ratio + eps)
};

/// The sum of x^2.
template <class T>
double signal_energy(const T* x, index_t n) {
  using V = simd::Vec<T>;
  return detail::blocked_sum<T>(
      n, [](const V& v) { return v * v; }, x);
}

/// One pair of centred signals of n samples; `energy` is that of s. Real-time safe.
template <class T>
SiSdrPair si_sdr_forward(const T* e, const T* s, double energy, index_t n) {
  using V = simd::Vec<T>;
  SiSdrPair p{};
  p.energy = energy;
  const double dot = detail::blocked_sum<T>(
      n, [](const V& a, const V& b) { return a * b; }, e, s);
  p.scale = dot / (energy + kSiSdrEps);
  const V a(static_cast<T>(p.scale));
  // The difference is taken sample by sample: |e|^2 - a <e, s> would cancel for good estimates.
  p.noise = detail::blocked_sum<T>(
      n,
      [&](const V& x, const V& y) {
        const V d = x - a * y;
        return d * d;
      },
      e, s);
  p.ratio = p.scale * p.scale * energy / (p.noise + kSiSdrEps);
  p.value = 10 * std::log10(p.ratio + kSiSdrEps);
  return p;
}

/// Adds to de and ds (either may be nullptr) what `dvalue`, the gradient with respect to the pair's
/// value, makes of them. With P = a^2 |s|^2, N = |e - a s|^2 and value = f(P / (N + eps)).
template <class T>
void si_sdr_backward(const T* e, const T* s, const SiSdrPair& p, double dvalue, index_t n, T* de,
                     T* ds) {
  using V = simd::Vec<T>;
  constexpr double kTenOverLn10 = 4.342944819032518;
  const double dratio = dvalue * kTenOverLn10 / (p.ratio + kSiSdrEps);
  const double dP = dratio / (p.noise + kSiSdrEps);
  const double dN = -dratio * p.ratio / (p.noise + kSiSdrEps);
  // <e - a s, s> = a eps.
  const double da = 2 * dP * p.scale * p.energy - 2 * dN * p.scale * kSiSdrEps;
  const double over = 1 / (p.energy + kSiSdrEps);
  const V a(static_cast<T>(p.scale));
  if (de != nullptr) {
    const V by_noise(static_cast<T>(2 * dN)), by_source(static_cast<T>(da * over));
    simd::transform<T>(
        n, de,
        [&](const V& sum, const V& x, const V& y) {
          return sum + by_noise * (x - a * y) + by_source * y;
        },
        de, e, s);
  }
  if (ds != nullptr) {
    const V by_noise(static_cast<T>(-2 * dN * p.scale)), by_estimate(static_cast<T>(da * over));
    const V by_source(static_cast<T>(2 * dP * p.scale * p.scale - 2 * da * p.scale * over));
    simd::transform<T>(
        n, ds,
        [&](const V& sum, const V& x, const V& y) {
          return sum + by_noise * (x - a * y) + by_estimate * x + by_source * y;
        },
        ds, e, s);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::center_forward);
SEQUIN_INSTANTIATE(kernels::center_backward);
SEQUIN_INSTANTIATE(kernels::signal_energy);
SEQUIN_INSTANTIATE(kernels::si_sdr_forward);
SEQUIN_INSTANTIATE(kernels::si_sdr_backward);
