/// Rows and columns of a square of registers exchanged.
#pragma once

#include "sequin/core/simd.hpp"

namespace sequin::inline SEQUIN_ABI::simd {

/// Exchanges rows and columns of a square of registers, where `kHasTranspose<T>` says so.
template <class V, std::size_t N>
void transpose(V (&)[N]) = delete;

/// Whether `transpose` exists.
template <class T>
#if defined(__SSE2__)
inline constexpr bool kHasTranspose = true;
#else
inline constexpr bool kHasTranspose = false;
#endif

#if defined(__AVX512F__)
inline void transpose(Vec<float> (&v)[16]) {
  __m512d a[16], b[16];  // pairs of floats
  SEQUIN_UNROLL
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
    a[i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
  }
  // Quarter q of b[i + j] is column 4 q + j of rows i to i + 3.
  SEQUIN_UNROLL
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_pd(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_pd(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_pd(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_pd(a[i + 1], a[i + 3]);
  }
  SEQUIN_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m512d even0 = _mm512_shuffle_f64x2(b[j], b[4 + j], 0x88);
    const __m512d even1 = _mm512_shuffle_f64x2(b[8 + j], b[12 + j], 0x88);
    const __m512d odd0 = _mm512_shuffle_f64x2(b[j], b[4 + j], 0xdd);
    const __m512d odd1 = _mm512_shuffle_f64x2(b[8 + j], b[12 + j], 0xdd);
    v[j] = Vec<float>(_mm512_castpd_ps(_mm512_shuffle_f64x2(even0, even1, 0x88)));
    v[4 + j] = Vec<float>(_mm512_castpd_ps(_mm512_shuffle_f64x2(odd0, odd1, 0x88)));
    v[8 + j] = Vec<float>(_mm512_castpd_ps(_mm512_shuffle_f64x2(even0, even1, 0xdd)));
    v[12 + j] = Vec<float>(_mm512_castpd_ps(_mm512_shuffle_f64x2(odd0, odd1, 0xdd)));
  }
}
inline void transpose(Vec<double> (&v)[8]) {
  __m512d a[8];  // quarter q of a[i + j] is column 2 q + j of rows i and i + 1
  SEQUIN_UNROLL
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
  }
  SEQUIN_UNROLL
  for (int j = 0; j < 2; ++j) {
    const __m512d even0 = _mm512_shuffle_f64x2(a[j], a[2 + j], 0x88);
    const __m512d even1 = _mm512_shuffle_f64x2(a[4 + j], a[6 + j], 0x88);
    const __m512d odd0 = _mm512_shuffle_f64x2(a[j], a[2 + j], 0xdd);
    const __m512d odd1 = _mm512_shuffle_f64x2(a[4 + j], a[6 + j], 0xdd);
    v[j] = Vec<double>(_mm512_shuffle_f64x2(even0, even1, 0x88));
    v[2 + j] = Vec<double>(_mm512_shuffle_f64x2(odd0, odd1, 0x88));
    v[4 + j] = Vec<double>(_mm512_shuffle_f64x2(even0, even1, 0xdd));
    v[6 + j] = Vec<double>(_mm512_shuffle_f64x2(odd0, odd1, 0xdd));
  }
}
#elif defined(__AVX__)
inline void transpose(Vec<float> (&v)[8]) {
  __m256 a[8], b[8];
  SEQUIN_UNROLL
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  SEQUIN_UNROLL
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  SEQUIN_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = Vec<float>(_mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
    v[i + 4] = Vec<float>(_mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
  }
}
inline void transpose(Vec<double> (&v)[4]) {
  const __m256d a = _mm256_unpacklo_pd(v[0], v[1]), b = _mm256_unpackhi_pd(v[0], v[1]);
  const __m256d c = _mm256_unpacklo_pd(v[2], v[3]), d = _mm256_unpackhi_pd(v[2], v[3]);
  v[0] = Vec<double>(_mm256_permute2f128_pd(a, c, 0x20));
  v[1] = Vec<double>(_mm256_permute2f128_pd(b, d, 0x20));
  v[2] = Vec<double>(_mm256_permute2f128_pd(a, c, 0x31));
  v[3] = Vec<double>(_mm256_permute2f128_pd(b, d, 0x31));
}
#elif defined(__SSE2__)
inline void transpose(Vec<float> (&v)[4]) {
  const __m128 a = _mm_unpacklo_ps(v[0], v[1]), b = _mm_unpackhi_ps(v[0], v[1]);
  const __m128 c = _mm_unpacklo_ps(v[2], v[3]), d = _mm_unpackhi_ps(v[2], v[3]);
  v[0] = Vec<float>(_mm_movelh_ps(a, c));
  v[1] = Vec<float>(_mm_movehl_ps(c, a));
  v[2] = Vec<float>(_mm_movelh_ps(b, d));
  v[3] = Vec<float>(_mm_movehl_ps(d, b));
}
inline void transpose(Vec<double> (&v)[2]) {
  const __m128d a = _mm_unpacklo_pd(v[0], v[1]);
  v[1] = Vec<double>(_mm_unpackhi_pd(v[0], v[1]));
  v[0] = Vec<double>(a);
}
#endif

}  // namespace sequin::inline SEQUIN_ABI::simd
