/// The operands of the matrix product in the order in which it reads them.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd_transpose.hpp"

#include <algorithm>
#include <type_traits>

namespace sequin::inline SEQUIN_ABI::kernels {

/// Columns of a panel of packed B: two registers.
template <class T>
inline constexpr index_t kPanelColumns = 2 * simd::kLanes<T>;

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
  // In blocks of rows: what is read of a row lies together, what is written of a panel too.
  constexpr index_t block = 16;
  for (index_t i0 = 0; i0 < k; i0 += block) {
    const index_t i1 = (std::min)(i0 + block, k);
    for (index_t first = n_begin; first < n_end; first += width) {
      T* const panel = packed + first * k;
      const index_t columns = (std::min)(width, n - first);
      const T* const from = b + first * n_stride;
      if (n_stride == 1 && columns == width) {
        for (index_t i = i0; i < i1; ++i)
          for (index_t j = 0; j < width; j += simd::kLanes<T>)
            simd::store<T>(panel + i * width + j, simd::load<T>(from + i * k_stride + j));
        continue;
      }
      for (index_t j = 0; j < columns; ++j)
        for (index_t i = i0; i < i1; ++i) panel[i * width + j] = from[i * k_stride + j * n_stride];
      for (index_t i = i0; i < i1; ++i)
        std::fill_n(panel + i * width + columns, width - columns, T{0});
    }
  }
}

namespace detail {

/// Rows of a register tile: with two registers of columns, as many as there are registers for.
template <class T>
inline constexpr int kTileRows = sizeof(simd::Vec<T>) == 64 ? 12 : 6;

/// Calls tile(integral_constant<Rows>, m) for tiles that cover rows [m, end), at least 4. A tile of
/// less than 4 rows waits for its own sums, so none is left to the end where those before it can
/// share.
template <class T, class F>
SEQUIN_ALWAYS_INLINE void for_each_tile(index_t m, index_t end, F&& tile) {
  constexpr int most = kTileRows<T>;
  const auto next = [&]<int Rows>(std::integral_constant<int, Rows> rows) {
    tile(rows, m);
    m += Rows;
  };
  if constexpr (most > 6) {
    while (end - m == most || end - m >= most + 4) next(std::integral_constant<int, most>());
    if (end - m == 8 || end - m >= most) next(std::integral_constant<int, 8>());
  }
  while (end - m == 6 || end - m >= 10) next(std::integral_constant<int, 6>());
  if (end - m == 9 || end - m == 5) next(std::integral_constant<int, 5>());
  while (end - m >= 7 || end - m == 4) next(std::integral_constant<int, 4>());
  if (end - m == 3) next(std::integral_constant<int, 3>());
}

/// A(m, k) = from[m * row + k * step] of `rows` rows and `count` k: k after k its values.
template <class T>
SEQUIN_NO_INLINE void pack_rows(const T* from, index_t row, index_t step, index_t rows,
                                index_t count, T* out) {
  index_t k = 0;
  if constexpr (simd::kHasTranspose<T>) {
    constexpr index_t lanes = simd::kLanes<T>;
    const index_t groups = (rows + lanes - 1) / lanes;
    // A whole register reaches into the values of so many k that follow. What is written next
    // overwrites it: the next k where one group is all, else the groups before, which come after.
    const index_t beyond = (groups * lanes - 1) / rows;
    for (; step == 1 && k + lanes + beyond <= count; k += lanes)
      for (index_t g = groups - 1; g >= 0; --g) {
        simd::Vec<T> v[lanes];
        const T* at = from + g * lanes * row + k;
        T* to = out + k * rows + g * lanes;
        SEQUIN_UNROLL
        for (index_t i = 0; i < lanes; ++i) {
          v[i] = simd::load<T>(at);
          at += g * lanes + i + 1 < rows ? row : 0;
        }
        simd::transpose(v);
        SEQUIN_UNROLL
        for (index_t i = 0; i < lanes; ++i, to += rows) simd::store<T>(to, v[i]);
      }
  }
  for (; k < count; ++k)
    for (index_t i = 0; i < rows; ++i) out[k * rows + i] = from[i * row + k * step];
}

/// Copies `rows` rows of A (at least 4), A(m, k) = a[m * a_row + k * a_k], k < depth, to `to`: tile
/// after tile, in each of them k after k its rows side by side, so that a product reads it from one
/// end to the other whatever the strides of A. Real-time safe.
template <class T>
void pack_a(const T* a, index_t a_row, index_t a_k, index_t rows, index_t depth, T* to) {
  // Rows are read from one end to the other; where k lie apart, so that each cache line of A is
  // read in one go.
  const index_t block = a_k == 1 ? depth : 16;
  for (index_t k0 = 0; k0 < depth; k0 += block) {
    const index_t count = (std::min)(block, depth - k0);
    for_each_tile<T>(index_t{0}, rows, [&]<int Rows>(std::integral_constant<int, Rows>, index_t m) {
      const T* from = a + m * a_row + k0 * a_k;
      T* out = to + m * depth + k0 * Rows;
      if (Rows != kTileRows<T> || a_k == 1 || a_row != 1)
        return pack_rows(from, a_row, a_k, index_t{Rows}, count, out);
      // Values that lie side by side already: whole registers where the compiler knows how many.
      for (index_t k = 0; k < count; ++k, from += a_k, out += Rows) {
        SEQUIN_UNROLL
        for (index_t i = 0; i < Rows; ++i) out[i] = from[i];
      }
    });
  }
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::pack_b);
