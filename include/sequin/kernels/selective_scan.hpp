/// The selective scan of Mamba (version 1), forward.
#pragma once

#include "sequin/core/vmath.hpp"
#include "sequin/kernels/selective_scan_common.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Number of pieces of work in `selective_scan_forward`; they may run in any order or at the same
/// time.
template <Scalar T>
index_t selective_scan_forward_items(const SelectiveScanInputs<T>& in) noexcept {
  return in.batch() * in.groups * selective_scan_blocks<T>(in.channels(), in.groups);
}

namespace detail {

/// States that are advanced together through a chunk of time.
inline constexpr index_t kScanTile = 16;

/// States whose exponentials are taken together, so that four registers are under way.
template <class T>
inline constexpr index_t kScanStates = (std::max)(index_t{1}, 4 / kScanVecs<T>);

template <class T>
struct ScanForwardScratch {
  alignas(64) T dt[kScanChunk * kScanBlock<T>];
  alignas(64) T dtu[kScanChunk * kScanBlock<T>];
  alignas(64) T y[kScanChunk * kScanBlock<T>];
  alignas(64) T decay[kScanTile * kScanBlock<T>];
  alignas(64) T h[kScanTile * kScanBlock<T>];
  alignas(64) T b[kScanTile * kScanBlock<T>];
  alignas(64) T c[kScanTile * kScanBlock<T>];
};

/// The step sizes of a block of channels: bias, then softplus.
template <class T>
inline simd::Vec<T> scan_step_size(const SelectiveScanInputs<T>& in, const ScanBlock& at,
                                   const T* delta, index_t lane) {
  simd::Vec<T> v = load_lanes(delta, lane, at.width);
  if (in.delta_bias != nullptr) v = v + load_lanes(in.delta_bias + at.first, lane, at.width);
  return in.delta_softplus ? simd::softplus(v) : v;
}

/// The registers of a time step.
template <class T>
struct ScanStep {
  simd::Vec<T> dt[kScanVecs<T>], dtu[kScanVecs<T>], y[kScanVecs<T>];
};

/// One step of `Count` states from n on.
template <class T, bool ConstantB, bool ConstantC, index_t Count>
SEQUIN_SCAN_INLINE void scan_states(ScanForwardScratch<T>& s, ScanStep<T>& step, index_t n,
                                    const T* b, const T* c) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t vecs = kScanVecs<T>;
  const index_t first = n * kScanBlock<T>;
  V decay[Count * vecs];
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) decay[i] =
      step.dt[i % vecs] * V::load_aligned(s.decay + first + i * lanes);
  exp2_inplace<T>(decay);
  SEQUIN_SCAN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) {
    const index_t at = first + i * lanes;
    const V bn = ConstantB ? V::load_aligned(s.b + at) : V(b[n + i / vecs]);
    const V cn = ConstantC ? V::load_aligned(s.c + at) : V(c[n + i / vecs]);
    const V h = simd::fma<T>(decay[i], V::load_aligned(s.h + at), step.dtu[i % vecs] * bn);
    h.store_aligned(s.h + at);
    step.y[i % vecs] = simd::fma<T>(h, cn, step.y[i % vecs]);
  }
}

/// Advances `states` states of a block through `steps` steps. y gets the sum over states in
/// ascending order, one fused multiply-add each, continued from what it holds.
template <class T, bool ConstantB, bool ConstantC>
void scan_tile(ScanForwardScratch<T>& s, index_t steps, index_t states, const T* b,
               index_t b_stride, const T* c, index_t c_stride) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  for (index_t t = 0; t < steps; ++t, b += b_stride, c += c_stride) {
    ScanStep<T> step;
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) {
      step.dt[i] = V::load_aligned(s.dt + t * block + i * lanes);
      step.dtu[i] = V::load_aligned(s.dtu + t * block + i * lanes);
      step.y[i] = V::load_aligned(s.y + t * block + i * lanes);
    }
    index_t n = 0;
    for (; n + kScanStates<T> <= states; n += kScanStates<T>)
      scan_states<T, ConstantB, ConstantC, kScanStates<T>>(s, step, n, b, c);
    for (; n < states; ++n) scan_states<T, ConstantB, ConstantC, 1>(s, step, n, b, c);
    SEQUIN_SCAN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) step.y[i].store_aligned(
        s.y + t * block + i * lanes);
  }
}

template <class T>
void scan_tile(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0, index_t steps,
               index_t n0, index_t states, ScanForwardScratch<T>& s) {
  const bool constant_b = in.B_constant.data() != nullptr;
  const bool constant_c = in.C_constant.data() != nullptr;
  const T* const b = constant_b ? nullptr : &in.B(at.b, t0, at.g, n0);
  const T* const c = constant_c ? nullptr : &in.C(at.b, t0, at.g, n0);
  const index_t b_stride = constant_b ? 0 : in.B.stride(1);
  const index_t c_stride = constant_c ? 0 : in.C.stride(1);
  if (constant_b)
    load_tile(&in.B_constant(at.first, n0), in.B_constant.stride(0), at.width, states, s.b);
  if (constant_c)
    load_tile(&in.C_constant(at.first, n0), in.C_constant.stride(0), at.width, states, s.c);
  if (constant_b && constant_c)
    scan_tile<T, true, true>(s, steps, states, b, b_stride, c, c_stride);
  else if (constant_b)
    scan_tile<T, true, false>(s, steps, states, b, b_stride, c, c_stride);
  else if (constant_c)
    scan_tile<T, false, true>(s, steps, states, b, b_stride, c, c_stride);
  else
    scan_tile<T, false, false>(s, steps, states, b, b_stride, c, c_stride);
}

}  // namespace detail

/// The paper's recurrence with everything that surrounds it, in one pass (arXiv 2312.00752, eq. 2
/// and algorithm 2; official function `selective_scan_ref`):
///
///     dt = delta + delta_bias, then softplus
///     h[n] = exp(dt A[n]) h[n] + dt B[n] u
///     y = sum_n h[n] C[n] + D u, then y silu(z)
///
/// `state` [B, E, N], contiguous, holds h before and after. `y` [B, T, E] aliases no input.
/// `checkpoints`, unless null, gets h before every chunk: [B, selective_scan_chunks(T), E, N].
/// Does the pieces of work [begin, end) of `selective_scan_forward_items`.
///
/// Each channel's result is independent of its position in a register, of the batch and of how a
/// sequence is cut into calls. Real-time safe; 10 KB of stack.
template <Scalar T>
void selective_scan_forward(const SelectiveScanInputs<T>& in, View<T, 3> state, View<T, 3> y,
                            T* checkpoints, index_t begin, index_t end) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t blocks = selective_scan_blocks<T>(in.channels(), in.groups);
  const index_t length = in.length();
  const index_t states = in.states();
  const index_t chunks = selective_scan_chunks(length);
  detail::ScanForwardScratch<T> s;
  for (index_t item = begin; item < end; ++item) {
    const index_t outer = item / blocks;
    const auto at = detail::ScanBlock::at(in, outer / in.groups, outer % in.groups, item % blocks);
    T* const h = &state(at.b, at.first, 0);
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      const index_t t0 = chunk * kScanChunk;
      const index_t steps = (std::min)(kScanChunk, length - t0);
      if (checkpoints != nullptr)
        std::copy_n(h, at.width * states,
                    checkpoints + ((at.b * chunks + chunk) * in.channels() + at.first) * states);
      for (index_t t = 0; t < steps; ++t) {
        const T* const delta = &in.delta(at.b, t0 + t, at.first);
        const T* const u = &in.u(at.b, t0 + t, at.first);
        for (index_t lane = 0; lane < block; lane += lanes) {
          const V dt = detail::scan_step_size(in, at, delta, lane);
          dt.store_aligned(s.dt + t * block + lane);
          (dt * detail::load_lanes(u, lane, at.width)).store_aligned(s.dtu + t * block + lane);
          V(T{0}).store_aligned(s.y + t * block + lane);
        }
      }
      for (index_t n0 = 0; n0 < states; n0 += detail::kScanTile) {
        const index_t tile = (std::min)(detail::kScanTile, states - n0);
        detail::load_tile(&in.A(at.first, n0), in.A.stride(0), at.width, tile, s.decay);
        for (index_t i = 0; i < tile * block; i += lanes)
          (V::load_aligned(s.decay + i) * V(detail::kLog2e<T>)).store_aligned(s.decay + i);
        detail::load_tile(h + n0, states, at.width, tile, s.h);
        detail::scan_tile(in, at, t0, steps, n0, tile, s);
        detail::store_tile(s.h, at.width, tile, h + n0, states);
      }
      for (index_t t = 0; t < steps; ++t) {
        for (index_t lane = 0; lane < block; lane += lanes) {
          V out = V::load_aligned(s.y + t * block + lane);
          if (in.D != nullptr)
            out = simd::fma<T>(detail::load_lanes(in.D + at.first, lane, at.width),
                               detail::load_lanes(&in.u(at.b, t0 + t, at.first), lane, at.width),
                               out);
          if (in.z.data() != nullptr) {
            const V z = detail::load_lanes(&in.z(at.b, t0 + t, at.first), lane, at.width);
            out = out * (z * simd::sigmoid(z));
          }
          detail::store_lanes(&y(at.b, t0 + t, at.first), lane, at.width, out);
        }
      }
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels
