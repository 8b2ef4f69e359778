/// Small transpositions between rows in memory and one-channel-a-lane layouts.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd_transpose.hpp"

#include <algorithm>
#include <type_traits>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

// 128-bit registers: the only width at which interleaving means the same in every xsimd version.
#if defined(__SSE2__) || defined(_M_X64)
template <class T>
using Quad = xsimd::batch<T, xsimd::sse2>;
inline constexpr bool kHasQuad = true;
#else
template <class T>
using Quad = simd::Vec<T>;
inline constexpr bool kHasQuad = simd::kLanes<float> == 4 && simd::kLanes<double> == 2;
#endif

/// Values in a 128-bit register, the edge of the square that is transposed at once.
template <class T>
inline constexpr index_t kQuad = kHasQuad ? index_t{16 / sizeof(T)} : index_t{1};

/// Transposes a square of kQuad registers in place.
template <class T>
inline void transpose_quad(Quad<T> (&v)[kQuad<T>]) {
  if constexpr (kQuad<T> == 2) {
    const auto low = xsimd::zip_lo(v[0], v[1]);
    v[1] = xsimd::zip_hi(v[0], v[1]);
    v[0] = low;
  } else if constexpr (kQuad<T> == 4) {
    const auto a = xsimd::zip_lo(v[0], v[2]);
    const auto b = xsimd::zip_hi(v[0], v[2]);
    const auto c = xsimd::zip_lo(v[1], v[3]);
    const auto d = xsimd::zip_hi(v[1], v[3]);
    v[0] = xsimd::zip_lo(a, c);
    v[1] = xsimd::zip_hi(a, c);
    v[2] = xsimd::zip_lo(b, d);
    v[3] = xsimd::zip_hi(b, d);
  }
}

/// Transposes in squares of Edge registers, what is left of them in smaller ones.
template <index_t Edge, class T>
void transpose_squares(const T* from, index_t from_stride, index_t rows, index_t cols, T* to,
                       index_t to_stride) {
  if constexpr (Edge == 1) {
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < cols; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  } else {
    using V = std::conditional_t<Edge == kQuad<T>, Quad<T>, simd::Vec<T>>;
    const index_t whole_rows = rows / Edge * Edge, whole_cols = cols / Edge * Edge;
    for (index_t r = 0; r < whole_rows; r += Edge)
      for (index_t c = 0; c < whole_cols; c += Edge) {
        V v[Edge];
        SEQUIN_UNROLL
        for (index_t i = 0; i < Edge; ++i)
          v[i] = V::load_unaligned(from + (r + i) * from_stride + c);
        if constexpr (Edge == kQuad<T>)
          transpose_quad<T>(v);
        else
          simd::transpose(v);
        SEQUIN_UNROLL
        for (index_t i = 0; i < Edge; ++i) v[i].store_unaligned(to + (c + i) * to_stride + r);
      }
    constexpr index_t smaller = Edge == kQuad<T> ? 1 : kQuad<T>;
    transpose_squares<smaller>(from + whole_cols, from_stride, rows, cols - whole_cols,
                               to + whole_cols * to_stride, to_stride);
    transpose_squares<smaller>(from + whole_rows * from_stride, from_stride, rows - whole_rows,
                               whole_cols, to + whole_rows, to_stride);
  }
}

}  // namespace detail

/// to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < cols. The two do not
/// overlap. Real-time safe.
template <Scalar T>
void transpose(const T* from, index_t from_stride, index_t rows, index_t cols, T* to,
               index_t to_stride) {
  constexpr index_t edge = simd::kHasTranspose<T> ? simd::kLanes<T> : detail::kQuad<T>;
  // Squares of 32 keep both sides in the first cache when the matrix is large.
  constexpr index_t block = 32;
  for (index_t r = 0; r < rows; r += block)
    for (index_t c = 0; c < cols; c += block)
      detail::transpose_squares<edge>(from + r * from_stride + c, from_stride,
                                      (std::min)(block, rows - r), (std::min)(block, cols - c),
                                      to + c * to_stride + r, to_stride);
}

/// sums[i] += the sum of the `width` values from rows[i * width], for i < count. `width` is a
/// multiple of 16 bytes. The order of additions depends on `width` alone. Real-time safe.
template <Scalar T>
void add_row_sums(const T* rows, index_t width, index_t count, T* sums) {
  constexpr index_t q = detail::kQuad<T>;
  index_t i = 0;
  if constexpr (detail::kHasQuad) {
    for (; i + q <= count; i += q) {
      detail::Quad<T> v[q];
      for (index_t k = 0; k < q; ++k) {
        const T* const row = rows + (i + k) * width;
        v[k] = detail::Quad<T>::load_unaligned(row);
        for (index_t j = q; j < width; j += q) v[k] += detail::Quad<T>::load_unaligned(row + j);
      }
      detail::transpose_quad<T>(v);
      auto sum = v[0];
      for (index_t k = 1; k < q; ++k) sum += v[k];
      (detail::Quad<T>::load_unaligned(sums + i) + sum).store_unaligned(sums + i);
    }
  }
  for (; i < count; ++i) {
    T part[q] = {};
    for (index_t j = 0; j < width; j += q)
      for (index_t k = 0; k < q; ++k) part[k] += rows[i * width + j + k];
    T sum = part[0];
    for (index_t k = 1; k < q; ++k) sum += part[k];
    sums[i] += sum;
  }
}

/// out[i] = sum over p < parts, in this order, of from[p * n + i]. Real-time safe.
template <Scalar T>
void sum_parts(const T* from, index_t parts, index_t n, T* out) {
  if (parts == 0) std::fill_n(out, n, T{0});
  for (index_t p = 0; p < parts; ++p) {
    const T* const part = from + p * n;
    if (p == 0) {
      std::copy_n(part, n, out);
    } else {
      simd::transform(
          n, out, [](const auto& a, const auto& b) { return a + b; }, static_cast<const T*>(out),
          part);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::add_row_sums);
SEQUIN_INSTANTIATE(kernels::sum_parts);
