/// Fourier transforms over time, differentiable, and the plans that they follow.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/fft.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

using kernels::FftNorm;

/// A constant that any number of threads may share. Operations given a plan allocate what they
/// return and scratch memory, nothing else.
template <Scalar T>
using FftPlan = std::shared_ptr<const kernels::FftPlan<T>>;

/// The plan of real transforms of `length` values. Throws ConfigError.
template <Scalar T>
FftPlan<T> make_fft_plan(index_t length) {
  return std::make_shared<const kernels::FftPlan<T>>(length);
}

/// The same from this thread's store of the plans that it used last, at most 16; takes no lock, and
/// allocates when the length is new. Throws ConfigError.
template <Scalar T>
FftPlan<T> cached_fft_plan(index_t length) {
  constexpr std::size_t kMost = 16;
  thread_local std::vector<FftPlan<T>> plans;  // the latest last
  const auto found = std::find_if(plans.begin(), plans.end(),
                                  [&](const FftPlan<T>& p) { return p->length() == length; });
  if (found != plans.end()) {
    std::rotate(found, found + 1, plans.end());
    return plans.back();
  }
  auto plan = make_fft_plan<T>(length);
  if (plans.size() == kMost) plans.erase(plans.begin());
  plans.push_back(std::move(plan));
  return plans.back();
}

/// A complex spectrum: real and imaginary parts. Any operation on tensors applies to them.
template <Scalar T, std::size_t Rank>
struct Spectrum {
  Tensor<T, Rank> re;
  Tensor<T, Rank> im;
};

/// How a transform without a plan is taken.
struct FftOptions {
  index_t length = 0;  ///< of the transform: x is cut or filled with zeros; 0 means as x is
  FftNorm norm = FftNorm::kBackward;
};

namespace detail {

/// Which axis of a tensor the transform runs over.
enum class FftAxis { kTime, kLast };

/// [B, T, C] as the kernels see it; a last axis is the time of rows that are its channels.
template <class T, std::size_t Rank>
View<T, 3> fft_view(T* data, const Shape<Rank>& shape, FftAxis axis) {
  if constexpr (Rank == 3) {
    if (axis == FftAxis::kTime && shape[2] != 1) return {data, shape};
    if (axis == FftAxis::kTime) return {data, {1, shape[1], shape[0]}, {0, 1, shape[1]}};
  }
  index_t rows = 1;
  for (std::size_t i = 0; i + 1 < Rank; ++i) rows *= shape[i];
  return {data, {1, shape[Rank - 1], rows}, {0, 1, shape[Rank - 1]}};
}

template <std::size_t Rank>
constexpr std::size_t fft_axis_index(FftAxis axis) noexcept {
  return axis == FftAxis::kTime ? 1 : Rank - 1;
}

/// Runs f(scratch, begin, end) over `items` pieces of work, each range with scratch of its own.
template <class T, class F>
void fft_run(const kernels::FftPlan<T>& plan, index_t items, F&& f) {
  if (items == 0) return;
  const index_t ranges = (std::min)(concurrency(), items);
  const index_t size = kernels::fft_scratch_size(plan);
  auto scratch = Tensor<T, 1>::empty({ranges * size});
  T* const memory = scratch.data();
  parallel_for(ranges, 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r)
      f(memory + r * size, items * r / ranges, items * (r + 1) / ranges);
  });
}

template <class T>
void run_rfft(const kernels::FftPlan<T>& plan, const View<const T, 3>& x, index_t first,
              const kernels::FftSpectrum<T>& y, const kernels::FftScale<T>& scale) {
  fft_run(plan, kernels::fft_items(x, y.re), [&](T* scratch, index_t begin, index_t end) {
    kernels::rfft_forward<T>(plan, x, first, y, scale, scratch, begin, end);
  });
}

template <class T>
void run_irfft(const kernels::FftPlan<T>& plan, const kernels::FftSpectrum<const T>& x,
               const View<T, 3>& y, index_t first, const kernels::FftScale<T>& scale) {
  fft_run(plan, kernels::fft_items(x.re, y), [&](T* scratch, index_t begin, index_t end) {
    kernels::irfft_forward<T>(plan, x, y, first, scale, scratch, begin, end);
  });
}

template <class T, std::size_t Rank>
kernels::FftSpectrum<T> fft_view(Spectrum<T, Rank>& s, FftAxis axis) {
  return {fft_view(s.re.data(), s.re.shape(), axis), fft_view(s.im.data(), s.re.shape(), axis)};
}
template <class T, std::size_t Rank>
kernels::FftSpectrum<const T> fft_view(const Spectrum<T, Rank>& s, FftAxis axis) {
  return {fft_view(s.re.data(), s.re.shape(), axis), fft_view(s.im.data(), s.re.shape(), axis)};
}

template <class T, std::size_t Rank>
Spectrum<T, Rank> empty_spectrum(const Shape<Rank>& shape) {
  return {Tensor<T, Rank>::empty(shape), Tensor<T, Rank>::empty(shape)};
}

template <Scalar T, std::size_t Rank>
Spectrum<T, Rank> rfft_over(const FftPlan<T>& plan, const Tensor<T, Rank>& x, FftNorm norm,
                            FftAxis axis) {
  Shape<Rank> shape = x.shape();
  shape[fft_axis_index<Rank>(axis)] = plan->bins();
  auto y = empty_spectrum<T>(shape);
  const T scale = plan->scale(norm, false);
  if (y.re.size() > 0)
    run_rfft<T>(*plan, fft_view(x.data(), x.shape(), axis), 0, fft_view(y, axis), scale);
  if (Recorder* tape = recording(x)) {
    tape->push([plan, scale, axis, xv = x.var(), rv = tape->track(y.re),
                iv = tape->track(y.im)](auto& g) -> void {
      Spectrum<T, Rank> dy{g.take(rv), g.take(iv)};
      if (!dy.re.defined() && !dy.im.defined()) return;
      if (!dy.re.defined()) dy.re = Tensor<T, Rank>(rv.shape);
      if (!dy.im.defined()) dy.im = Tensor<T, Rank>(iv.shape);
      // Each inner frequency occurs once in the output, and twice in an inverse transform.
      Tensor<T, Rank> dx(xv.shape);
      auto to = fft_view(dx.data(), xv.shape, axis);
      const Shape<3> within{to.extent(0), (std::min)(to.extent(1), plan->length()), to.extent(2)};
      to = View<T, 3>(to.data(), within, to.strides());
      if (dx.size() > 0)
        run_irfft<T>(*plan, fft_view(std::as_const(dy), axis), to, 0, {scale / 2, scale});
      g.add(xv, dx);
    });
  }
  return y;
}

template <Scalar T, std::size_t Rank>
Tensor<T, Rank> irfft_over(const FftPlan<T>& plan, const Spectrum<T, Rank>& x, FftNorm norm,
                           FftAxis axis, const char* op) {
  if (x.re.shape() != x.im.shape())
    throw ShapeError(std::string(op) + ": im is " + to_string(x.im.shape()) + ", expected " +
                     to_string(x.re.shape()) + " as re");
  Shape<Rank> shape = x.re.shape();
  shape[fft_axis_index<Rank>(axis)] = plan->length();
  auto y = Tensor<T, Rank>::empty(shape);
  const T scale = plan->scale(norm, true);
  if (y.size() > 0)
    run_irfft<T>(*plan, fft_view(x, axis), fft_view(y.data(), shape, axis), 0, scale);
  if (Recorder* tape = recording(x.re, x.im)) {
    tape->push([plan, scale, axis, rv = x.re.var(), iv = x.im.var(),
                yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      // Frequencies beyond those of the transform have no part in it.
      Spectrum<T, Rank> dx{Tensor<T, Rank>(rv.shape), Tensor<T, Rank>(rv.shape)};
      if (dx.re.size() > 0 && dy.size() > 0)
        run_rfft<T>(*plan, fft_view(dy.data(), dy.shape(), axis), 0, fft_view(dx, axis),
                    {2 * scale, scale});
      g.add(rv, dx.re);
      g.add(iv, dx.im);
    });
  }
  return y;
}

template <class T, std::size_t Rank>
FftPlan<T> fft_plan_for(const Tensor<T, Rank>& x, const FftOptions& options, FftAxis axis,
                        const char* op) {
  const index_t own = x.extent(fft_axis_index<Rank>(axis));
  if (options.length < 0 || (options.length == 0 && own == 0))
    throw ShapeError(std::string(op) + ": the length is " +
                     std::to_string(options.length == 0 ? own : options.length) +
                     ", expected at least 1 (x is " + to_string(x.shape()) + ")");
  return cached_fft_plan<T>(options.length == 0 ? own : options.length);
}

}  // namespace detail

/// X[k] = sum_t x[t] exp(-2 pi i k t / n), k <= n / 2, of each channel: torch.fft.rfft(x, n, dim=1)
/// of x [B, T, C] -> [B, n / 2 + 1, C], n being the plan's length; x is cut or filled with zeros.
/// Real-time safe under an arena.
template <Scalar T>
Spectrum<T, 3> rfft(const FftPlan<T>& plan, const Tensor<T, 3>& x,
                    FftNorm norm = FftNorm::kBackward) {
  return detail::rfft_over(plan, x, norm, detail::FftAxis::kTime);
}
/// The same with a plan from this thread's store. Throws ShapeError.
template <Scalar T>
Spectrum<T, 3> rfft(const Tensor<T, 3>& x, const FftOptions& options = {}) {
  return rfft(detail::fft_plan_for(x, options, detail::FftAxis::kTime, "rfft"), x, options.norm);
}

/// The transform over the last axis, of any rank: torch.fft.rfft(x, n).
template <Scalar T, std::size_t Rank>
Spectrum<T, Rank> rfft_last(const FftPlan<T>& plan, const Tensor<T, Rank>& x,
                            FftNorm norm = FftNorm::kBackward) {
  return detail::rfft_over(plan, x, norm, detail::FftAxis::kLast);
}
template <Scalar T, std::size_t Rank>
Spectrum<T, Rank> rfft_last(const Tensor<T, Rank>& x, const FftOptions& options = {}) {
  return rfft_last(detail::fft_plan_for(x, options, detail::FftAxis::kLast, "rfft_last"), x,
                   options.norm);
}

/// The real series [B, n, C] whose spectrum is x [B, F, C]: torch.fft.irfft(x, n, dim=1), n being
/// the plan's length. Of n / 2 + 1 frequencies those that x lacks are 0, more are not read; the
/// imaginary parts of the first and, for even n, the last are taken as 0.
/// Throws ShapeError. Real-time safe under an arena.
template <Scalar T>
Tensor<T, 3> irfft(const FftPlan<T>& plan, const Spectrum<T, 3>& x,
                   FftNorm norm = FftNorm::kBackward) {
  return detail::irfft_over(plan, x, norm, detail::FftAxis::kTime, "irfft");
}
/// The same with a plan from this thread's store, for `length` values. Throws ShapeError and, for
/// an impossible length, ConfigError.
template <Scalar T>
Tensor<T, 3> irfft(const Spectrum<T, 3>& x, index_t length, FftNorm norm = FftNorm::kBackward) {
  return irfft(cached_fft_plan<T>(length), x, norm);
}

/// The inverse over the last axis, of any rank: torch.fft.irfft(x, n).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> irfft_last(const FftPlan<T>& plan, const Spectrum<T, Rank>& x,
                           FftNorm norm = FftNorm::kBackward) {
  return detail::irfft_over(plan, x, norm, detail::FftAxis::kLast, "irfft_last");
}
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> irfft_last(const Spectrum<T, Rank>& x, index_t length,
                           FftNorm norm = FftNorm::kBackward) {
  return irfft_last(cached_fft_plan<T>(length), x, norm);
}

}  // namespace sequin::inline SEQUIN_ABI
