/// The lanes of a register folded into one value, in an order that is the same everywhere.
#pragma once

#include "sequin/core/simd.hpp"

namespace sequin::inline SEQUIN_ABI::simd {

namespace detail {

/// Folds the lanes with `f`, the upper half onto the lower until one is left: for four lanes
/// f(f(v0, v2), f(v1, v3)). `f` takes two registers of any width.
template <class T, class A, class F>
inline T fold(const xsimd::batch<T, A>& v, F&& f) {
  constexpr std::size_t size = xsimd::batch<T, A>::size;
#if defined(__AVX512F__)
  if constexpr (size * sizeof(T) == 64) {
    using Half = xsimd::batch<T, xsimd::avx>;
    if constexpr (sizeof(T) == 4) {
      const __m512d all = _mm512_castps_pd(v);
      return fold<T>(f(Half(_mm256_castpd_ps(_mm512_castpd512_pd256(all))),
                       Half(_mm256_castpd_ps(_mm512_extractf64x4_pd(all, 1)))),
                     f);
    } else {
      return fold<T>(f(Half(_mm512_castpd512_pd256(v)), Half(_mm512_extractf64x4_pd(v, 1))), f);
    }
  }
#endif
#if defined(__AVX__)
  if constexpr (size * sizeof(T) == 32) {
    using Half = xsimd::batch<T, xsimd::sse2>;
    if constexpr (sizeof(T) == 4) {
      return fold<T>(f(Half(_mm256_castps256_ps128(v)), Half(_mm256_extractf128_ps(v, 1))), f);
    } else {
      return fold<T>(f(Half(_mm256_castpd256_pd128(v)), Half(_mm256_extractf128_pd(v, 1))), f);
    }
  }
#endif
#if defined(__SSE2__)
  if constexpr (size * sizeof(T) == 16) {
    using Quarter = xsimd::batch<T, xsimd::sse2>;
    if constexpr (sizeof(T) == 4) {
      const Quarter two = f(Quarter(v), Quarter(_mm_movehl_ps(v, v)));
      return _mm_cvtss_f32(f(two, Quarter(_mm_shuffle_ps(two, two, 1))));
    } else {
      return _mm_cvtsd_f64(f(Quarter(v), Quarter(_mm_unpackhi_pd(v, v))));
    }
  }
#endif
#if defined(__aarch64__)
  if constexpr (size * sizeof(T) == 16) {
    using Quarter = xsimd::batch<T, A>;
    if constexpr (sizeof(T) == 4) {
      const Quarter two = f(v, Quarter(vextq_f32(v, v, 2)));
      return vgetq_lane_f32(f(two, Quarter(vextq_f32(two, two, 1))), 0);
    } else {
      return vgetq_lane_f64(f(v, Quarter(vextq_f64(v, v, 1))), 0);
    }
  }
#endif
  alignas(64) T lanes[size];
  v.store_aligned(lanes);
  for (std::size_t half = size / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      using One = xsimd::batch<T, A>;
      alignas(64) T result[size];
      f(One(lanes[i]), One(lanes[i + half])).store_aligned(result);
      lanes[i] = result[0];
    }
  }
  return lanes[0];
}

}  // namespace detail

/// The sum of all lanes, in the same order with every xsimd: the upper half of the lanes is added
/// to the lower half until one lane is left. ((v0 + v4) + (v2 + v6)) + ((v1 + v5) + (v3 + v7)).
template <class T>
inline T reduce_add(const Vec<T>& v) {
  return detail::fold<T>(v, [](const auto& a, const auto& b) { return a + b; });
}

/// The largest or smallest lane; NaN in a lane may be lost, so test for it apart where it matters.
template <class T>
inline T reduce_max(const Vec<T>& v) {
  return detail::fold<T>(v, [](const auto& a, const auto& b) { return xsimd::max(a, b); });
}
template <class T>
inline T reduce_min(const Vec<T>& v) {
  return detail::fold<T>(v, [](const auto& a, const auto& b) { return xsimd::min(a, b); });
}

}  // namespace sequin::inline SEQUIN_ABI::simd
