/// Long convolutions and correlations over time, through Fourier transforms.
#pragma once

#include "sequin/ops/fft.hpp"

#include <array>

namespace sequin::inline SEQUIN_ABI {

/// Which samples a convolution's taps meet: those before and the current one; an equal number on
/// both sides, zeros beyond the ends; or those before, the series going round.
enum class FftConvMode { kCausal, kSame, kCircular };

namespace detail {

/// y = a b, or a conj(b) (Conj), of `batch` spectra of `size` elements; b is one spectrum or as
/// many.
template <bool Conj, class T, std::size_t Rank>
Spectrum<T, 3> multiply_spectra(const Spectrum<T, 3>& a, const Spectrum<T, Rank>& b) {
  using V = simd::Vec<T>;
  auto y = empty_spectrum<T>(a.re.shape());
  const index_t size = Rank == 3 ? y.re.size() : b.re.size();
  T* const re = y.re.data();
  T* const im = y.im.data();
  for (index_t at = 0; at < y.re.size(); at += size)
    parallel_for(size, 8192, [&](index_t begin, index_t end) {
      const index_t n = end - begin;
      const T* const are = a.re.data() + at + begin;
      const T* const aim = a.im.data() + at + begin;
      const T* const bre = b.re.data() + begin;
      const T* const bim = b.im.data() + begin;
      simd::transform(
          n, re + at + begin,
          [](const V& p, const V& q, const V& r, const V& s) {
            return Conj ? simd::fma<T>(q, s, p * r) : simd::fnma<T>(q, s, p * r);
          },
          are, aim, bre, bim);
      simd::transform(
          n, im + at + begin,
          [](const V& p, const V& q, const V& r, const V& s) {
            return Conj ? simd::fnma<T>(p, s, q * r) : simd::fma<T>(p, s, q * r);
          },
          are, aim, bre, bim);
    });
  return y;
}

/// The transform of x [B, T, C], which stands at the times from `first` on.
template <class T>
Spectrum<T, 3> padded_spectrum(const FftPlan<T>& plan, const Tensor<T, 3>& x, index_t first) {
  auto y = empty_spectrum<T>(Shape<3>{x.extent(0), plan->bins(), x.extent(2)});
  run_rfft<T>(*plan, fft_view(x.data(), x.shape(), FftAxis::kTime), first,
              fft_view(y, FftAxis::kTime), T{1});
  return y;
}

/// The values at `first`, `first` + 1, ... of the inverse.
template <class T>
Tensor<T, 3> part_of_inverse(const FftPlan<T>& plan, const Spectrum<T, 3>& x, index_t first,
                             index_t length) {
  auto y = Tensor<T, 3>::empty({x.re.extent(0), length, x.re.extent(2)});
  const auto to = fft_view(y.data(), y.shape(), FftAxis::kTime);
  run_irfft<T>(*plan, fft_view(x, FftAxis::kTime), to, first,
               plan->scale(FftNorm::kBackward, true));
  return y;
}

/// Spectrum [1, F, C] of taps [C, K], of which `taps` count.
template <class T>
Spectrum<T, 3> taps_spectrum(const FftPlan<T>& plan, const Tensor<T, 2>& weight, index_t taps) {
  const index_t channels = weight.extent(0);
  auto y = empty_spectrum<T>(Shape<3>{1, plan->bins(), channels});
  const View<const T, 3> from(weight.data(), {1, taps, channels}, {0, 1, weight.extent(1)});
  run_rfft<T>(*plan, from, 0, fft_view(y, FftAxis::kTime), T{1});
  return y;
}

/// What a convolution of T steps with K taps comes to.
struct FftConvSizes {
  index_t taps;    ///< those that can meet a sample
  index_t first;   ///< of the full convolution, the first value that is wanted
  index_t length;  ///< of the transforms
};

inline FftConvSizes fft_conv_sizes(index_t steps, index_t taps, FftConvMode mode) noexcept {
  if (mode == FftConvMode::kCircular) return {taps, 0, steps};
  if (mode == FftConvMode::kCausal) taps = (std::min)(steps, taps);
  return {taps, mode == FftConvMode::kSame ? (taps - 1) / 2 : 0,
          kernels::detail::fft_good_length(steps + taps - 1)};
}

template <class T>
void check_fft_conv1d(const Tensor<T, 3>& x, const Tensor<T, 2>& weight, FftConvMode mode) {
  const index_t most = mode == FftConvMode::kCircular ? x.extent(1) : index_t{1} << 27;
  if (weight.extent(0) != x.extent(2) || weight.extent(1) < 1 ||
      (x.extent(1) > 0 && weight.extent(1) > most))
    throw ShapeError("fft_conv1d: weight is " + to_string(weight.shape()) +
                     ", expected [C=" + std::to_string(x.extent(2)) + ", " +
                     (mode == FftConvMode::kCircular ? "1 <= K <= T=" + std::to_string(most)
                                                     : std::string("K >= 1")) +
                     "] (x is " + to_string(x.shape()) + ")");
}

}  // namespace detail

/// The transforms' plan in a convolution of T = `steps` with K = `taps`.
template <Scalar T>
FftPlan<T> make_fft_conv1d_plan(index_t steps, index_t taps,
                                FftConvMode mode = FftConvMode::kCausal) {
  return make_fft_plan<T>(detail::fft_conv_sizes(steps, taps, mode).length);
}

/// Depthwise convolution in O(T log T), however many taps:
///
///     causal    y[t] = sum_k weight[k] x[t - k]
///     same      y[t] = sum_k weight[k] x[t + (K - 1) / 2 - k]   (as numpy.convolve for K <= T)
///     circular  y[t] = sum_k weight[k] x[(t - k) mod T], K <= T
///
/// x [B, T, C], weight [C, K], y [B, T, C]; tap k meets the sample k steps back, so the weights of
/// `causal_conv1d` come in the other order. Differentiable in both. `plan` is that of
/// `make_fft_conv1d_plan`; any longer one does too, unless circular. Throws ShapeError. Real-time
/// safe under an arena.
template <Scalar T>
Tensor<T, 3> fft_conv1d(const FftPlan<T>& plan, const Tensor<T, 3>& x, const Tensor<T, 2>& weight,
                        FftConvMode mode = FftConvMode::kCausal) {
  detail::check_fft_conv1d(x, weight, mode);
  const index_t steps = x.extent(1);
  const auto sizes = detail::fft_conv_sizes(steps, weight.extent(1), mode);
  const bool circular = mode == FftConvMode::kCircular;
  const index_t needed = circular ? steps : steps + sizes.taps - 1;
  if (steps > 0 && (plan->length() < needed || (circular && plan->length() != needed)))
    throw ShapeError("fft_conv1d: the plan is for " + std::to_string(plan->length()) +
                     " values, expected " + (circular ? "T=" : "T+K-1=") + std::to_string(needed) +
                     (circular ? "" : " or more") + " (x is " + to_string(x.shape()) +
                     ", weight is " + to_string(weight.shape()) + ")");
  if (x.size() == 0) return Tensor<T, 3>(x.shape());
  auto fx = detail::padded_spectrum(plan, x, 0);
  auto fw = detail::taps_spectrum(plan, weight, sizes.taps);
  const Spectrum<T, 2> one{fw.re.template reshaped<2>({plan->bins(), x.extent(2)}),
                           fw.im.template reshaped<2>({plan->bins(), x.extent(2)})};
  auto y =
      detail::part_of_inverse(plan, detail::multiply_spectra<false>(fx, one), sizes.first, steps);
  if (Recorder* tape = recording(x, weight)) {
    tape->push([plan, fx, one, sizes, steps, xv = x.var(), wv = weight.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const auto fdy = detail::padded_spectrum(plan, dy, sizes.first);
      if (g.wants(xv))
        g.add(xv,
              detail::part_of_inverse(plan, detail::multiply_spectra<true>(fdy, one), 0, steps));
      if (!g.wants(wv)) return;
      // Sums over the batch commute with the transform: one inverse does.
      auto each = detail::multiply_spectra<true>(fdy, fx);
      auto sum = detail::empty_spectrum<T>(Shape<3>{1, plan->bins(), each.re.extent(2)});
      kernels::sum_parts(each.re.data(), dy.extent(0), sum.re.size(), sum.re.data());
      kernels::sum_parts(each.im.data(), dy.extent(0), sum.im.size(), sum.im.data());
      Tensor<T, 2> dw(wv.shape);
      const View<T, 3> to(dw.data(), {1, sizes.taps, wv.shape[0]}, {0, 1, wv.shape[1]});
      detail::run_irfft<T>(*plan, detail::fft_view(std::as_const(sum), detail::FftAxis::kTime), to,
                           0, plan->scale(FftNorm::kBackward, true));
      g.add(wv, dw);
    });
  }
  return y;
}
/// The same with a plan from this thread's store.
template <Scalar T>
Tensor<T, 3> fft_conv1d(const Tensor<T, 3>& x, const Tensor<T, 2>& weight,
                        FftConvMode mode = FftConvMode::kCausal) {
  detail::check_fft_conv1d(x, weight, mode);
  if (x.size() == 0) return Tensor<T, 3>(x.shape());
  const auto sizes = detail::fft_conv_sizes(x.extent(1), weight.extent(1), mode);
  return fft_conv1d(cached_fft_plan<T>(sizes.length), x, weight, mode);
}

/// r[s] = sum_t q[(t + s) mod T] k[t], of each channel: Autoformer's irfft(rfft(q) conj(rfft(k))).
/// q and k [B, T, C] -> [B, T, C]; `plan` is for T values. Differentiable in both.
/// Throws ShapeError. Real-time safe under an arena.
template <Scalar T>
Tensor<T, 3> autocorrelation(const FftPlan<T>& plan, const Tensor<T, 3>& q, const Tensor<T, 3>& k) {
  if (q.shape() != k.shape())
    throw ShapeError("autocorrelation: k is " + to_string(k.shape()) + ", expected " +
                     to_string(q.shape()) + " as q");
  const index_t steps = q.extent(1);
  if (steps > 0 && plan->length() != steps)
    throw ShapeError("autocorrelation: the plan is for " + std::to_string(plan->length()) +
                     " values, expected T=" + std::to_string(steps) + " (q is " +
                     to_string(q.shape()) + ")");
  if (q.size() == 0) return Tensor<T, 3>(q.shape());
  const auto fq = detail::padded_spectrum(plan, q, 0);
  const auto fk = detail::padded_spectrum(plan, k, 0);
  auto y = detail::part_of_inverse(plan, detail::multiply_spectra<true>(fq, fk), 0, steps);
  if (Recorder* tape = recording(q, k)) {
    tape->push([plan, fq, fk, steps, qv = q.var(), kv = k.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const auto fdy = detail::padded_spectrum(plan, dy, 0);
      if (g.wants(qv))
        g.add(qv,
              detail::part_of_inverse(plan, detail::multiply_spectra<false>(fdy, fk), 0, steps));
      if (g.wants(kv))
        g.add(kv, detail::part_of_inverse(plan, detail::multiply_spectra<true>(fq, fdy), 0, steps));
    });
  }
  return y;
}
/// The same with a plan from this thread's store.
template <Scalar T>
Tensor<T, 3> autocorrelation(const Tensor<T, 3>& q, const Tensor<T, 3>& k) {
  if (q.size() == 0 && q.shape() == k.shape()) return Tensor<T, 3>(q.shape());
  return autocorrelation(cached_fft_plan<T>((std::max)(q.extent(1), index_t{1})), q, k);
}

}  // namespace sequin::inline SEQUIN_ABI
