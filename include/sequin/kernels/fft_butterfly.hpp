/// Fourier transforms of a few complex registers: the butterflies that longer ones are made of.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <type_traits>

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// The largest radix. Lengths with a larger prime factor go through Bluestein's convolution, which
/// is cheaper than a direct sum from about here on.
inline constexpr index_t kFftMaxRadix = 61;

/// Calls f(m) for m < R, unrolled; R = 0: for m < n, as a loop.
template <int R, class F>
SEQUIN_ALWAYS_INLINE void fft_each(index_t n, F&& f) {
  if constexpr (R > 0) {
    static_cast<void>(n);
    SEQUIN_UNROLL
    for (index_t m = 0; m < R; ++m) f(m);
  } else {
    for (index_t m = 0; m < n; ++m) f(m);
  }
}

/// R complex registers, R = 0 meaning any number up to kFftMaxRadix.
template <int R, class T>
struct FftRegisters {
  static constexpr index_t kCount = R > 0 ? R : kFftMaxRadix;
  simd::Vec<T> re[kCount];
  simd::Vec<T> im[kCount];
};

/// (re, im) *= c + i s.
template <class T>
SEQUIN_ALWAYS_INLINE void fft_rotate(simd::Vec<T>& re, simd::Vec<T>& im, const simd::Vec<T>& c,
                                     const simd::Vec<T>& s) {
  const auto real = simd::fnma<T>(im, s, re * c);
  im = simd::fma<T>(re, s, im * c);
  re = real;
}

template <class T>
SEQUIN_ALWAYS_INLINE void fft_butterfly2(simd::Vec<T>& re0, simd::Vec<T>& im0, simd::Vec<T>& re1,
                                         simd::Vec<T>& im1) {
  const auto re = re0 - re1;
  const auto im = im0 - im1;
  re0 = re0 + re1;
  im0 = im0 + im1;
  re1 = re;
  im1 = im;
}

/// Four registers to their transform, in natural order.
template <class T>
SEQUIN_ALWAYS_INLINE void fft_butterfly4(simd::Vec<T>& re0, simd::Vec<T>& im0, simd::Vec<T>& re1,
                                         simd::Vec<T>& im1, simd::Vec<T>& re2, simd::Vec<T>& im2,
                                         simd::Vec<T>& re3, simd::Vec<T>& im3) {
  const auto are = re0 + re2, aim = im0 + im2;
  const auto bre = re0 - re2, bim = im0 - im2;
  const auto cre = re1 + re3, cim = im1 + im3;
  const auto dre = re1 - re3, dim = im1 - im3;
  re0 = are + cre;
  im0 = aim + cim;
  re1 = bre + dim;  // b - i d
  im1 = bim - dre;
  re2 = are - cre;
  im2 = aim - cim;
  re3 = bre - dim;
  im3 = bim + dre;
}

/// Odd radices: sums and differences of x[m] and x[r - m] meet cosines and sines alone. `roots`
/// holds cos(2 pi k / r), then sin, k < r.
template <int R, class T>
SEQUIN_ALWAYS_INLINE void fft_butterfly_odd(FftRegisters<R, T>& x, const T* roots, index_t radix) {
  using V = simd::Vec<T>;
  constexpr int kHalf = R > 0 ? R / 2 : 0;
  constexpr index_t kPairs = (FftRegisters<R, T>::kCount - 1) / 2;
  const index_t r = R > 0 ? R : radix;
  const index_t pairs = r / 2;
  V sum_re[kPairs], sum_im[kPairs], dif_re[kPairs], dif_im[kPairs];
  V total_re = x.re[0], total_im = x.im[0];
  fft_each<kHalf>(pairs, [&](index_t m) {
    sum_re[m] = x.re[m + 1] + x.re[r - 1 - m];
    sum_im[m] = x.im[m + 1] + x.im[r - 1 - m];
    dif_re[m] = x.re[m + 1] - x.re[r - 1 - m];
    dif_im[m] = x.im[m + 1] - x.im[r - 1 - m];
    total_re = total_re + sum_re[m];
    total_im = total_im + sum_im[m];
  });
  fft_each<kHalf>(pairs, [&](index_t k) {
    V re = x.re[0], im = x.im[0], n_re = simd::zero<T>(), n_im = simd::zero<T>();
    index_t turn = 0;
    fft_each<kHalf>(pairs, [&](index_t m) {
      turn += turn + k + 1 < r ? k + 1 : k + 1 - r;
      const V c(roots[turn]), s(roots[r + turn]);
      re = simd::fma<T>(c, sum_re[m], re);
      im = simd::fma<T>(c, sum_im[m], im);
      n_re = simd::fma<T>(s, dif_re[m], n_re);
      n_im = simd::fma<T>(s, dif_im[m], n_im);
    });
    x.re[k + 1] = re + n_im;  // m - i n
    x.im[k + 1] = im - n_re;
    x.re[r - 1 - k] = re - n_im;
    x.im[r - 1 - k] = im + n_re;
  });
  x.re[0] = total_re;
  x.im[0] = total_im;
}

/// x to its transform of R (0: `radix`) points, in natural order, without scaling:
/// y[k] = sum_m x[m] exp(-2 pi i k m / R).
template <int R, class T>
SEQUIN_ALWAYS_INLINE void fft_butterfly(FftRegisters<R, T>& x, const T* roots, index_t radix) {
  using V = simd::Vec<T>;
  if constexpr (R == 1) {
    return;
  } else if constexpr (R == 2) {
    fft_butterfly2<T>(x.re[0], x.im[0], x.re[1], x.im[1]);
  } else if constexpr (R == 4) {
    fft_butterfly4<T>(x.re[0], x.im[0], x.re[1], x.im[1], x.re[2], x.im[2], x.re[3], x.im[3]);
  } else if constexpr (R == 8) {
    fft_butterfly4<T>(x.re[0], x.im[0], x.re[2], x.im[2], x.re[4], x.im[4], x.re[6], x.im[6]);
    fft_butterfly4<T>(x.re[1], x.im[1], x.re[3], x.im[3], x.re[5], x.im[5], x.re[7], x.im[7]);
    const V h(static_cast<T>(0.70710678118654752440));
    // The even half's results are in 0, 2, 4, 6, the odd half's in 1, 3, 5, 7.
    const V sum1 = x.re[3] + x.im[3], dif1 = x.im[3] - x.re[3];
    const V sum3 = x.re[7] + x.im[7], dif3 = x.im[7] - x.re[7];
    const V re0 = x.re[0], im0 = x.im[0], re1 = x.re[2], im1 = x.im[2];
    const V re2 = x.re[4], im2 = x.im[4], re3 = x.re[6], im3 = x.im[6];
    const V odd_re0 = x.re[1], odd_im0 = x.im[1], odd_re2 = x.re[5], odd_im2 = x.im[5];
    x.re[0] = re0 + odd_re0;
    x.im[0] = im0 + odd_im0;
    x.re[4] = re0 - odd_re0;
    x.im[4] = im0 - odd_im0;
    x.re[1] = simd::fma<T>(h, sum1, re1);
    x.im[1] = simd::fma<T>(h, dif1, im1);
    x.re[5] = simd::fnma<T>(h, sum1, re1);
    x.im[5] = simd::fnma<T>(h, dif1, im1);
    x.re[2] = re2 + odd_im2;
    x.im[2] = im2 - odd_re2;
    x.re[6] = re2 - odd_im2;
    x.im[6] = im2 + odd_re2;
    x.re[3] = simd::fma<T>(h, dif3, re3);
    x.im[3] = simd::fnma<T>(h, sum3, im3);
    x.re[7] = simd::fnma<T>(h, dif3, re3);
    x.im[7] = simd::fma<T>(h, sum3, im3);
  } else if constexpr (R == 3) {
    const V half(T{0.5}), s(static_cast<T>(0.86602540378443864676));
    const V sum_re = x.re[1] + x.re[2], sum_im = x.im[1] + x.im[2];
    const V dif_re = x.re[1] - x.re[2], dif_im = x.im[1] - x.im[2];
    const V re = simd::fnma<T>(half, sum_re, x.re[0]), im = simd::fnma<T>(half, sum_im, x.im[0]);
    x.re[0] = x.re[0] + sum_re;
    x.im[0] = x.im[0] + sum_im;
    x.re[1] = simd::fma<T>(s, dif_im, re);
    x.im[1] = simd::fnma<T>(s, dif_re, im);
    x.re[2] = simd::fnma<T>(s, dif_im, re);
    x.im[2] = simd::fma<T>(s, dif_re, im);
  } else if constexpr (R == 5) {
    const V c1(static_cast<T>(0.30901699437494742410)), c2(static_cast<T>(-0.80901699437494742410));
    const V s1(static_cast<T>(0.95105651629515357212)), s2(static_cast<T>(0.58778525229247312917));
    const V sum1_re = x.re[1] + x.re[4], sum1_im = x.im[1] + x.im[4];
    const V sum2_re = x.re[2] + x.re[3], sum2_im = x.im[2] + x.im[3];
    const V dif1_re = x.re[1] - x.re[4], dif1_im = x.im[1] - x.im[4];
    const V dif2_re = x.re[2] - x.re[3], dif2_im = x.im[2] - x.im[3];
    const V re1 = simd::fma<T>(c2, sum2_re, simd::fma<T>(c1, sum1_re, x.re[0]));
    const V im1 = simd::fma<T>(c2, sum2_im, simd::fma<T>(c1, sum1_im, x.im[0]));
    const V re2 = simd::fma<T>(c1, sum2_re, simd::fma<T>(c2, sum1_re, x.re[0]));
    const V im2 = simd::fma<T>(c1, sum2_im, simd::fma<T>(c2, sum1_im, x.im[0]));
    const V n1_re = simd::fma<T>(s2, dif2_re, s1 * dif1_re);
    const V n1_im = simd::fma<T>(s2, dif2_im, s1 * dif1_im);
    const V n2_re = simd::fnma<T>(s1, dif2_re, s2 * dif1_re);
    const V n2_im = simd::fnma<T>(s1, dif2_im, s2 * dif1_im);
    x.re[0] = x.re[0] + sum1_re + sum2_re;
    x.im[0] = x.im[0] + sum1_im + sum2_im;
    x.re[1] = re1 + n1_im;
    x.im[1] = im1 - n1_re;
    x.re[2] = re2 + n2_im;
    x.im[2] = im2 - n2_re;
    x.re[3] = re2 - n2_im;
    x.im[3] = im2 + n2_re;
    x.re[4] = re1 - n1_im;
    x.im[4] = im1 + n1_re;
  } else {
    fft_butterfly_odd<R, T>(x, roots, radix);
  }
}

/// Calls f(std::integral_constant<int, R>{}) with the radix as R, 0 for those without code of their
/// own.
template <class F>
inline void fft_with_radix(index_t radix, F&& f) {
  switch (radix) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 5:
      return f(std::integral_constant<int, 5>{});
    case 7:
      return f(std::integral_constant<int, 7>{});
    case 8:
      return f(std::integral_constant<int, 8>{});
    default:
      return f(std::integral_constant<int, 0>{});
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail

// No list: other kernels inline this.
