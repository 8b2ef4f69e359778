/// The pass of a real transform next to the frequencies. Real values of even number n travel as
/// n / 2 complex ones, z[j] = x[2 j] + i x[2 j + 1]; with Z their transform and w = exp(-2 pi i /
/// n)
///
///     2 X[k] = Z[k] + conj Z[n/2 - k] - i w^k (Z[k] - conj Z[n/2 - k])
///
/// so butterflies are done in pairs whose frequencies meet.
#pragma once

#include "sequin/kernels/fft_rows.hpp"

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// Registers from and to rows of z.
template <int R, class T>
SEQUIN_ALWAYS_INLINE void fft_load_butterfly(const FftRows<T>& z, index_t c,
                                             FftRegisters<R, T>& x) {
  const index_t step = simd::opaque(z.step);
  const T* re = z.re + c;
  const T* im = z.im + c;
  fft_each<R>(R, [&](index_t m) {
    x.re[m] = simd::load<T>(re);
    x.im[m] = simd::load<T>(im);
    re += step;
    im += step;
  });
}
template <int R, class T>
SEQUIN_ALWAYS_INLINE void fft_store_butterfly(const FftRegisters<R, T>& x, const FftRows<T>& z,
                                              index_t c) {
  const index_t step = simd::opaque(z.step);
  T* re = z.re + c;
  T* im = z.im + c;
  fft_each<R>(R, [&](index_t m) {
    simd::store<T>(re, x.re[m]);
    simd::store<T>(im, x.im[m]);
    re += step;
    im += step;
  });
}

/// Z[k], Z[n/2 - k] to X[k], X[n/2 - k]; c and s are scale / 2 times cos and sin of 2 pi k / n.
template <class T>
SEQUIN_ALWAYS_INLINE void fft_split(simd::Vec<T>& are, simd::Vec<T>& aim, simd::Vec<T>& bre,
                                    simd::Vec<T>& bim, const simd::Vec<T>& c, const simd::Vec<T>& s,
                                    const simd::Vec<T>& h) {
  const auto sum_re = are + bre, sum_im = aim - bim;
  const auto dif_re = are - bre, dif_im = aim + bim;
  const auto odd_re = simd::fnma<T>(s, dif_re, c * dif_im);
  const auto odd_im = simd::fma<T>(c, dif_re, s * dif_im);  // with the other sign
  are = simd::fma<T>(h, sum_re, odd_re);
  aim = simd::fms<T>(h, sum_im, odd_im);
  bre = simd::fms<T>(h, sum_re, odd_re);
  bim = simd::fnms<T>(h, sum_im, odd_im);
}

/// X[k], X[n/2 - k] to Z[k], Z[n/2 - k]; c and s are scale times cos and sin of 2 pi k / n.
template <class T>
SEQUIN_ALWAYS_INLINE void fft_join(simd::Vec<T>& are, simd::Vec<T>& aim, simd::Vec<T>& bre,
                                   simd::Vec<T>& bim, const simd::Vec<T>& c, const simd::Vec<T>& s,
                                   const simd::Vec<T>& h) {
  const auto sum_re = are + bre, sum_im = aim - bim;
  const auto dif_re = are - bre, dif_im = aim + bim;
  const auto odd_re = simd::fnma<T>(s, dif_im, c * dif_re);
  const auto odd_im = simd::fma<T>(s, dif_re, c * dif_im);
  are = simd::fms<T>(h, sum_re, odd_im);
  aim = simd::fma<T>(h, sum_im, odd_re);
  bre = simd::fma<T>(h, sum_re, odd_im);
  bim = simd::fnma<T>(h, sum_im, odd_re);
}

/// Frequencies of the butterflies q = first, ..., first + count - 1 and of their partners, to
/// `lower` and `upper` (whose tile runs backwards). A butterfly that is its own partner gives
/// `lower` alone. R = 0: the butterflies are done already.
template <int R, class T>
void fft_split_tile(const FftBlock<T>& block, index_t first, index_t count, T scale,
                    const FftSide<T>& lower, const FftSide<T>& upper) {
  const index_t radix = R > 0 ? R : block.plan.last_radix();
  const index_t parts = block.parts();
  const simd::Vec<T> h(scale / 2);
  for (index_t i = 0; i < count; ++i) {
    const index_t q = first + i;
    const auto rows_a = block.z.from(block.plan.row(q));
    const auto rows_b = block.z.from(block.plan.row(parts - q));
    const bool paired = q != parts - q;
    for (index_t c = 0; c < block.width; c += simd::kLanes<T>) {
      const index_t turn_step = simd::opaque(2 * parts);
      const T* turn = block.plan.split() + 2 * q;
      FftSide<T> low = lower.at(i, c), up = upper.at(i, c).last(radix);
      FftRegisters<(R > 0 ? R : 1), T> a, b;
      if constexpr (R > 0) {
        fft_load_butterfly(rows_a, c, a);
        fft_butterfly<R, T>(a, nullptr, radix);
        fft_load_butterfly(rows_b, c, b);
        fft_butterfly<R, T>(b, nullptr, radix);
      }
      fft_each<R>(radix, [&](index_t m) {
        const index_t o = radix - 1 - m;
        if constexpr (R == 0) {
          fft_load_butterfly(rows_a.from(m), c, a);
          fft_load_butterfly(rows_b.from(o), c, b);
        }
        const index_t im = R > 0 ? m : 0, io = R > 0 ? o : 0;
        fft_split<T>(a.re[im], a.im[im], b.re[io], b.im[io], h * simd::broadcast<T>(turn),
                     h * simd::broadcast<T>(turn + 1), h);
        simd::store<T>(low.re, a.re[im]);
        simd::store<T>(low.im, a.im[im]);
        if (paired) {
          simd::store<T>(up.re, b.re[io]);
          simd::store<T>(up.im, b.im[io]);
        }
        turn += turn_step;
        low.next_part();
        up.next_part();
      });
    }
  }
}

/// The same upwards: frequencies to butterflies (R = 0: to what these will take) to the working
/// rows, with the parts exchanged.
template <int R, class T>
void fft_join_tile(const FftBlock<T>& block, index_t first, index_t count, T scale,
                   const FftSide<const T>& lower, const FftSide<const T>& upper) {
  const index_t radix = R > 0 ? R : block.plan.last_radix();
  const index_t parts = block.parts();
  const simd::Vec<T> h(scale);
  for (index_t i = 0; i < count; ++i) {
    const index_t q = first + i;
    const auto rows_a = block.z.from(block.plan.row(q));
    const auto rows_b = block.z.from(block.plan.row(parts - q));
    const bool paired = q != parts - q;
    for (index_t c = 0; c < block.width; c += simd::kLanes<T>) {
      const index_t turn_step = simd::opaque(2 * parts);
      const T* turn = block.plan.split() + 2 * q;
      FftSide<const T> low = lower.at(i, c), up = upper.at(i, c).last(radix);
      FftRegisters<(R > 0 ? R : 1), T> a, b;
      fft_each<R>(radix, [&](index_t m) {
        const index_t o = radix - 1 - m;
        const index_t im = R > 0 ? m : 0, io = R > 0 ? o : 0;
        a.im[im] = simd::load<T>(low.re);
        a.re[im] = simd::load<T>(low.im);
        b.im[io] = simd::load<T>(up.re);
        b.re[io] = simd::load<T>(up.im);
        fft_join<T>(a.im[im], a.re[im], b.im[io], b.re[io], h * simd::broadcast<T>(turn),
                    h * simd::broadcast<T>(turn + 1), h);
        turn += turn_step;
        low.next_part();
        up.next_part();
        if constexpr (R == 0) {
          if (paired) fft_store_butterfly(b, rows_b.from(o), c);
          fft_store_butterfly(a, rows_a.from(m), c);
        }
      });
      if constexpr (R > 0) {
        if (paired) {
          fft_butterfly<R, T>(b, nullptr, radix);
          fft_store_butterfly(b, rows_b, c);
        }
        fft_butterfly<R, T>(a, nullptr, radix);
        fft_store_butterfly(a, rows_a, c);
      }
    }
  }
}

/// Butterfly 0, done already, whose frequencies meet each other: 0, parts, ..., radix * parts, to
/// rows `width` apart.
template <class T>
void fft_split_zero(const FftBlock<T>& block, const FftScale<T>& scale, T* re, T* im) {
  const index_t radix = block.plan.last_radix();
  const index_t w = block.width;
  const simd::Vec<T> h(scale.inner / 2), one(scale.edge);
  for (index_t c = 0; c < w; c += simd::kLanes<T>) {
    FftRegisters<1, T> x, y;
    fft_load_butterfly(block.z, c, x);
    simd::store<T>(re + c, (x.re[0] + x.im[0]) * one);
    simd::store<T>(im + c, simd::zero<T>());
    simd::store<T>(re + radix * w + c, (x.re[0] - x.im[0]) * one);
    simd::store<T>(im + radix * w + c, simd::zero<T>());
    for (index_t m = 1; m < radix; ++m) {
      const T* const turn = block.plan.split() + 2 * m * block.parts();
      fft_load_butterfly(block.z.from(m), c, x);
      fft_load_butterfly(block.z.from(radix - m), c, y);
      fft_split<T>(x.re[0], x.im[0], y.re[0], y.im[0], h * simd::broadcast<T>(turn),
                   h * simd::broadcast<T>(turn + 1), h);
      simd::store<T>(re + m * w + c, x.re[0]);
      simd::store<T>(im + m * w + c, x.im[0]);
    }
  }
}

template <class T>
void fft_join_zero(const FftBlock<T>& block, const FftScale<T>& scale, const T* re, const T* im) {
  const index_t radix = block.plan.last_radix();
  const index_t w = block.width;
  const simd::Vec<T> h(scale.inner), one(scale.edge);
  for (index_t c = 0; c < w; c += simd::kLanes<T>) {
    FftRegisters<1, T> x;
    // The imaginary parts of the first and the last frequency are taken as 0.
    const auto a0 = simd::load<T>(re + c), b0 = simd::load<T>(re + radix * w + c);
    x.im[0] = (a0 + b0) * one;
    x.re[0] = (a0 - b0) * one;
    fft_store_butterfly(x, block.z, c);
    for (index_t m = 1; m < radix; ++m) {
      const T* const turn = block.plan.split() + 2 * m * block.parts();
      x.im[0] = simd::load<T>(re + m * w + c);
      x.re[0] = simd::load<T>(im + m * w + c);
      auto p = simd::load<T>(re + (radix - m) * w + c), q = simd::load<T>(im + (radix - m) * w + c);
      fft_join<T>(x.im[0], x.re[0], p, q, h * simd::broadcast<T>(turn),
                  h * simd::broadcast<T>(turn + 1), h);
      fft_store_butterfly(x, block.z.from(m), c);
    }
  }
}

/// Calls f(std::integral_constant<int, R>{}) with the radix of the last pass when that pass is done
/// together with the splitting, else with 0.
template <class T, class F>
inline void fft_with_last_radix(const FftPlan<T>& plan, F&& f) {
  switch (plan.last_radix()) {
    case 3:
      return f(std::integral_constant<int, 3>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 5:
      return f(std::integral_constant<int, 5>{});
    default:
      return f(std::integral_constant<int, 0>{});
  }
}

/// All frequencies of a real transform of even length from the working rows before the last pass.
template <class T>
void fft_split_all(const FftBlock<T>& block, const FftSpectrumRef<T>& s, const FftScale<T>& scale) {
  constexpr index_t tile = kFftTile<T>;
  const index_t radix = block.plan.last_radix();
  const index_t parts = block.parts();
  const FftSide<T> low = block.staged(0), up = block.staged(1);
  fft_with_last_radix(block.plan, [&](auto fused) {
    constexpr int R = decltype(fused)::value;
    block.last_pass_down(R == 0 ? parts : index_t{1});
    fft_split_zero(block, scale, low.re, up.re);
    for (index_t m = 0; m <= radix; ++m) {
      fft_store_rows<T>(low.re + m * block.width, block.width, s.re, m * parts, 1, block.channels);
      fft_store_rows<T>(up.re + m * block.width, block.width, s.im, m * parts, 1, block.channels);
    }
    const bool direct = block.is_direct(s);
    for (index_t q = 1; q <= parts / 2; q += tile) {
      const index_t count = (std::min)(tile, parts / 2 + 1 - q);
      FftSide<T> partner = direct ? block.direct(s, parts - q) : up.at(count - 1);
      partner.step = -partner.step;
      fft_split_tile<R>(block, q, count, scale.inner, direct ? block.direct(s, q) : low, partner);
      if (direct) continue;
      block.store(low, s, q, count);
      const index_t own = 2 * (q + count - 1) == parts ? 1 : 0;  // the last one is its own partner
      block.store(up.at(own), s, parts - q - count + 1 + own, count - own);
    }
  });
}

/// The working rows, after the pass next to the frequencies, from all frequencies; those that `s`
/// does not have are 0.
template <class T>
void fft_join_all(const FftBlock<T>& block, const FftSpectrumRef<const T>& s,
                  const FftScale<T>& scale) {
  constexpr index_t tile = kFftTile<T>;
  const index_t radix = block.plan.last_radix();
  const index_t parts = block.parts();
  const index_t w = block.width;
  const FftSide<T> low = block.staged(0), up = block.staged(1);
  for (index_t m = 0; m <= radix; ++m) {
    fft_load_rows<T>(s.re, m * parts, 1, block.channels, low.re + m * w, w, w);
    fft_load_rows<T>(s.im, m * parts, 1, block.channels, up.re + m * w, w, w);
  }
  fft_join_zero(block, scale, low.re, up.re);
  const bool direct = block.is_direct(s);
  fft_with_last_radix(block.plan, [&](auto fused) {
    constexpr int R = decltype(fused)::value;
    if (R > 0) block.last_pass_up(index_t{1});
    for (index_t q = 1; q <= parts / 2; q += tile) {
      const index_t count = (std::min)(tile, parts / 2 + 1 - q);
      if (!direct) {
        block.load(s, low, q, count);
        block.load(s, up, parts - q - count + 1, count);
      }
      FftSide<const T> partner =
          direct ? block.direct(s, parts - q) : FftSide<const T>(up.at(count - 1));
      partner.step = -partner.step;
      fft_join_tile<R, T>(block, q, count, scale.inner,
                          direct ? block.direct(s, q) : FftSide<const T>(low), partner);
    }
    if (R == 0) block.last_pass_up(parts);
  });
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: fft.hpp inlines this.
