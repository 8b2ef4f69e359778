/// The matrix product: weights packed once, small and large numbers of rows, bias and accumulation
/// fused.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/kernels/gemm_pack.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

// Law: each element of the product is one chain of fused multiply-adds over k = 0 .. K-1 in
// ascending order, started from 0. A row's result is therefore the same whatever the number of
// rows, its place among them, the number of threads, and whether B was packed. Where K is long the
// chains rest in C between two parts of it, which rounds nothing.

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// Whether a register is a whole line of a cache.
inline constexpr bool kWideVec = sizeof(simd::Vec<float>) == 64;

/// Bytes of a panel of B: half of what it takes from the first-level cache comes from the second
/// without a stall, so that longer chains between two visits of C are worth more. The taller tiles
/// of wide registers take a panel from the second-level cache without one.
inline constexpr index_t kPanelBytes = kWideVec ? 131072 : 32768;

/// B of up to so many bytes stays in the second-level cache, or comes from the third in time by
/// itself when it is read once.
inline constexpr index_t kNearBytes = 262144, kFarBytes = 4194304;

}  // namespace detail

/// Elements of GemmProblem::scratch.
template <class T>
inline constexpr index_t kGemmScratch = (detail::kWideVec ? 393216 : 196608) /
                                        static_cast<index_t>(sizeof(T));

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
  /// kGemmScratch<T> elements of this call's own, for rows of A side by side; or nullptr: A is read
  /// where it lies. The result is the same.
  T* scratch = nullptr;
};

namespace detail {

/// k of a part of every chain. The chains of all but the first part continue from C.
template <class T>
struct Depth {
  index_t begin, count;
  bool first, last;
  const T* rows = nullptr;  ///< this part of A from row `m` on as `pack_a` leaves it; or nullptr
  index_t m = 0;
};

/// Where the next panel of B lies, for a tile to ask for while it works, so that it is near when
/// its turn comes: one address a step of k, `step` bytes on each time. It may be past B. Where
/// nothing is to come it is one at work, which costs nothing (an unmapped one costs a search for
/// its page).
struct Ahead {
  std::uintptr_t at;
  std::uintptr_t step = 0;
};

/// The end of a chain, which `sum` holds: C's old value and the bias, where they are wanted.
template <class T, class V>
SEQUIN_ALWAYS_INLINE V gemm_end(const GemmProblem<T>& p, V sum, const V& old, const V& bias) {
  if (p.accumulate) sum = old + sum;
  return p.bias != nullptr ? sum + bias : sum;
}

/// Puts `sums` (Rows x stride) of a tile whose last columns are beyond C where they belong.
template <class T>
void gemm_store_narrow(const GemmProblem<T>& p, bool last, const T* sums, int rows, index_t stride,
                       T* c, index_t n, index_t width) {
  for (int r = 0; r < rows; ++r)
    for (index_t j = 0; j < width; ++j) {
      T& out = c[r * p.c_row + j];
      const T bias = p.bias != nullptr ? p.bias[n + j] : T{0};
      out = last ? gemm_end(p, sums[r * stride + j], out, bias) : sums[r * stride + j];
    }
}

/// Columns [n, n + width) of Rows rows: Panels panels of two registers.
template <class T, int Rows, int Panels>
SEQUIN_ALWAYS_INLINE void gemm_tile(const GemmProblem<T>& p, const Depth<T>& depth, const T* a,
                                    index_t a_row, index_t a_k, const T* b, index_t b_step,
                                    index_t b_panel, T* c, index_t n, index_t width, Ahead ahead) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr int columns = 2 * Panels;
  const bool whole = width >= columns * lanes;
  alignas(64) T narrow[Rows * columns * lanes];  // C of a tile that reaches past its last column
  if (!whole && !depth.first)
    for (int r = 0; r < Rows; ++r)
      std::copy_n(c + r * p.c_row, width, narrow + r * columns * lanes);
  T* const out = whole ? c : narrow;
  const index_t out_row = whole ? p.c_row : columns * lanes;
  V acc[Rows * columns];
  SEQUIN_UNROLL
  for (int i = 0; i < Rows * columns; ++i)
    acc[i] =
        depth.first ? V(T{0}) : simd::load<T>(out + i / columns * out_row + i % columns * lanes);
  // The many lines of C of a tile of wide registers come while it works: it would wait for them.
  if constexpr (kWideVec)
    if (depth.count > 256) {
      SEQUIN_UNROLL
      for (int i = 0; i < Rows * columns; ++i)
        simd::prefetch_written(out + i / columns * out_row + i % columns * lanes);
    }
  index_t k = depth.count;
  // Two steps at a time where two addresses say all: where another program works on the same core,
  // instructions count as much as multiply-adds. Two steps of `ahead` are then a line at most.
  if constexpr (Panels == 1 && Rows == kTileRows<T>)
    if (a_row == 1 && a_k == Rows && b_step == columns * lanes && ahead.step <= 32) {
      SEQUIN_NO_UNROLL
      for (; k >= 2; k -= 2) {
        simd::prefetch_later(reinterpret_cast<const void*>(ahead.at));
        ahead.at += 2 * ahead.step;
        SEQUIN_UNROLL
        for (int u = 0; u < 2; ++u) {
          const V b0 = simd::hold(simd::load<T>(b + 2 * u * lanes));
          const V b1 = simd::hold(simd::load<T>(b + (2 * u + 1) * lanes));
          SEQUIN_UNROLL
          for (int i = 0; i < Rows; ++i) {
            const V ai(a[u * Rows + i]);
            acc[2 * i] = simd::fma<T>(ai, b0, acc[2 * i]);
            acc[2 * i + 1] = simd::fma<T>(ai, b1, acc[2 * i + 1]);
          }
        }
        a += 2 * Rows;
        b += 2 * columns * lanes;
      }
    }
  // A tall tile's rows in threes, which one register each and the distance address: g++ else keeps
  // a register for each row.
  constexpr int group = Rows > 6 ? 3 : Rows;
  const T* at[(Rows + group - 1) / group];
  SEQUIN_UNROLL
  for (int g = 0; g * group < Rows; ++g) at[g] = a + g * group * a_row;
  // Not unrolled: clang then has more addresses at a time than there are registers.
  SEQUIN_NO_UNROLL
  for (; k > 0; --k) {
    if constexpr (Panels == 1) {
      simd::prefetch_later(reinterpret_cast<const void*>(ahead.at));
      ahead.at += ahead.step;
    }
    V bk[columns];
    SEQUIN_UNROLL
    for (int j = 0; j < columns; ++j) {
      bk[j] = simd::load<T>(b + (j / 2) * b_panel + (j % 2) * lanes);
      if constexpr (Rows > 1) bk[j] = simd::hold(bk[j]);
    }
    SEQUIN_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const V ai(at[i / group][i % group * a_row]);
      SEQUIN_UNROLL
      for (int j = 0; j < columns; ++j)
        acc[i * columns + j] = simd::fma<T>(ai, bk[j], acc[i * columns + j]);
    }
    SEQUIN_UNROLL
    for (int g = 0; g * group < Rows; ++g) at[g] += a_k;
    b += b_step;
  }
  if (whole && depth.last && (p.accumulate || p.bias != nullptr)) {
    SEQUIN_UNROLL
    for (int j = 0; j < columns; ++j) {
      const V bias = p.bias != nullptr ? simd::load<T>(p.bias + n + j * lanes) : V(T{0});
      SEQUIN_UNROLL
      for (int i = 0; i < Rows; ++i) {
        V& sum = acc[i * columns + j];
        sum = gemm_end(p, sum, p.accumulate ? simd::load<T>(out + i * out_row + j * lanes) : sum,
                       bias);
      }
    }
  }
  SEQUIN_UNROLL
  for (int i = 0; i < Rows * columns; ++i)
    simd::store<T>(out + i / columns * out_row + i % columns * lanes, acc[i]);
  if (!whole) gemm_store_narrow(p, depth.last, narrow, Rows, columns * lanes, c, n, width);
}

/// Columns [n, n_end), less than a panel, of B that is not packed: whole registers of it would
/// reach past its rows.
template <class T>
void gemm_last_columns(const GemmProblem<T>& p, const Depth<T>& depth, const T* a, index_t a_row,
                       index_t a_k, T* c, int rows, index_t n, index_t n_end) {
  using V = simd::Vec<T>;
  constexpr index_t width = kPanelColumns<T>;
  constexpr index_t block = 32;
  alignas(64) T b[block * width];
  alignas(64) T sums[kTileRows<T> * width] = {};
  const index_t left = n_end - n;
  if (!depth.first)
    for (int r = 0; r < rows; ++r) std::copy_n(c + r * p.c_row + n, left, sums + r * width);
  for (index_t k = 0; k < depth.count; k += block) {
    const index_t count = (std::min)(block, depth.count - k);
    for (index_t i = 0; i < count; ++i) {
      std::copy_n(p.b + (depth.begin + k + i) * p.b_row + n, left, b + i * width);
      std::fill_n(b + i * width + left, width - left, T{0});
    }
    for (index_t i = 0; i < count; ++i)
      for (int r = 0; r < rows; ++r) {
        const V ar(a[r * a_row + (k + i) * a_k]);
        for (index_t j = 0; j < width; j += simd::kLanes<T>) {
          T* const sum = sums + r * width + j;
          simd::store<T>(sum,
                         simd::fma<T>(ar, simd::load<T>(b + i * width + j), simd::load<T>(sum)));
        }
      }
  }
  gemm_store_narrow(p, depth.last, sums, rows, width, c + n, n, left);
}

/// Rows [m, m + Rows) of columns [n_begin, n_end).
template <class T, int Rows, int Panels>
void gemm_rows(const GemmProblem<T>& p, const Depth<T>& depth, index_t m, index_t n_begin,
               index_t n_end, const Ahead& ahead) {
  constexpr index_t width = kPanelColumns<T>;
  const bool packed = p.b_row == 0;
  const index_t b_step = packed ? width : p.b_row, b_panel = packed ? width * p.k : width;
  const bool beside = depth.rows != nullptr;
  const index_t a_row = beside ? 1 : p.a_row, a_k = beside ? Rows : p.a_k;
  const T* const a =
      beside ? depth.rows + (m - depth.m) * depth.count : p.a + m * p.a_row + depth.begin * p.a_k;
  const T* b = p.b + depth.begin * b_step + n_begin / width * b_panel;
  T* const c = p.c + m * p.c_row;
  index_t panels = (n_end - n_begin + (packed ? width - 1 : 0)) / width;
  index_t n = n_begin;
  for (; panels >= Panels; panels -= Panels, n += Panels * width, b += Panels * b_panel)
    gemm_tile<T, Rows, Panels>(p, depth, a, a_row, a_k, b, b_step, b_panel, c + n, n, n_end - n,
                               ahead);
  if constexpr (Panels > 2)
    for (; panels >= 2; panels -= 2, n += 2 * width, b += 2 * b_panel)
      gemm_tile<T, Rows, 2>(p, depth, a, a_row, a_k, b, b_step, b_panel, c + n, n, n_end - n,
                            ahead);
  if constexpr (Panels > 1)
    for (; panels > 0; --panels, n += width, b += b_panel)
      gemm_tile<T, Rows, 1>(p, depth, a, a_row, a_k, b, b_step, b_panel, c + n, n, n_end - n,
                            ahead);
  if (n < n_end) gemm_last_columns(p, depth, a, a_row, a_k, c, Rows, n, n_end);
}

/// Columns [n, last), one panel's as a rule, of rows [m, end), at least 4, tile after tile. `next`
/// is the part of B that its tiles ask for meanwhile; or nullptr.
template <class T>
void gemm_column(const GemmProblem<T>& p, const Depth<T>& depth, index_t m, index_t end, index_t n,
                 index_t last, const T* next) {
  constexpr int most = kTileRows<T>;
  const Ahead nothing{reinterpret_cast<std::uintptr_t>(p.a)};
  Ahead ahead = nothing;
  const bool packed = p.b_row == 0;
  const index_t tiles = (end - m + most - 1) / most;
  const index_t bytes = p.k * p.n * static_cast<index_t>(sizeof(T));
  if (next != nullptr && depth.count > 0 &&
      bytes > (packed || tiles >= 4 ? kNearBytes : kFarBytes)) {
    // Each tile asks for its share of a packed panel; of rows that lie apart the first for all.
    const index_t row = (packed ? kPanelColumns<T> : p.b_row) * static_cast<index_t>(sizeof(T));
    ahead = {reinterpret_cast<std::uintptr_t>(next),
             static_cast<std::uintptr_t>(packed ? row / tiles : row)};
  }
  for_each_tile<T>(m, end, [&]<int Rows>(std::integral_constant<int, Rows>, index_t first) {
    gemm_rows<T, Rows, 1>(p, depth, first, n, last, ahead);
    if (packed)
      ahead.at += ahead.step * static_cast<std::uintptr_t>(depth.count);
    else
      ahead = nothing;
  });
}

/// Whether A is worth packing: each of its elements is read once for every panel, and those of one
/// tile lie in different pages or meet in the same sets of a cache.
template <class T>
bool packs_a(const GemmProblem<T>& p, index_t rows, index_t columns) {
  constexpr index_t far = 2048 / static_cast<index_t>(sizeof(T));
  if (p.scratch == nullptr || rows < 16) return false;
  return p.a_k == 1 ? p.a_row >= far && columns >= 512 : p.a_k >= 16 && columns >= 64;
}

/// Fewer than 4 rows: several panels at a time, so that enough chains are under way.
template <class T>
void gemm_few(const GemmProblem<T>& p, index_t m, index_t end, index_t n_begin, index_t n_end) {
  const Ahead none{reinterpret_cast<std::uintptr_t>(p.a)};
  const Depth<T> all{0, p.k, true, true};
  if (end - m == 3) {
    gemm_rows<T, 3, 2>(p, all, m, n_begin, n_end, none);
  } else if (end - m == 2) {
    gemm_rows<T, 2, 3>(p, all, m, n_begin, n_end, none);
  } else {
    gemm_rows<T, 1, 4>(p, all, m, n_begin, n_end, none);
  }
}

}  // namespace detail

/// Rows [m_begin, m_end) and columns [n_begin, n_end) of C; n_begin is a multiple of kPanelColumns,
/// n_end too or N. Ranges may be computed in any order and at the same time. Real-time safe.
template <class T>
void gemm(const GemmProblem<T>& p, index_t m_begin, index_t m_end, index_t n_begin, index_t n_end) {
  constexpr int tile = detail::kTileRows<T>;
  constexpr index_t panel = kPanelColumns<T>;
  if (m_begin >= m_end || n_begin >= n_end) return;
  if (m_end - m_begin < 4) return detail::gemm_few(p, m_begin, m_end, n_begin, n_end);
  // A part of K for which a panel of B fits the first-level cache, unless C has to be kept for a
  // sum at the end; then rows in blocks whose part of A stays in the second-level cache while all
  // panels pass.
  const index_t deep = detail::kPanelBytes / static_cast<index_t>(sizeof(T)) / panel;
  const index_t parts = p.accumulate || p.k <= deep ? 1 : (p.k + deep - 1) / deep;
  const index_t part = (p.k + parts - 1) / parts;
  const index_t fit = kGemmScratch<T> / (std::max)(part, index_t{1});
  const index_t block = (std::max)(fit / tile * tile, static_cast<index_t>(4 * tile));
  // A small B stays in the first-level cache whole: no tile of rows has to come back.
  const index_t step = p.k * (n_end - n_begin) <= deep * panel ? n_end - n_begin : panel;
  const bool pack = detail::packs_a(p, m_end - m_begin, n_end - n_begin);
  const auto depth_of = [&](index_t i) {
    return detail::Depth<T>{i * part, (std::min)(part, p.k - i * part), i == 0, i == parts - 1};
  };
  // All of A stays in the second-level cache: packed B passes once, from one end to the other.
  if (p.b_row == 0 && !pack && parts > 1 && m_end - m_begin <= fit / parts) {
    const T* const b_end = p.b + (n_end + panel - 1) / panel * panel * p.k;
    for (index_t n = n_begin; n < n_end; n += panel)
      for (index_t i = 0; i < parts; ++i) {
        const T* const b = p.b + n * p.k + i * part * panel;
        detail::gemm_column<T>(p, depth_of(i), m_begin, m_end, n, (std::min)(n + panel, n_end),
                               b_end - b > 2 * deep * panel ? b + deep * panel : nullptr);
      }
    return;
  }
  for (index_t m0 = m_begin; m0 < m_end; m0 += block) {
    const index_t m1 = (std::min)(m0 + block, m_end);
    if (m1 - m0 < 4) {
      detail::gemm_few(p, m0, m1, n_begin, n_end);
      continue;
    }
    for (index_t i = 0; i < parts; ++i) {
      detail::Depth<T> depth = depth_of(i);
      if (pack && (m1 - m0) * depth.count <= kGemmScratch<T>) {
        detail::pack_a(p.a + m0 * p.a_row + depth.begin * p.a_k, p.a_row, p.a_k, m1 - m0,
                       depth.count, p.scratch);
        depth.rows = p.scratch;
        depth.m = m0;
      }
      for (index_t n = n_begin; n < n_end; n += step) {
        const index_t last = n + step;
        const T* const next = p.b_row == 0 ? p.b + last * p.k + depth.begin * panel
                                           : p.b + last + depth.begin * p.b_row;
        detail::gemm_column<T>(p, depth, m0, m1, n, (std::min)(last, n_end),
                               last < n_end ? next : nullptr);
      }
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::gemm);
