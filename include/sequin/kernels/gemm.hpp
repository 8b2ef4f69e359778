/// The matrix product: weights packed once, small and large numbers of rows, bias and accumulation
/// fused.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

// Law: each element of the product is one chain of fused multiply-adds over k = 0 .. K-1 in
// ascending order, started from 0. A row's result is therefore the same whatever the number of
// rows, its place among them, the number of threads, and whether B was packed. Where K is long the
// chains rest in C between two parts of it, which rounds nothing.

namespace sequin::inline SEQUIN_ABI::kernels {

/// Columns of a panel of packed B: two registers.
template <class T>
inline constexpr index_t kPanelColumns = 2 * simd::kLanes<T>;

namespace detail {

/// Rows of a register tile: with two registers of columns, as many as there are registers for.
template <class T>
inline constexpr int kTileRows = sizeof(simd::Vec<T>) == 64 ? 12 : 6;

/// Bytes of a panel of B that stay in a first-level cache of 32 KiB beside the rows of A.
inline constexpr index_t kPanelBytes = 24576;

}  // namespace detail

/// Elements that packed B (K x N) takes: N rounded up to whole panels.
template <class T>
constexpr index_t packed_size(index_t k, index_t n) noexcept {
  return (n + kPanelColumns<T> - 1) / kPanelColumns<T> * kPanelColumns<T> * k;
}

/// Packs columns [n_begin, n_end) of B, B(k, n) = b[k * k_stride + n * n_stride]: panel after
/// panel, in each of them K rows of kPanelColumns values, columns beyond N being zero. n_begin is a
/// multiple of kPanelColumns. Real-time safe.
template <class T>
void pack_b(const T* b, index_t k_stride, index_t n_stride, index_t k, index_t n, T* packed,
            index_t n_begin = 0, index_t n_end = -1) {
  constexpr index_t width = kPanelColumns<T>;
  if (n_end < 0 || n_end > n) n_end = n;
  for (index_t first = n_begin; first < n_end; first += width) {
    T* const panel = packed + first * k;
    const index_t columns = (std::min)(width, n - first);
    const T* const from = b + first * n_stride;
    if (n_stride == 1) {
      for (index_t i = 0; i < k; ++i) {
        std::copy_n(from + i * k_stride, columns, panel + i * width);
        std::fill_n(panel + i * width + columns, width - columns, T{0});
      }
      continue;
    }
    // Transposing in blocks: the reads of a block stay in cache while its rows are written.
    constexpr index_t block = 16;
    for (index_t i0 = 0; i0 < k; i0 += block) {
      const index_t i1 = (std::min)(i0 + block, k);
      for (index_t j = 0; j < columns; ++j)
        for (index_t i = i0; i < i1; ++i) panel[i * width + j] = from[i * k_stride + j * n_stride];
      for (index_t i = i0; i < i1; ++i)
        std::fill_n(panel + i * width + columns, width - columns, T{0});
    }
  }
}

/// A or C as a strided matrix of raw elements; A may have any two strides, C's columns are
/// adjacent.
template <class T>
struct GemmProblem {
  const T* a = nullptr;  ///< A(m, k) = a[m * a_row + k * a_k]
  index_t a_row = 0, a_k = 1;
  const T* b = nullptr;  ///< packed panels, or rows of adjacent columns `b_row` apart
  index_t b_row = 0;     ///< 0: packed
  T* c = nullptr;        ///< C(m, n) = c[m * c_row + n]
  index_t c_row = 0;
  const T* bias = nullptr;  ///< (N), added to every row; or nullptr
  bool accumulate = false;  ///< C += A B instead of C = A B; the sum is rounded once more
  index_t n = 0, k = 0;
};

namespace detail {

/// k of a part of every chain. The chains of all but the first part continue from C.
struct Depth {
  index_t begin, count;
  bool first, last;
};

/// Columns [n, n + width) of Rows rows: Panels panels of two registers.
template <class T, int Rows, int Panels>
SEQUIN_ALWAYS_INLINE void gemm_tile(const GemmProblem<T>& p, const Depth& depth, const T* a,
                                    const T* b, index_t b_step, index_t b_panel, T* c, index_t n,
                                    index_t width) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr int columns = 2 * Panels;
  V acc[Rows * columns];
  SEQUIN_UNROLL
  for (int i = 0; i < Rows * columns; ++i) acc[i] = V(T{0});
  if (!depth.first) {
    SEQUIN_UNROLL
    for (int i = 0; i < Rows * columns; ++i) {
      const index_t at = i % columns * lanes;
      if (at < width)
        acc[i] =
            simd::load_partial<T>(c + i / columns * p.c_row + at, (std::min)(width - at, lanes));
    }
  }
  const index_t a_row = p.a_row;
  const index_t a_k = p.a_k;
  for (index_t k = depth.count; k > 0; --k) {
    V bk[columns];
    SEQUIN_UNROLL
    for (int j = 0; j < columns; ++j)
      bk[j] = simd::load<T>(b + (j / 2) * b_panel + (j % 2) * lanes);
    SEQUIN_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const V ai(a[i * a_row]);
      SEQUIN_UNROLL
      for (int j = 0; j < columns; ++j)
        acc[i * columns + j] = simd::fma<T>(ai, bk[j], acc[i * columns + j]);
    }
    a += a_k;
    b += b_step;
  }
  const T* const bias = depth.last ? p.bias : nullptr;
  SEQUIN_UNROLL
  for (int i = 0; i < Rows; ++i) {
    SEQUIN_UNROLL
    for (int j = 0; j < columns; ++j) {
      const index_t left = width - j * lanes;
      if (left <= 0) continue;
      T* const out = c + i * p.c_row + j * lanes;
      V v = acc[i * columns + j];
      if (left >= lanes) {
        if (p.accumulate) v = simd::load<T>(out) + v;
        if (bias != nullptr) v = v + simd::load<T>(bias + n + j * lanes);
        simd::store<T>(out, v);
      } else {
        if (p.accumulate) v = simd::load_partial<T>(out, left) + v;
        if (bias != nullptr) v = v + simd::load_partial<T>(bias + n + j * lanes, left);
        simd::store_partial<T>(out, v, left);
      }
    }
  }
}

template <class T, int Rows, int Panels>
void gemm_rows(const GemmProblem<T>& p, const Depth& depth, const T* a, T* c, index_t n_begin,
               index_t n_end) {
  constexpr index_t width = kPanelColumns<T>;
  index_t n = n_begin;
  a += depth.begin * p.a_k;
  if (p.b_row == 0) {
    const index_t panel = width * p.k;
    const T* const b = p.b + depth.begin * width;
    for (; n + (Panels - 1) * width < n_end; n += Panels * width)
      gemm_tile<T, Rows, Panels>(p, depth, a, b + n * p.k, width, panel, c + n, n, n_end - n);
    if constexpr (Panels > 1)
      for (; n < n_end; n += width)
        gemm_tile<T, Rows, 1>(p, depth, a, b + n * p.k, width, panel, c + n, n, n_end - n);
    return;
  }
  const T* const b = p.b + depth.begin * p.b_row;
  for (; n + Panels * width <= n_end; n += Panels * width)
    gemm_tile<T, Rows, Panels>(p, depth, a, b + n, p.b_row, width, c + n, n, n_end - n);
  if constexpr (Panels > 1)
    for (; n + width <= n_end; n += width)
      gemm_tile<T, Rows, 1>(p, depth, a, b + n, p.b_row, width, c + n, n, n_end - n);
  if (n == n_end) return;
  // The last columns: whole registers of B would reach past its rows.
  constexpr index_t block = 32;
  alignas(64) T rows[block * width];
  const index_t left = n_end - n;
  alignas(64) T sums[Rows * width];
  std::fill_n(sums, Rows * width, T{0});
  if (!depth.first)
    for (int r = 0; r < Rows; ++r) std::copy_n(c + r * p.c_row + n, left, sums + r * width);
  for (index_t k = 0; k < depth.count; k += block) {
    const index_t count = (std::min)(block, depth.count - k);
    for (index_t i = 0; i < count; ++i) {
      std::copy_n(b + (k + i) * p.b_row + n, left, rows + i * width);
      std::fill_n(rows + i * width + left, width - left, T{0});
    }
    for (index_t i = 0; i < count; ++i)
      for (int r = 0; r < Rows; ++r) {
        const simd::Vec<T> ar(a[r * p.a_row + (k + i) * p.a_k]);
        for (index_t j = 0; j < width; j += simd::kLanes<T>)
          simd::store<T>(sums + r * width + j, simd::fma<T>(ar, simd::load<T>(rows + i * width + j),
                                                            simd::load<T>(sums + r * width + j)));
      }
  }
  for (int r = 0; r < Rows; ++r)
    for (index_t j = 0; j < left; ++j) {
      T v = sums[r * width + j];
      if (p.accumulate) v = c[r * p.c_row + n + j] + v;
      if (depth.last && p.bias != nullptr) v = v + p.bias[n + j];
      c[r * p.c_row + n + j] = v;
    }
}

/// One panel's columns [n, last) of rows [m, end), tile after tile.
template <class T>
void gemm_column(const GemmProblem<T>& p, const Depth& depth, index_t m, index_t end, index_t n,
                 index_t last) {
  constexpr int tile = kTileRows<T>;
  for (; m + tile <= end; m += tile)
    gemm_rows<T, tile, 1>(p, depth, p.a + m * p.a_row, p.c + m * p.c_row, n, last);
  if constexpr (tile > 6)
    for (; m + 6 <= end; m += 6)
      gemm_rows<T, 6, 1>(p, depth, p.a + m * p.a_row, p.c + m * p.c_row, n, last);
  for (; m + 4 <= end; m += 4)
    gemm_rows<T, 4, 1>(p, depth, p.a + m * p.a_row, p.c + m * p.c_row, n, last);
  for (; m + 2 <= end; m += 2)
    gemm_rows<T, 2, 1>(p, depth, p.a + m * p.a_row, p.c + m * p.c_row, n, last);
  for (; m < end; ++m) gemm_rows<T, 1, 1>(p, depth, p.a + m * p.a_row, p.c + m * p.c_row, n, last);
}

}  // namespace detail

/// Rows [m_begin, m_end) and columns [n_begin, n_end) of C; n_begin is a multiple of kPanelColumns,
/// n_end too or N. Ranges may be computed in any order and at the same time. Real-time safe.
template <class T>
void gemm(const GemmProblem<T>& p, index_t m_begin, index_t m_end, index_t n_begin, index_t n_end) {
  constexpr int tile = detail::kTileRows<T>;
  constexpr index_t panel = kPanelColumns<T>;
  if (m_begin >= m_end || n_begin >= n_end) return;
  // A part of K for which a panel of B fits the first-level cache, unless C has to be kept for a
  // sum at the end; then rows in blocks whose part of A stays in the second-level cache while all
  // panels pass.
  const index_t deep = detail::kPanelBytes / static_cast<index_t>(sizeof(T)) / panel;
  const index_t parts = p.accumulate || p.k <= 2 * deep ? 1 : (p.k + deep - 1) / deep;
  const index_t part = (p.k + parts - 1) / parts;
  const index_t fit = 196608 / static_cast<index_t>(sizeof(T)) / (std::max)(part, index_t{1});
  const index_t block = (std::max)(fit / tile * tile, static_cast<index_t>(4 * tile));
  for (index_t m0 = m_begin; m0 < m_end; m0 += block) {
    const index_t m1 = (std::min)(m0 + block, m_end);
    if (m1 - m0 >= 4) {
      for (index_t i = 0; i < parts; ++i) {
        const index_t k = i * part;
        const detail::Depth depth{k, (std::min)(part, p.k - k), i == 0, i == parts - 1};
        for (index_t n = n_begin; n < n_end; n += panel)
          detail::gemm_column<T>(p, depth, m0, m1, n, (std::min)(n + panel, n_end));
      }
      continue;
    }
    // Few rows: several panels at a time, so that enough chains are under way.
    const T* const a = p.a + m0 * p.a_row;
    T* const c = p.c + m0 * p.c_row;
    const detail::Depth all{0, p.k, true, true};
    if (m1 - m0 == 3) {
      detail::gemm_rows<T, 3, 2>(p, all, a, c, n_begin, n_end);
    } else if (m1 - m0 == 2) {
      detail::gemm_rows<T, 2, 3>(p, all, a, c, n_begin, n_end);
    } else {
      detail::gemm_rows<T, 1, 4>(p, all, a, c, n_begin, n_end);
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::pack_b);
SEQUIN_INSTANTIATE(kernels::gemm);
