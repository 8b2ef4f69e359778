/// What the forward and backward selective scan share: inputs, tiling, the decay exponential.
#pragma once

#include "sequin/core/simd.hpp"
#include "sequin/core/view.hpp"
#include "sequin/kernels/lane_transpose.hpp"
#include "sequin/kernels/row_functions.hpp"

#include <algorithm>
#include <type_traits>

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
static_assert(kScanChunk % kRowVecs == 0);

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
    SEQUIN_UNROLL for (index_t lane = 0; lane < block; lane += simd::kLanes<T>)
        load_lanes(row, lane, at.width)
            .store_aligned(rows + t * block + lane);
  }
}

/// The step sizes of a block: bias, then softplus.
template <class T>
inline void load_step_sizes(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0,
                            index_t steps, T* dt) {
  constexpr index_t block = kScanBlock<T>;
  load_rows(in.delta, at, t0, steps, dt);
  if (in.delta_bias != nullptr) {
    for (index_t lane = 0; lane < block; lane += simd::kLanes<T>) {
      const auto bias = load_lanes(in.delta_bias + at.first, lane, at.width);
      for (index_t i = lane; i < steps * block; i += block)
        (simd::Vec<T>::load_aligned(dt + i) + bias).store_aligned(dt + i);
    }
  }
  if (in.delta_softplus) {
    const index_t n = steps * block;
    std::fill(dt + n, dt + padded_rows<T>(n), T{0});
    softplus_rows(dt, n);
  }
}

/// silu(z) of a block.
template <class T>
inline void load_gates(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0,
                       index_t steps, T* gate) {
  const index_t n = steps * kScanBlock<T>;
  load_rows(in.z, at, t0, steps, gate);
  std::fill(gate + n, gate + padded_rows<T>(n), T{0});
  silu_rows(gate, n);
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

// No list: other kernels inline this.
