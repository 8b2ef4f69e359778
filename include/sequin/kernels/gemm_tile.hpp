/// The innermost part of the matrix product: a tile of C held in registers.
#pragma once

#include "sequin/kernels/gemm_pack.hpp"

namespace sequin::inline SEQUIN_ABI::kernels::detail {

/// Rows of a register tile: with two registers of columns, as many as there are registers for.
template <class T>
inline constexpr int kTileRows = sizeof(simd::Vec<T>) == 64 ? 12 : 6;

/// Rows of the same columns, over a part of k. Between two parts the chains lie in `rest`.
template <class T>
struct Strip {
  const T* a;  ///< first row, first k of the part
  index_t a_row, a_k;
  const T* b;  ///< first k of the part, first column
  index_t b_step, b_panel;
  index_t count;  ///< of k
  T* rest;
  index_t rest_row;
  bool first, last;  ///< part of all
  T* c;
  index_t c_row;
  const T* bias;  ///< of the first column, or nullptr
  bool accumulate;
  index_t width;  ///< columns to write
};

/// What follows the last link of a chain.
template <class T>
SEQUIN_ALWAYS_INLINE void finish_chain(const Strip<T>& s, simd::Vec<T> v, index_t row, index_t at,
                                       index_t left) {
  if (!s.last) return simd::store_partial<T>(s.rest + row * s.rest_row + at, v, left);
  T* const out = s.c + row * s.c_row + at;
  if (s.accumulate) v = simd::load_partial<T>(out, left) + v;
  if (s.bias != nullptr) v = v + simd::load_partial<T>(s.bias + at, left);
  simd::store_partial<T>(out, v, left);
}

/// Rows [row, row + Rows) of Panels panels of two registers.
template <class T, int Rows, int Panels>
void gemm_tile(const Strip<T>& s, index_t row) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr int columns = 2 * Panels;
  const bool whole = s.width >= columns * lanes;
  V acc[Rows * columns];
  SEQUIN_UNROLL
  for (int i = 0; i < Rows * columns; ++i) acc[i] = simd::zero<T>();
  if (!s.first) {
    const T* const rest = s.rest + row * s.rest_row;
    if (whole) {
      SEQUIN_UNROLL
      for (int i = 0; i < Rows * columns; ++i)
        acc[i] = simd::load<T>(rest + i / columns * s.rest_row + i % columns * lanes);
    } else {
      alignas(64) T values[Rows * columns * lanes] = {};
      for (int i = 0; i < Rows; ++i)
        std::copy_n(rest + i * s.rest_row, s.width, values + i * columns * lanes);
      SEQUIN_UNROLL
      for (int i = 0; i < Rows * columns; ++i) acc[i] = simd::load<T>(values + i * lanes);
    }
  }
  const index_t a_row = s.a_row;
  const index_t a_k = s.a_k;
  const index_t b_step = s.b_step;
  const index_t b_panel = s.b_panel;
  const T* a = s.a + row * a_row;
  const T* b = s.b;
  for (index_t k = s.count; k > 0; --k) {
    // The shorter side of the tile is kept in registers, the longer one passes through one.
    if constexpr (Rows < columns) {
      V ak[Rows];
      SEQUIN_UNROLL
      for (int i = 0; i < Rows; ++i) ak[i] = simd::set1<T>(a[i * a_row]);
      SEQUIN_UNROLL
      for (int j = 0; j < columns; ++j) {
        const V bj = simd::load<T>(b + (j / 2) * b_panel + (j % 2) * lanes);
        SEQUIN_UNROLL
        for (int i = 0; i < Rows; ++i)
          acc[i * columns + j] = simd::fma<T>(ak[i], bj, acc[i * columns + j]);
      }
    } else {
      V bk[columns];
      SEQUIN_UNROLL
      for (int j = 0; j < columns; ++j)
        bk[j] = simd::load<T>(b + (j / 2) * b_panel + (j % 2) * lanes);
      SEQUIN_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const V ai = simd::set1<T>(a[i * a_row]);
        SEQUIN_UNROLL
        for (int j = 0; j < columns; ++j)
          acc[i * columns + j] = simd::fma<T>(ai, bk[j], acc[i * columns + j]);
      }
    }
    a += a_k;
    b += b_step;
  }
  if (whole) {
    SEQUIN_UNROLL
    for (int i = 0; i < Rows * columns; ++i)
      finish_chain<T>(s, acc[i], row + i / columns, i % columns * lanes, lanes);
  } else {
    alignas(64) T values[Rows * columns * lanes];
    SEQUIN_UNROLL
    for (int i = 0; i < Rows * columns; ++i) simd::store<T>(values + i * lanes, acc[i]);
    for (int i = 0; i < Rows; ++i)
      for (index_t at = 0; at < s.width; at += lanes)
        finish_chain<T>(s, simd::load<T>(values + i * columns * lanes + at), row + i, at,
                        (std::min)(lanes, s.width - at));
  }
}

/// One panel's columns of `rows` rows, tile after tile. `next` is what is read afterwards: parts of
/// it are asked for before each tile.
template <class T>
void gemm_strip(const Strip<T>& s, index_t rows, const T* next) {
  constexpr index_t tile = kTileRows<T>;
  constexpr index_t line = 64 / static_cast<index_t>(sizeof(T));
  const index_t ahead = s.count * kPanelColumns<T>;
  const index_t share = (ahead / (std::max)(rows / 6, index_t{1}) + line) / line * line;
  const T* const end = next + ahead;
  for (index_t row = 0; row < rows;) {
#if defined(__GNUC__)
    if (PREF && next != nullptr && rows >= PREF)
      for (const T* const stop = (std::min)(next + share, end); next < stop; next += line)
        __builtin_prefetch(next, 0, 2);
#endif
    const index_t left = rows - row;
    if constexpr (tile > 6) {
      if (left == tile || left >= tile + 4) {
        gemm_tile<T, tile, 1>(s, row);
        row += tile;
        continue;
      }
    }
    // Tiles of at least 4 rows, 8 chains, wherever that is possible.
    index_t now = (std::min)(left, index_t{6});
    if (left == 7 || left == 8) now = 4;
    if (left == 9 || left == 10 || left == 13) now = 5;
    switch (now) {
      case 6: gemm_tile<T, 6, 1>(s, row); break;
      case 5: gemm_tile<T, 5, 1>(s, row); break;
      case 4: gemm_tile<T, 4, 1>(s, row); break;
      case 3: gemm_tile<T, 3, 1>(s, row); break;
      case 2: gemm_tile<T, 2, 1>(s, row); break;
      default: gemm_tile<T, 1, 1>(s, row);
    }
    row += now;
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels::detail
