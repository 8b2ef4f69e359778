/// Sweeps of a Fourier transform over rows that hold one channel a lane.
#pragma once

#include "sequin/kernels/fft_plan.hpp"

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// Rows of complex numbers, `step` elements apart; real and imaginary parts apart.
template <class T>
struct FftRows {
  T* re;
  T* im;
  index_t step;

  FftRows<T> from(index_t row) const noexcept { return {re + row * step, im + row * step, step}; }
  operator FftRows<const T>() const noexcept  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {re, im, step};
  }
};

/// Rows of this many bytes stay in the first cache from one pass to the next.
inline constexpr index_t kFftCacheBytes = 24 * 1024;

/// Blocks of a pass's length, `blocks` of them, each cut into R parts: part m of the result is the
/// m-th output of the butterflies, times exp(-2 pi i j m / length). `from` may be `to`. `width`
/// elements a row, a multiple of the lanes.
template <int R, class T>
void fft_pass_down(const FftPass& pass, const T* table, index_t blocks, FftRows<const T> from,
                   FftRows<T> to, index_t width) {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t radix = R > 0 ? R : pass.radix;
  const index_t part = pass.length / radix;
  const T* const twiddles = table + pass.twiddles;
  const T* const roots = table + pass.roots;
  const index_t from_part = part * from.step;
  const index_t to_part = part * to.step;
  for (index_t block = 0; block < blocks; ++block) {
    for (index_t j = 0; j < part; ++j) {
      const index_t row = block * pass.length + j;
      const T* const w = twiddles + j * 2 * (radix - 1);
      for (index_t c = 0; c < width; c += lanes) {
        const index_t from_step = simd::opaque(from_part), to_step = simd::opaque(to_part);
        const T* re = from.re + row * from.step + c;
        const T* im = from.im + row * from.step + c;
        FftRegisters<R, T> x;
        fft_each<R>(radix, [&](index_t m) {
          x.re[m] = simd::load<T>(re);
          x.im[m] = simd::load<T>(im);
          re += from_step;
          im += from_step;
        });
        fft_butterfly<R, T>(x, roots, radix);
        T* out_re = to.re + row * to.step + c;
        T* out_im = to.im + row * to.step + c;
        fft_each<R>(radix, [&](index_t m) {
          if (m > 0)
            fft_rotate<T>(x.re[m], x.im[m], simd::broadcast<T>(w + 2 * m - 2),
                          simd::broadcast<T>(w + 2 * m - 1));
          simd::store<T>(out_re, x.re[m]);
          simd::store<T>(out_im, x.im[m]);
          out_re += to_step;
          out_im += to_step;
        });
      }
    }
  }
}

/// The mirror image: the same roots, then the butterflies.
template <int R, class T>
void fft_pass_up(const FftPass& pass, const T* table, index_t blocks, FftRows<const T> from,
                 FftRows<T> to, index_t width) {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t radix = R > 0 ? R : pass.radix;
  const index_t part = pass.length / radix;
  const T* const twiddles = table + pass.twiddles;
  const T* const roots = table + pass.roots;
  const index_t from_part = part * from.step;
  const index_t to_part = part * to.step;
  for (index_t block = 0; block < blocks; ++block) {
    for (index_t j = 0; j < part; ++j) {
      const index_t row = block * pass.length + j;
      const T* const w = twiddles + j * 2 * (radix - 1);
      for (index_t c = 0; c < width; c += lanes) {
        const index_t from_step = simd::opaque(from_part), to_step = simd::opaque(to_part);
        const T* re = from.re + row * from.step + c;
        const T* im = from.im + row * from.step + c;
        FftRegisters<R, T> x;
        fft_each<R>(radix, [&](index_t m) {
          x.re[m] = simd::load<T>(re);
          x.im[m] = simd::load<T>(im);
          re += from_step;
          im += from_step;
          if (m > 0)
            fft_rotate<T>(x.re[m], x.im[m], simd::broadcast<T>(w + 2 * m - 2),
                          simd::broadcast<T>(w + 2 * m - 1));
        });
        fft_butterfly<R, T>(x, roots, radix);
        T* out_re = to.re + row * to.step + c;
        T* out_im = to.im + row * to.step + c;
        fft_each<R>(radix, [&](index_t m) {
          simd::store<T>(out_re, x.re[m]);
          simd::store<T>(out_im, x.im[m]);
          out_re += to_step;
          out_im += to_step;
        });
      }
    }
  }
}

template <class T>
inline void fft_pass_down(const FftCore<T>& core, std::size_t level, index_t blocks,
                          FftRows<const T> from, FftRows<T> to, index_t width) {
  const FftPass& pass = core.passes[level];
  fft_with_radix(pass.radix, [&](auto radix) {
    fft_pass_down<decltype(radix)::value, T>(pass, core.table.data(), blocks, from, to, width);
  });
}

template <class T>
inline void fft_pass_up(const FftCore<T>& core, std::size_t level, index_t blocks,
                        FftRows<const T> from, FftRows<T> to, index_t width) {
  const FftPass& pass = core.passes[level];
  fft_with_radix(pass.radix, [&](auto radix) {
    fft_pass_up<decltype(radix)::value, T>(pass, core.table.data(), blocks, from, to, width);
  });
}

/// Passes `level` to `end` - 1 over `blocks` blocks of z, in place. Blocks that the first cache
/// does not hold are done one after the other down to the size that it holds.
template <class T>
void fft_down(const FftCore<T>& core, std::size_t level, std::size_t end, index_t blocks,
              FftRows<T> z, index_t width) {
  if (level >= end) return;
  const index_t length = core.passes[level].length;
  const bool small = length * blocks * z.step * static_cast<index_t>(sizeof(T)) <= kFftCacheBytes;
  if (small || blocks == 1) {
    fft_pass_down<T>(core, level, blocks, z, z, width);
    return fft_down(core, level + 1, end, blocks * core.passes[level].radix, z, width);
  }
  for (index_t b = 0; b < blocks; ++b)
    fft_down(core, level, end, index_t{1}, z.from(b * length), width);
}

/// The same upwards: passes `end` - 1 down to `level`.
template <class T>
void fft_up(const FftCore<T>& core, std::size_t level, std::size_t end, index_t blocks,
            FftRows<T> z, index_t width) {
  if (level >= end) return;
  const index_t length = core.passes[level].length;
  const bool small = length * blocks * z.step * static_cast<index_t>(sizeof(T)) <= kFftCacheBytes;
  if (small || blocks == 1) {
    fft_up(core, level + 1, end, blocks * core.passes[level].radix, z, width);
    return fft_pass_up<T>(core, level, blocks, z, z, width);
  }
  for (index_t b = 0; b < blocks; ++b)
    fft_up(core, level, end, index_t{1}, z.from(b * length), width);
}

/// Bluestein's convolution of the rows [0, plan.points()) of z, which has core().n rows, with the
/// chirp: z becomes its transform, in natural order.
template <class T>
void fft_chirp(const FftPlan<T>& plan, FftRows<T> z, index_t width) {
  constexpr index_t lanes = simd::kLanes<T>;
  const FftCore<T>& core = plan.core();
  const index_t points = plan.points();
  const auto rotate = [&](const T* factors, index_t rows) {
    for (index_t j = 0; j < rows; ++j) {
      const auto c = simd::broadcast<T>(factors + 2 * j);
      const auto s = simd::broadcast<T>(factors + 2 * j + 1);
      for (index_t i = 0; i < width; i += lanes) {
        T* const re = z.re + j * z.step + i;
        T* const im = z.im + j * z.step + i;
        auto x = simd::load<T>(re), y = simd::load<T>(im);
        fft_rotate<T>(x, y, c, s);
        simd::store<T>(re, x);
        simd::store<T>(im, y);
      }
    }
  };
  rotate(plan.chirp(), points);
  for (index_t j = points; j < core.n; ++j)
    for (index_t i = 0; i < width; i += lanes) {
      simd::store<T>(z.re + j * z.step + i, simd::zero<T>());
      simd::store<T>(z.im + j * z.step + i, simd::zero<T>());
    }
  fft_down(core, 0, core.passes.size(), index_t{1}, z, width);
  rotate(plan.chirp_spectrum(), core.n);
  // With its parts exchanged, before and after, a transform is its inverse.
  const FftRows<T> swapped{z.im, z.re, z.step};
  fft_up(core, 0, core.passes.size(), index_t{1}, swapped, width);
  rotate(plan.chirp(), points);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: fft.hpp inlines this.
