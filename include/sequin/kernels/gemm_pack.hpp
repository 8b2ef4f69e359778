/// B of a matrix product in panels of columns, the layout that products read fastest.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

#include <algorithm>

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

}  // namespace sequin::inline SEQUIN_ABI::kernels
