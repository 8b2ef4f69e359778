/// The selective scan of Mamba (version 1), forward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/selective_scan_common.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI::kernels {

/// Blocks of channels that go through a chunk of time one after the other: a row of u then uses
/// its page of memory for 512 bytes instead of 64.
inline constexpr index_t kScanSpan = 8;

/// Number of pieces of work in `selective_scan_forward`; they may run in any order or at the same
/// time.
template <Scalar T>
index_t selective_scan_forward_items(const SelectiveScanInputs<T>& in) noexcept {
  const index_t blocks = selective_scan_blocks<T>(in.channels(), in.groups);
  return in.batch() * in.groups * ((blocks + kScanSpan - 1) / kScanSpan);
}

namespace detail {

/// States that are advanced together through a chunk of time.
inline constexpr index_t kScanTile = 16;

/// States whose exponentials are taken together, so that four registers are under way.
template <class T>
inline constexpr index_t kScanStates = (std::max)(index_t{1}, 4 / kScanVecs<T>);

/// The rows of a block's next chunk: one cache line of each step, too far apart for the machine to
/// guess, which is asked for while this chunk is computed.
class ScanAhead {
 public:
  template <class T>
  void set(std::size_t i, const View<T, 3>& x, const ScanBlock& at, index_t t) noexcept {
    if (x.data() == nullptr) return;
    first_[i] = reinterpret_cast<std::uintptr_t>(&x(at.b, t, at.first));
    step_[i] = static_cast<std::uintptr_t>(x.stride(1)) * sizeof(T);
  }
  SEQUIN_ALWAYS_INLINE void fetch(index_t t) const noexcept {
    SEQUIN_UNROLL for (std::size_t i = 0; i < kRows; ++i) simd::prefetch_later(
        reinterpret_cast<const void*>(first_[i] + step_[i] * static_cast<std::uintptr_t>(t)));
  }

 private:
  static constexpr std::size_t kRows = 4;
  std::uintptr_t first_[kRows] = {};
  std::uintptr_t step_[kRows] = {};
};

template <class T>
struct ScanForwardScratch {
  alignas(64) T dt[kScanChunk * kScanBlock<T>];
  alignas(64) T dtu[kScanChunk * kScanBlock<T>];
  alignas(64) T y[kScanChunk * kScanBlock<T>];
  alignas(64) T decay[kScanTile * kScanBlock<T>];
  alignas(64) T h[kScanTile * kScanBlock<T>];
  alignas(64) T b[kScanTile * kScanBlock<T>];
  alignas(64) T c[kScanTile * kScanBlock<T>];
  ScanAhead ahead;
};

/// The registers of a time step.
template <class T>
struct ScanStep {
  simd::Vec<T> dt[kScanVecs<T>], dtu[kScanVecs<T>], y[kScanVecs<T>];
};

/// One step of `Count` states from n on.
template <class T, bool ConstantB, bool ConstantC, index_t Count>
SEQUIN_ALWAYS_INLINE void scan_states(ScanForwardScratch<T>& s, ScanStep<T>& step, index_t n,
                                      const T* b, const T* c) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t vecs = kScanVecs<T>;
  const index_t first = n * kScanBlock<T>;
  V decay[Count * vecs];
  SEQUIN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) decay[i] =
      step.dt[i % vecs] * V::load_aligned(s.decay + first + i * lanes);
  exp2_inplace<T>(decay);
  SEQUIN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) {
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
    s.ahead.fetch(t);
    ScanStep<T> step;
    SEQUIN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) {
      step.dt[i] = V::load_aligned(s.dt + t * block + i * lanes);
      step.dtu[i] = V::load_aligned(s.dtu + t * block + i * lanes);
      step.y[i] = V::load_aligned(s.y + t * block + i * lanes);
    }
    index_t n = 0;
    for (; n + kScanStates<T> <= states; n += kScanStates<T>)
      scan_states<T, ConstantB, ConstantC, kScanStates<T>>(s, step, n, b, c);
    for (; n < states; ++n) scan_states<T, ConstantB, ConstantC, 1>(s, step, n, b, c);
    SEQUIN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) step.y[i].store_aligned(
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

/// Chunks of at most this many steps go through `scan_short`.
inline constexpr index_t kScanShort = 2;

/// scan_tile for a chunk too short to be worth turning A and the state around: registers run over
/// the states of one channel, in place, and only h is turned for the sum over states. The same
/// operations on every value, so the same bits. `states` is a multiple of a register.
template <class T>
void scan_short(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0, index_t steps,
                index_t n0, index_t states, T* h, index_t h_stride, ScanForwardScratch<T>& s) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t most = kScanTile / lanes;
  const bool constant_b = in.B_constant.data() != nullptr;
  const bool constant_c = in.C_constant.data() != nullptr;
  const index_t vecs = states / lanes;
  if (constant_c)
    load_tile(&in.C_constant(at.first, n0), in.C_constant.stride(0), at.width, states, s.c);
  for (index_t t = 0; t < steps; ++t) {
    for (index_t e = 0; e < at.width; ++e) {
      const T* const a = &in.A(at.first + e, n0);
      const T* const b =
          constant_b ? &in.B_constant(at.first + e, n0) : &in.B(at.b, t0 + t, at.g, n0);
      const V dt(s.dt[t * block + e]);
      const V dtu(s.dtu[t * block + e]);
      const auto advance = [&](index_t n, auto& decay) {
        constexpr index_t count = std::extent_v<std::remove_reference_t<decltype(decay)>>;
        SEQUIN_UNROLL for (index_t i = 0; i < count; ++i) decay[i] =
            dt * (simd::load<T>(a + n + i * lanes) * V(kLog2e<T>));
        exp2_inplace<T>(decay);
        SEQUIN_UNROLL for (index_t i = 0; i < count; ++i) {
          T* const value = h + e * h_stride + n + i * lanes;
          simd::store<T>(value, simd::fma<T>(decay[i], simd::load<T>(value),
                                             dtu * simd::load<T>(b + n + i * lanes)));
        }
      };
      if (vecs == most) {
        V decay[most];
        advance(0, decay);
      } else {
        for (index_t n = 0; n < states; n += lanes) {
          V decay[1];
          advance(n, decay);
        }
      }
    }
    transpose(static_cast<const T*>(h), h_stride, at.width, states, s.h, block);
    const T* const c = constant_c ? nullptr : &in.C(at.b, t0 + t, at.g, n0);
    for (index_t lane = 0; lane < block; lane += lanes) {
      V y = V::load_aligned(s.y + t * block + lane);
      for (index_t n = 0; n < states; ++n)
        y = simd::fma<T>(V::load_aligned(s.h + n * block + lane),
                         constant_c ? V::load_aligned(s.c + n * block + lane) : V(c[n]), y);
      y.store_aligned(s.y + t * block + lane);
    }
  }
}

/// The skip and the gate.
template <class T>
void scan_finish(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t t0, index_t steps,
                 ScanForwardScratch<T>& s, const View<T, 3>& y) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  const bool gated = in.z.data() != nullptr;
  T* const gate = s.dt;  // no longer needed
  if (gated) load_gates(in, at, t0, steps, gate);
  for (index_t lane = 0; lane < block && lane < at.width; lane += simd::kLanes<T>) {
    const V skip = in.D == nullptr ? V(T{0}) : load_lanes(in.D + at.first, lane, at.width);
    for (index_t t = 0; t < steps; ++t) {
      V out = V::load_aligned(s.y + t * block + lane);
      if (in.D != nullptr)
        out = simd::fma<T>(skip, load_lanes(&in.u(at.b, t0 + t, at.first), lane, at.width), out);
      if (gated) out = out * V::load_aligned(gate + t * block + lane);
      store_lanes(&y(at.b, t0 + t, at.first), lane, at.width, out);
    }
  }
}

/// One block through one chunk, the state in the caller's memory before and after.
template <class T>
void scan_chunk(const SelectiveScanInputs<T>& in, const ScanBlock& at, index_t chunk,
                const View<T, 3>& state, const View<T, 3>& y, T* checkpoints,
                ScanForwardScratch<T>& s) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t states = in.states();
  const index_t chunks = selective_scan_chunks(in.length());
  const index_t t0 = chunk * kScanChunk;
  const index_t steps = (std::min)(kScanChunk, in.length() - t0);
  T* const h = &state(at.b, at.first, 0);
  if (checkpoints != nullptr)
    std::copy_n(h, at.width * states,
                checkpoints + ((at.b * chunks + chunk) * in.channels() + at.first) * states);
  load_step_sizes(in, at, t0, steps, s.dt);
  load_rows(in.u, at, t0, steps, s.dtu);
  for (index_t i = 0; i < steps * block; i += lanes)
    (V::load_aligned(s.dtu + i) * V::load_aligned(s.dt + i)).store_aligned(s.dtu + i);
  std::fill_n(s.y, steps * block, T{0});
  const index_t next = (std::min)(t0 + kScanChunk, in.length() - 1);
  s.ahead.set(0, in.u, at, next);
  s.ahead.set(1, in.delta, at, next);
  s.ahead.set(2, in.z, at, next);
  s.ahead.set(3, y, at, next);
  for (index_t n0 = 0; n0 < states; n0 += kScanTile) {
    const index_t tile = (std::min)(kScanTile, states - n0);
    if (steps <= kScanShort && tile % lanes == 0) {
      scan_short(in, at, t0, steps, n0, tile, h + n0, states, s);
      continue;
    }
    load_tile(&in.A(at.first, n0), in.A.stride(0), at.width, tile, s.decay);
    for (index_t i = 0; i < tile * block; i += lanes)
      (V::load_aligned(s.decay + i) * V(kLog2e<T>)).store_aligned(s.decay + i);
    load_tile(static_cast<const T*>(h + n0), states, at.width, tile, s.h);
    scan_tile(in, at, t0, steps, n0, tile, s);
    store_tile(static_cast<const T*>(s.h), at.width, tile, h + n0, states);
  }
  scan_finish(in, at, t0, steps, s, y);
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
  const index_t blocks = selective_scan_blocks<T>(in.channels(), in.groups);
  const index_t spans = (blocks + kScanSpan - 1) / kScanSpan;
  const index_t chunks = selective_scan_chunks(in.length());
  detail::ScanForwardScratch<T> s;
  // Lanes without a channel are computed too; they start from something.
  std::fill_n(s.h, detail::kScanTile * kScanBlock<T>, T{0});
  for (index_t item = begin; item < end; ++item) {
    const index_t outer = item / spans;
    const index_t first = item % spans * kScanSpan;
    const index_t last = (std::min)(first + kScanSpan, blocks);
    for (index_t chunk = 0; chunk < chunks; ++chunk)
      for (index_t k = first; k < last; ++k)
        detail::scan_chunk(in, detail::ScanBlock::at(in, outer / in.groups, outer % in.groups, k),
                           chunk, state, y, checkpoints, s);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::selective_scan_forward);
