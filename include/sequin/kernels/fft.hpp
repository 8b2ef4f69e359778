/// Fourier transforms over time of many channels at once, real and complex.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/fft_whole.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// A spectrum: real and imaginary parts [B, F, C], channels or frequencies adjacent.
template <class T>
struct FftSpectrum {
  View<T, 3> re;
  View<T, 3> im;
};

namespace detail {

/// Channels that go through a transform together: some cache lines of a time step where channels
/// are adjacent in memory (with one line the memory's latency would rule), else a register.
template <class T>
index_t fft_block_width(bool time_major, index_t channels) noexcept {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t most = time_major ? index_t{256 / sizeof(T)} : lanes;
  return (std::min)(most, (channels + lanes - 1) / lanes * lanes);
}

/// Whether the first pass reads the `steps` time steps of a block where they are. What a butterfly
/// takes lies a fraction of the length apart: in a long matrix such rows meet in few sets of the
/// caches, and the memory is faster when they are copied in their order.
template <class T>
bool fft_in_place(index_t steps, index_t width) noexcept {
  return steps * width * static_cast<index_t>(sizeof(T)) <= 512 * 1024;
}

template <class T, class U>
bool fft_time_major(const View<T, 3>& x, const View<U, 3>& y) noexcept {
  return x.stride(2) == 1 || y.stride(2) == 1;
}

/// Calls f(b, first channel, width, channels) for the blocks [begin, end).
template <class T, class F>
void fft_for_blocks(bool time_major, index_t channels, index_t begin, index_t end, F&& f) {
  const index_t width = fft_block_width<T>(time_major, channels);
  const index_t blocks = (channels + width - 1) / width;
  for (index_t item = begin; item < end; ++item) {
    const index_t first = item % blocks * width;
    f(item / blocks, first, (std::min)(width, channels - first));
  }
}

/// The working memory of one block, inside of scratch.
template <class T>
FftBlock<T> fft_block(const FftPlan<T>& plan, T* scratch, bool time_major, index_t channels) {
  const index_t width = fft_block_width<T>(time_major, channels);
  return {plan,
          {scratch, scratch + width, 2 * width},
          scratch + 2 * width * plan.core().n,
          width,
          channels};
}

}  // namespace detail

/// Elements of scratch memory, 64-byte aligned, that any transform of the plan needs.
template <Scalar T>
index_t fft_scratch_size(const FftPlan<T>& plan) noexcept {
  const index_t width = detail::fft_block_width<T>(true, index_t{1} << 20);
  return width * (2 * plan.core().n + 4 * plan.last_radix() * detail::kFftTile<T>);
}

/// Number of pieces of work in a transform from x [B, ..., C] to y [B, ..., C] (of a spectrum, its
/// real part); they may run in any order or at the same time, with scratch of their own.
template <class T, class U>
index_t fft_items(const View<T, 3>& x, const View<U, 3>& y) noexcept {
  const index_t channels = x.extent(2);
  if (channels == 0) return 0;
  const index_t width =
      detail::fft_block_width<std::remove_const_t<T>>(detail::fft_time_major(x, y), channels);
  return x.extent(0) * ((channels + width - 1) / width);
}

/// X[k] = scale * sum_t x[t - first] exp(-2 pi i k t / n), 0 <= k <= n / 2, for every channel; n is
/// the plan's length, x [B, T, C] stands at the times [first, first + T) of it, with zeros around;
/// what lies beyond n is cut off. In x and in y [B, n / 2 + 1, C] either channels or times
/// (frequencies) are adjacent; y aliases nothing. The imaginary parts of the first and, for even n,
/// the last frequency are 0. Does the pieces of work [begin, end) of `fft_items`.
///
/// The bits of a result depend on its channel's values alone, not on layout, place or company.
/// Real-time safe.
template <Scalar T>
void rfft_forward(const FftPlan<T>& plan, View<const T, 3> x, index_t first,
                  const FftSpectrum<T>& y, const FftScale<T>& scale, T* scratch, index_t begin,
                  index_t end) {
  const bool time_major = detail::fft_time_major(x, y.re);
  const auto& core = plan.core();
  const std::size_t last = core.passes.size() - 1;
  const index_t n = plan.length();
  detail::fft_for_blocks<T>(
      time_major, x.extent(2), begin, end, [&](index_t b, index_t channel, index_t channels) {
        auto block = detail::fft_block(plan, scratch, time_major, x.extent(2));
        block.channels = channels;
        const auto& z = block.z;
        const index_t w = block.width;
        const detail::FftMatrix<const T> from(x, b, channel);
        const bool direct = plan.half() && !plan.is_chirped() && from.time_major() &&
                            channels == w && first == 0 && from.steps >= n &&
                            detail::fft_in_place<T>(n, w);
        if (!direct) {
          const index_t step = plan.half() ? w : z.step;
          const index_t before = (std::min)(first, n);
          for (index_t t = 0; t < before; ++t) std::fill_n(z.re + t * step, w, T{0});
          detail::fft_load_rows(from, 0, n - before, channels, z.re + before * step, step, w);
          if (!plan.half())
            for (index_t t = 0; t < n; ++t) std::fill_n(z.im + t * z.step, w, T{0});
        }
        if (plan.is_chirped()) {
          detail::fft_chirp(plan, z, w);
        } else {
          const detail::FftRows<const T> rows =
              direct ? detail::FftRows<const T>{from.data, from.row(1), 2 * from.step}
                     : detail::FftRows<const T>(z);
          detail::fft_pass_down<T>(core, 0, index_t{1}, rows, z, w);
          detail::fft_down(core, 1, last, core.passes[0].radix, z, w);
        }
        const detail::FftSpectrumRef<T> to(y.re, y.im, b, channel, plan.bins());
        if (plan.half())
          detail::fft_split_all(block, to, scale);
        else
          detail::fft_whole_down(block, to, scale);
      });
}

/// The inverse: y[t] = scale * sum_k X[k] exp(2 pi i k (t + first) / n) over all n frequencies, the
/// upper half being the conjugate of the lower one; y [B, T, C] gets the times [first, first + T),
/// first + T <= n. x [B, F, C] may have fewer frequencies than n / 2 + 1 (the others are 0) or
/// more. Imaginary parts of the first and, for even n, the last frequency are taken as 0. Otherwise
/// as `rfft_forward`.
template <Scalar T>
void irfft_forward(const FftPlan<T>& plan, const FftSpectrum<const T>& x, View<T, 3> y,
                   index_t first, const FftScale<T>& scale, T* scratch, index_t begin,
                   index_t end) {
  const bool time_major = detail::fft_time_major(x.re, y);
  const auto& core = plan.core();
  const std::size_t last = core.passes.size() - 1;
  const index_t n = plan.length();
  detail::fft_for_blocks<T>(
      time_major, y.extent(2), begin, end, [&](index_t b, index_t channel, index_t channels) {
        auto block = detail::fft_block(plan, scratch, time_major, y.extent(2));
        block.channels = channels;
        // Exchanging the parts before and after makes an inverse of the transform.
        const detail::FftRows<T> z{block.z.im, block.z.re, block.z.step};
        block.z = z;
        const index_t w = block.width;
        const detail::FftSpectrumRef<const T> from(x.re, x.im, b, channel, plan.bins());
        if (plan.half())
          detail::fft_join_all(block, from, scale);
        else
          detail::fft_whole_up(block, from, scale);
        const detail::FftMatrix<T> to(y, b, channel);
        const bool direct = plan.half() && !plan.is_chirped() && to.time_major() && channels == w &&
                            first == 0 && to.steps == n;
        if (plan.is_chirped()) {
          detail::fft_chirp(plan, z, w);
        } else {
          detail::fft_up(core, 1, last, core.passes[0].radix, z, w);
          const detail::FftRows<T> rows =
              direct ? detail::FftRows<T>{to.row(1), to.data, 2 * to.step} : z;
          detail::fft_pass_up<T>(core, 0, index_t{1}, z, rows, w);
        }
        if (direct) return;
        const index_t step = plan.half() ? w : z.step;
        detail::fft_store_rows<T>(scratch + first * step, step, to, 0, n - first, channels);
      });
}

/// X[k] = scale * sum_t x[t] exp(-2 pi i k t / n) of complex x [B, n, C], for a plan made for
/// complex values. With re and im exchanged in x and y it is the inverse. Otherwise as
/// `rfft_forward`.
template <Scalar T>
void fft_forward(const FftPlan<T>& plan, const FftSpectrum<const T>& x, const FftSpectrum<T>& y,
                 T scale, T* scratch, index_t begin, index_t end) {
  const bool time_major = detail::fft_time_major(x.re, y.re);
  const auto& core = plan.core();
  const std::size_t last = core.passes.size() - 1;
  const index_t n = plan.length();
  detail::fft_for_blocks<T>(
      time_major, x.re.extent(2), begin, end, [&](index_t b, index_t channel, index_t channels) {
        auto block = detail::fft_block(plan, scratch, time_major, x.re.extent(2));
        block.channels = channels;
        const auto& z = block.z;
        const index_t w = block.width;
        const detail::FftMatrix<const T> re(x.re, b, channel), im(x.im, b, channel);
        const bool direct = !plan.is_chirped() && re.time_major() && im.time_major() &&
                            re.step == im.step && channels == w && re.steps >= n;
        if (!direct) {
          detail::fft_load_rows(re, 0, n, channels, z.re, z.step, w);
          detail::fft_load_rows(im, 0, n, channels, z.im, z.step, w);
        }
        if (plan.is_chirped()) {
          detail::fft_chirp(plan, z, w);
        } else {
          const detail::FftRows<const T> rows =
              direct ? detail::FftRows<const T>{re.data, im.data, re.step}
                     : detail::FftRows<const T>(z);
          detail::fft_pass_down<T>(core, 0, index_t{1}, rows, z, w);
          detail::fft_down(core, 1, last, core.passes[0].radix, z, w);
        }
        const detail::FftSpectrumRef<T> to(y.re, y.im, b, channel, plan.bins());
        detail::fft_whole_down(block, to, FftScale<T>(scale));
      });
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::rfft_forward);
SEQUIN_INSTANTIATE(kernels::irfft_forward);
SEQUIN_INSTANTIATE(kernels::fft_forward);
