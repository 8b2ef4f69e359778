/// The matrix product: weights packed once, small and large numbers of rows, bias, activation and
/// residual fused.
#pragma once

#include "sequin/kernels/activation.hpp"
#include "sequin/kernels/gemm_tile.hpp"

// Law: each element of the product is one chain of fused multiply-adds over k = 0 .. K-1 in
// ascending order, started from 0. A row's result is therefore the same whatever the number of
// rows, its place among them, the number of threads, and whether B was packed. Where K is long the
// chains rest in memory between two parts of it, which rounds nothing.

namespace sequin::inline SEQUIN_ABI::kernels {

/// C = residual + activation(A B + C' + bias), C' being C before the call if `accumulate` is set.
/// A and C are strided matrices of raw elements; C's columns are adjacent. C may be `residual`, but
/// overlaps nothing else that is read.
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
  Activation activation = Activation::identity;
  T* before = nullptr;  ///< where the activation's input goes, as its derivative needs; or nullptr
  index_t before_row = 0;
  const T* residual = nullptr;  ///< added last, as strided as C; or nullptr
  index_t residual_row = 0;
};

namespace detail {

/// Bytes of a part of a panel of B that stay in a first-level cache of 32 KiB beside rows of A.
inline constexpr index_t kPanelBytes = SEQ_PB;

/// Bytes of A that are copied at a time, on the stack.
inline constexpr index_t kStripBytes = 49152;

/// Activation and residual on columns [n, n_end) of rows [m, m_end), while they are in cache.
template <class T>
void gemm_finish(const GemmProblem<T>& p, index_t m, index_t m_end, index_t n, index_t n_end) {
  const index_t columns = n_end - n;
  for (; m < m_end; ++m) {
    T* const c = p.c + m * p.c_row + n;
    if (p.before != nullptr) std::copy_n(c, columns, p.before + m * p.before_row + n);
    if (p.activation != Activation::identity) activation_forward(p.activation, c, c, columns);
    if (p.residual != nullptr)
      simd::transform<T>(
          columns, c, [](const auto& x, const auto& y) { return x + y; }, c,
          p.residual + m * p.residual_row + n);
  }
}

/// k of a part of every chain.
struct Depth {
  index_t begin, count;
};

/// Columns [n, n + width) of the rows from m on, A and B as they lie.
template <class T>
Strip<T> gemm_columns(const GemmProblem<T>& p, const Depth& d, index_t m, index_t n,
                      index_t width) {
  constexpr index_t panel = kPanelColumns<T>;
  const bool packed = p.b_row == 0;
  Strip<T> s;
  s.a = p.a + m * p.a_row + d.begin * p.a_k;
  s.a_row = p.a_row;
  s.a_k = p.a_k;
  s.b = packed ? p.b + n * p.k + d.begin * panel : p.b + d.begin * p.b_row + n;
  s.b_step = packed ? panel : p.b_row;
  s.b_panel = packed ? panel * p.k : panel;
  s.count = d.count;
  s.first = d.begin == 0;
  s.last = d.begin + d.count == p.k;
  s.c = s.rest = p.c + m * p.c_row + n;
  s.c_row = s.rest_row = p.c_row;
  s.bias = p.bias == nullptr ? nullptr : p.bias + n;
  s.accumulate = p.accumulate;
  s.width = width;
  return s;
}

/// Columns [n, n_end) of 1 to 3 rows: several panels at a time, so that enough chains are under
/// way.
template <class T, int Rows, int Panels>
void gemm_few_rows(const GemmProblem<T>& p, const Depth& d, index_t m, index_t n, index_t n_end) {
  constexpr index_t panel = kPanelColumns<T>;
  for (; n + (Panels - 1) * panel < n_end; n += Panels * panel)
    gemm_tile<T, Rows, Panels>(gemm_columns(p, d, m, n, n_end - n), 0);
  for (; n < n_end; n += panel)
    gemm_tile<T, Rows, 1>(gemm_columns(p, d, m, n, n_end - n), 0);
}

/// Copies `rows` rows of a part of A so that its lines neither lie a page apart nor share a cache
/// set, and points `s` at the copy.
template <class T>
void copy_strip(Strip<T>& s, index_t rows, T* to) {
  const T* const a = s.a;
  if (s.a_row == 1) {
    for (index_t k = 0; k < s.count; ++k) std::copy_n(a + k * s.a_k, rows, to + k * rows);
    s.a_k = rows;
  } else {
    const index_t stride = s.count + 16;
    for (index_t i = 0; i < rows; ++i)
      for (index_t k = 0; k < s.count; ++k) to[i * stride + k] = a[i * s.a_row + k * s.a_k];
    s.a_row = stride;
    s.a_k = 1;
  }
  s.a = to;
}

/// Whole panels of columns [n_begin, n_end) of at least 4 rows, in parts of K.
template <class T>
void gemm_block(const GemmProblem<T>& p, index_t part, bool copy, index_t m, index_t rows,
                index_t n_begin, index_t n_end) {
  constexpr index_t panel = kPanelColumns<T>;
  alignas(64) T buffer[kStripBytes / static_cast<index_t>(sizeof(T))];
  index_t k = 0;
  do {
    const Depth d{k, (std::min)(part, p.k - k)};
    Strip<T> from = gemm_columns(p, d, m, n_begin, panel);
    if (copy) copy_strip(from, rows, buffer);
    for (index_t n = n_begin; n < n_end; n += panel) {
      Strip<T> s = gemm_columns(p, d, m, n, (std::min)(panel, n_end - n));
      s.a = from.a;
      s.a_row = from.a_row;
      s.a_k = from.a_k;
      gemm_strip(s, rows, p.b_row == 0 && n + panel < n_end ? s.b + s.b_panel : nullptr);
    }
    k += d.count;
  } while (k < p.k);
}

/// The chains rest beside C, which is still needed: columns of at most kRestRows rows, one panel
/// wide. Also for the last columns of rows of B, which no whole register may read.
inline constexpr index_t kRestRows = 48;

template <class T>
void gemm_beside(const GemmProblem<T>& p, index_t m, index_t rows, index_t n, index_t n_end) {
  constexpr index_t panel = kPanelColumns<T>;
  constexpr index_t part = kPanelBytes / static_cast<index_t>(sizeof(T)) / panel;
  alignas(64) T columns[part * panel];
  alignas(64) T rest[kRestRows * panel];
  for (; n < n_end; n += panel) {
    const index_t width = (std::min)(panel, n_end - n);
    index_t k = 0;
    do {
      const Depth d{k, (std::min)(part, p.k - k)};
      Strip<T> s = gemm_columns(p, d, m, n, width);
      s.rest = rest;
      s.rest_row = panel;
      if (p.b_row != 0 && width < panel) {
        for (index_t i = 0; i < d.count; ++i) {
          std::copy_n(s.b + i * p.b_row, width, columns + i * panel);
          std::fill_n(columns + i * panel + width, panel - width, T{0});
        }
        s.b = columns;
        s.b_step = panel;
      }
      gemm_strip<T>(s, rows, nullptr);
      k += d.count;
    } while (k < p.k);
  }
}

/// Rows [m, m + rows) of columns [n, n_end), all but activation and residual.
template <class T>
void gemm_rows(const GemmProblem<T>& p, index_t m, index_t rows, index_t n, index_t n_end) {
  constexpr index_t panel = kPanelColumns<T>;
  constexpr index_t part = kPanelBytes / static_cast<index_t>(sizeof(T)) / panel;
  const index_t whole = p.b_row == 0 ? n_end : n_end - (n_end - n) % panel;
  if (rows < 4) {
    // Rows of B that lie apart are read a few at a time, to the end of each.
    const index_t step = p.b_row == 0 || p.accumulate ? p.k : index_t{SEQ_STEP};
    index_t k = 0;
    do {
      const Depth d{k, (std::min)(step, p.k - k)};
      if (rows == 3) gemm_few_rows<T, 3, 2>(p, d, m, n, whole);
      if (rows == 2) gemm_few_rows<T, 2, 3>(p, d, m, n, whole);
      if (rows == 1) gemm_few_rows<T, 1, 4>(p, d, m, n, whole);
      k += d.count;
    } while (k < p.k);
  } else if (p.accumulate && p.k > part) {
    gemm_beside(p, m, rows, n, whole);
  } else {
    const index_t parts = p.k <= part + part / 2 ? 1 : (p.k + part - 1) / part;
    const index_t each = (p.k + parts - 1) / parts;
    const bool copy = (p.a_k != 1 || parts > 1) && whole - n >= 8 * panel &&
                      rows * (each + 16) <= kStripBytes / static_cast<index_t>(sizeof(T));
    gemm_block(p, each, copy, m, rows, n, whole);
  }
  if (whole < n_end) gemm_beside(p, m, rows, whole, n_end);
}

}  // namespace detail

/// Rows [m_begin, m_end) and columns [n_begin, n_end) of C; n_begin is a multiple of kPanelColumns,
/// n_end too or N. Ranges may be computed in any order and at the same time. Real-time safe; takes
/// up to 50 KiB of the stack.
template <class T>
void gemm(const GemmProblem<T>& p, index_t m_begin, index_t m_end, index_t n_begin, index_t n_end) {
  if (m_begin >= m_end || n_begin >= n_end) return;
  // Blocks of nearly equal numbers of rows, whole tiles but for the last.
  constexpr index_t most = detail::kRestRows * 4 / static_cast<index_t>(sizeof(T));
  constexpr index_t tile = detail::kTileRows<T>;
  const index_t blocks = (m_end - m_begin + most - 1) / most;
  const index_t rows = ((m_end - m_begin + blocks - 1) / blocks + tile - 1) / tile * tile;
  for (index_t m = m_begin; m < m_end; m += rows) {
    const index_t now = (std::min)(rows, m_end - m);
    detail::gemm_rows(p, m, now, n_begin, n_end);
    detail::gemm_finish(p, m, m + now, n_begin, n_end);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels
