/// What the forward and backward selective scan share: inputs, tiling, the decay exponential.
#pragma once

#include "sequin/core/simd.hpp"
#include "sequin/core/view.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/lane_transpose.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>

/// Inlines whatever the compiler's budget says: a call in the scan's inner loop costs half its
/// speed.
#if defined(_MSC_VER)
#define SEQUIN_SCAN_INLINE __forceinline
#else
#define SEQUIN_SCAN_INLINE [[gnu::always_inline]] inline
#endif

/// Before a short loop over an array of registers: without the loop they stay registers.
#if defined(__clang__)
#define SEQUIN_SCAN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define SEQUIN_SCAN_UNROLL _Pragma("GCC unroll 16")
#else
#define SEQUIN_SCAN_UNROLL
#endif

namespace sequin::inline SEQUIN_ABI::kernels {

/// Inputs of `selective_scan_forward` and `_backward`, time-major. The last axis of every view is
/// contiguous, other strides are free, so that u, z, B and C may be columns of a wider matrix.
template <Scalar T>
struct SelectiveScanInputs {
  View<const T, 3> u;             ///< [B, T, E]
  View<const T, 3> delta;         ///< [B, T, E]
  View<const T, 2> A;             ///< [E, N]
  View<const T, 4> B;             ///< [B, T, G, N]; no data when B is constant
  View<const T, 4> C;             ///< [B, T, G, N]; no data when C is constant
  View<const T, 2> B_constant;    ///< [E, N]; no data when B varies
  View<const T, 2> C_constant;    ///< [E, N]; no data when C varies
  View<const T, 3> z;             ///< [B, T, E] or no data
  const T* D = nullptr;           ///< [E] or none
  const T* delta_bias = nullptr;  ///< [E] or none
  bool delta_softplus = false;
  index_t groups = 1;  ///< G; E % G == 0, consecutive channels share a group

  index_t batch() const noexcept { return u.extent(0); }
  index_t length() const noexcept { return u.extent(1); }
  index_t channels() const noexcept { return u.extent(2); }
  index_t states() const noexcept { return A.extent(1); }
};

/// Time steps between two states that the forward pass keeps for the backward pass.
inline constexpr index_t kScanChunk = 32;

/// Number of chunks of a sequence.
constexpr index_t selective_scan_chunks(index_t length) noexcept {
  return (length + kScanChunk - 1) / kScanChunk;
}

/// Channels that run side by side: one cache line of a time step.
template <Scalar T>
inline constexpr index_t kScanBlock = 64 / static_cast<index_t>(sizeof(T));

/// Blocks of channels in one group.
template <Scalar T>
constexpr index_t selective_scan_blocks(index_t channels, index_t groups) noexcept {
  return (channels / groups + kScanBlock<T> - 1) / kScanBlock<T>;
}

namespace detail {

template <class T>
inline constexpr index_t kScanVecs = kScanBlock<T> / simd::kLanes<T>;
static_assert(kScanVecs<float> >= 1 && kScanVecs<double> >= 1);

template <class T>
inline constexpr T kLog2e = static_cast<T>(1.4426950408889634073599246810019);

/// p[i] = p[i] r[i] + c, step by step over the coefficients.
template <class T, index_t Count, std::same_as<T>... C>
SEQUIN_SCAN_INLINE void horner(simd::Vec<T> (&p)[Count], const simd::Vec<T> (&r)[Count], T c,
                               C... rest) {
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) p[i] =
      simd::fma<T>(p[i], r[i], simd::Vec<T>(c));
  if constexpr (sizeof...(rest) > 0) horner<T, Count>(p, r, rest...);
}

/// v[i] = 2^v[i] for any value. The scan takes exp(dt * A) as 2^(dt * (A log2 e)), with A log2 e
/// made once, as the official GPU kernel does. Relative error below 1.5 ulp; below the normal range
/// the result falls to 0, above it is infinity, NaN stays NaN. (x - round(x)) is exact and the
/// polynomial is 1 + r q(r), so 2^0 is 1.
///
/// Several registers go through each stage together: one chain of dependent operations alone
/// leaves the multipliers idle for most of its 40 cycles.
template <class T, index_t Count>
SEQUIN_SCAN_INLINE void exp2_inplace(simd::Vec<T> (&v)[Count]) {
  using V = simd::Vec<T>;
  using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using IntVec = xsimd::batch<Int>;
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr T kHigh = sizeof(T) == 4 ? T(128) : T(1024);
  // At 1 - kHigh the exponent field becomes 0 with mantissa 0: exactly zero.
  constexpr T kLow = T(1) - kHigh;
  // Adding it rounds to an integer that then sits in the low bits.
  constexpr T kRound = sizeof(T) == 4 ? T(12582912) : T(6755399441055744);
  // The operands' order in min and max lets NaN through.
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) v[i] =
      xsimd::min(V(kHigh), xsimd::max(V(kLow), v[i]));
  V shifted[Count], p[Count];
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) shifted[i] = v[i] + V(kRound);
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) v[i] = v[i] - (shifted[i] - V(kRound));
  // (2^r - 1) / r interpolated at Chebyshev nodes: relative error 9.2e-9 and 2.0e-17.
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) p[i] =
      V(sizeof(T) == 4 ? T(0x1.44138ap-13) : T(0x1.e9d3fe3952179p-32));
  if constexpr (sizeof(T) == 4) {
    horner<T, Count>(p, v, 0x1.5f0890p-10f, 0x1.3b2a54p-7f, 0x1.c6af6cp-5f, 0x1.ebfbe0p-3f,
                     0x1.62e430p-1f, 1.0f);
  } else {
    horner<T, Count>(p, v, 0x1.e6063f7217bc6p-28, 0x1.b524fae627834p-24, 0x1.62bfd47773353p-20,
                     0x1.ffcbfc670dcd4p-17, 0x1.430913096fd9fp-13, 0x1.5d87fe78a5276p-10,
                     0x1.3b2ab6fba1ddap-7, 0x1.c6b08d704a0c2p-5, 0x1.ebfbdff82c598p-3,
                     0x1.62e42fefa39efp-1, 1.0);
  }
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count; ++i) {
    const auto exponent = std::bit_cast<IntVec>(shifted[i]) << kMantissa;
    v[i] = std::bit_cast<V>(std::bit_cast<IntVec>(p[i]) + exponent);
  }
}

/// The lanes [first, first + kLanes) of a block of which `width` channels exist; others are 0.
template <class T>
inline simd::Vec<T> load_lanes(const T* block, index_t first, index_t width) {
  if (first + simd::kLanes<T> <= width) return simd::load<T>(block + first);
  if (first >= width) return simd::Vec<T>(T{0});
  return simd::load_partial<T>(block + first, width - first);
}

template <class T>
inline void store_lanes(T* block, index_t first, index_t width, const simd::Vec<T>& v) {
  if (first + simd::kLanes<T> <= width) {
    simd::store<T>(block + first, v);
  } else if (first < width) {
    simd::store_partial<T>(block + first, v, width - first);
  }
}

/// A block's channel indices and position in the batch.
struct ScanBlock {
  index_t b, g, first, width;

  template <class T>
  static ScanBlock at(const SelectiveScanInputs<T>& in, index_t b, index_t g, index_t block) {
    const index_t per_group = in.channels() / in.groups;
    const index_t offset = block * kScanBlock<T>;
    return {b, g, g * per_group + offset, (std::min)(kScanBlock<T>, per_group - offset)};
  }
};

/// rows[t][lane] = from(b, t0 + t, first + lane); missing lanes are 0.
template <class T>
inline void load_rows(const View<const T, 3>& from, const ScanBlock& at, index_t t0, index_t steps,
                      T* rows) {
  constexpr index_t block = kScanBlock<T>;
  for (index_t t = 0; t < steps; ++t) {
    const T* const row = &from(at.b, t0 + t, at.first);
    SEQUIN_SCAN_UNROLL for (index_t lane = 0; lane < block; lane += simd::kLanes<T>)
        load_lanes(row, lane, at.width)
            .store_aligned(rows + t * block + lane);
  }
}

/// tile[n][lane] = from[lane][n], the rows being `stride` apart; missing lanes are 0.
template <class T>
inline void load_tile(const T* from, index_t stride, index_t width, index_t states, T* tile) {
  if (width < kScanBlock<T>) std::fill_n(tile, states * kScanBlock<T>, T{0});
  transpose(from, stride, width, states, tile, kScanBlock<T>);
}

template <class T>
inline void store_tile(const T* tile, index_t width, index_t states, T* to, index_t stride) {
  transpose(tile, kScanBlock<T>, states, width, to, stride);
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels
