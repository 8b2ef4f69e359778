/// The selective scan of Mamba (version 1), backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/selective_scan.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Into how many partial sums, each over neighbouring channels, the gradients of B and C of a
/// group are cut. Depends on the sizes alone, never on the number of threads.
template <Scalar T>
constexpr index_t selective_scan_parts(index_t channels, index_t groups) noexcept {
  return (std::min)(index_t{8}, selective_scan_blocks<T>(channels, groups));
}

/// Number of pieces of work in `selective_scan_backward`; they may run in any order or at the same
/// time.
template <Scalar T>
index_t selective_scan_backward_items(const SelectiveScanInputs<T>& in) noexcept {
  return in.batch() * in.groups * selective_scan_parts<T>(in.channels(), in.groups);
}

/// What `selective_scan_backward` reads and writes besides the inputs of the forward pass. Where B
/// (or C) varies, its gradient comes as `selective_scan_parts` parts to be added up.
template <Scalar T>
struct SelectiveScanGradients {
  View<const T, 3> dy;             ///< [B, T, E], channels adjacent
  const T* checkpoints = nullptr;  ///< as the forward pass wrote them
  T* dstate = nullptr;             ///< [B, E, N]; in: of the last state, out: of the initial one
  View<T, 3> du;                   ///< [B, T, E]
  View<T, 3> ddelta;               ///< [B, T, E]
  View<T, 3> dz;                   ///< [B, T, E]; not used without z
  T* dA = nullptr;                 ///< [B, E, N], zeros before
  T* dB = nullptr;                 ///< [parts, B, T, G, N] or, constant, [B, E, N]; zeros before
  T* dC = nullptr;                 ///< as dB
  T* dD = nullptr;                 ///< [B, E], zeros before
  T* ddelta_bias = nullptr;        ///< [B, E], zeros before
};

namespace detail {

/// States that go back through a chunk together: their decays and values stay near the core.
inline constexpr index_t kScanBackTile = 8;

template <class T>
struct ScanBackwardScratch {
  static constexpr index_t kRows = kScanChunk * kScanBlock<T>;
  static constexpr index_t kTile = kScanBackTile * kScanBlock<T>;
  alignas(64) T dt[kRows];
  alignas(64) T dtu[kRows];
  alignas(64) T dy[kRows];    // gradient before the gate
  alignas(64) T y[kRows];     // output before the gate, without the skip
  alignas(64) T dh_b[kRows];  // sum_n dh B
  alignas(64) T dh_a[kRows];  // sum_n dh exp(dt A) h A
  alignas(64) T h[kTile * (kScanChunk + 1)];
  alignas(64) T decay[kTile * kScanChunk];
  alignas(64) T a[kTile];
  alignas(64) T b[kTile];
  alignas(64) T c[kTile];
  alignas(64) T dh[kTile];
  alignas(64) T da[kTile];
  alignas(64) T db[kTile];
  alignas(64) T dc[kTile];
  alignas(64) T old[kTile];
};

/// Where the sums of a chunk's steps go when B or C vary.
template <class T>
struct ScanTimeSums {
  const T* value = nullptr;  // B or C at the first step of the chunk
  index_t stride = 0;
  T* sum = nullptr;
  index_t sum_stride = 0;
};

/// One step of `Count` states from n on, keeping decays and states.
template <class T, bool ConstantB, bool ConstantC, index_t Count>
SEQUIN_ALWAYS_INLINE void scan_replay_states(ScanBackwardScratch<T>& s, ScanStep<T>& step,
                                             index_t t, index_t n, const T* b, const T* c) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t vecs = kScanVecs<T>;
  const index_t first = n * kScanBlock<T>;
  const T* const before = s.h + t * ScanBackwardScratch<T>::kTile;
  T* const after = s.h + (t + 1) * ScanBackwardScratch<T>::kTile;
  T* const decays = s.decay + t * ScanBackwardScratch<T>::kTile;
  V decay[Count * vecs];
  SEQUIN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) decay[i] =
      step.dt[i % vecs] * (V::load_aligned(s.a + first + i * lanes) * V(kLog2e<T>));
  exp2_inplace<T>(decay);
  SEQUIN_UNROLL for (index_t i = 0; i < Count * vecs; ++i) {
    const index_t at = first + i * lanes;
    const V bn = ConstantB ? V::load_aligned(s.b + at) : V(b[n + i / vecs]);
    const V cn = ConstantC ? V::load_aligned(s.c + at) : V(c[n + i / vecs]);
    const V h = simd::fma<T>(decay[i], V::load_aligned(before + at), step.dtu[i % vecs] * bn);
    decay[i].store_aligned(decays + at);
    h.store_aligned(after + at);
    step.y[i % vecs] = simd::fma<T>(h, cn, step.y[i % vecs]);
  }
}

/// Runs `states` states through the chunk again.
template <class T, bool ConstantB, bool ConstantC>
void scan_replay_tile(ScanBackwardScratch<T>& s, index_t steps, index_t states,
                      const ScanTimeSums<T>& b, const ScanTimeSums<T>& c) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  for (index_t t = 0; t < steps; ++t) {
    ScanStep<T> step;
    SEQUIN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) {
      step.dt[i] = V::load_aligned(s.dt + t * block + i * lanes);
      step.dtu[i] = V::load_aligned(s.dtu + t * block + i * lanes);
      step.y[i] = V::load_aligned(s.y + t * block + i * lanes);
    }
    const T* const bt = ConstantB ? nullptr : b.value + t * b.stride;
    const T* const ct = ConstantC ? nullptr : c.value + t * c.stride;
    index_t n = 0;
    for (; n + kScanStates<T> <= states; n += kScanStates<T>)
      scan_replay_states<T, ConstantB, ConstantC, kScanStates<T>>(s, step, t, n, bt, ct);
    for (; n < states; ++n) scan_replay_states<T, ConstantB, ConstantC, 1>(s, step, t, n, bt, ct);
    SEQUIN_UNROLL for (index_t i = 0; i < kScanVecs<T>; ++i) step.y[i].store_aligned(
        s.y + t * block + i * lanes);
  }
}

/// dh_t = C_t dy_t + decay_{t+1} dh_{t+1}, and what follows from it, last step first.
template <class T, bool ConstantB, bool ConstantC>
void scan_backward_tile(ScanBackwardScratch<T>& s, index_t steps, index_t states,
                        const ScanTimeSums<T>& b, const ScanTimeSums<T>& c) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t vecs = kScanVecs<T>;
  constexpr index_t tile = ScanBackwardScratch<T>::kTile;
  for (index_t t = steps; t-- > 0;) {
    V dt[vecs], dtu[vecs], dy[vecs], dh_b[vecs], dh_a[vecs];
    SEQUIN_UNROLL for (index_t i = 0; i < vecs; ++i) {
      const index_t at = t * block + i * lanes;
      dt[i] = V::load_aligned(s.dt + at);
      dtu[i] = V::load_aligned(s.dtu + at);
      dy[i] = V::load_aligned(s.dy + at);
      dh_b[i] = V::load_aligned(s.dh_b + at);
      dh_a[i] = V::load_aligned(s.dh_a + at);
    }
    for (index_t n = 0; n < states; ++n) {
      SEQUIN_UNROLL for (index_t i = 0; i < vecs; ++i) {
        const index_t at = n * block + i * lanes;
        const V bn = ConstantB ? V::load_aligned(s.b + at) : V(b.value[t * b.stride + n]);
        const V cn = ConstantC ? V::load_aligned(s.c + at) : V(c.value[t * c.stride + n]);
        const V dh = simd::fma<T>(cn, dy[i], V::load_aligned(s.dh + at));
        const V h = V::load_aligned(s.h + (t + 1) * tile + at);
        if constexpr (ConstantB)
          simd::fma<T>(dh, dtu[i], V::load_aligned(s.db + at)).store_aligned(s.db + at);
        else
          (dh * dtu[i]).store_aligned(s.db + at);
        if constexpr (ConstantC)
          simd::fma<T>(h, dy[i], V::load_aligned(s.dc + at)).store_aligned(s.dc + at);
        else
          (h * dy[i]).store_aligned(s.dc + at);
        const V back = dh * V::load_aligned(s.decay + t * tile + at);
        const V through = back * V::load_aligned(s.h + t * tile + at);
        back.store_aligned(s.dh + at);
        dh_b[i] = simd::fma<T>(dh, bn, dh_b[i]);
        dh_a[i] = simd::fma<T>(through, V::load_aligned(s.a + at), dh_a[i]);
        simd::fma<T>(through, dt[i], V::load_aligned(s.da + at)).store_aligned(s.da + at);
      }
    }
    SEQUIN_UNROLL for (index_t i = 0; i < vecs; ++i) {
      const index_t at = t * block + i * lanes;
      dh_b[i].store_aligned(s.dh_b + at);
      dh_a[i].store_aligned(s.dh_a + at);
    }
    if constexpr (!ConstantB) add_row_sums(s.db, block, states, b.sum + t * b.sum_stride);
    if constexpr (!ConstantC) add_row_sums(s.dc, block, states, c.sum + t * c.sum_stride);
  }
}

/// total[lane][n] += tile[n][lane].
template <class T>
void add_tile(const T* tile, index_t width, index_t states, T* total, index_t stride, T* old) {
  load_tile(static_cast<const T*>(total), stride, width, states, old);
  for (index_t i = 0; i < states * kScanBlock<T>; ++i) old[i] += tile[i];
  store_tile(static_cast<const T*>(old), width, states, total, stride);
}

/// The step sizes, and the gradient as it arrives before the gate.
template <class T>
void scan_backward_prepare(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& g,
                           const ScanBlock& at, index_t t0, index_t steps,
                           ScanBackwardScratch<T>& s) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  load_step_sizes(in, at, t0, steps, s.dt);
  load_rows(in.u, at, t0, steps, s.dtu);
  load_rows(g.dy, at, t0, steps, s.dy);
  for (index_t i = 0; i < steps * block; i += simd::kLanes<T>)
    (V::load_aligned(s.dtu + i) * V::load_aligned(s.dt + i)).store_aligned(s.dtu + i);
  if (in.z.data() != nullptr) {
    load_gates(in, at, t0, steps, s.y);
    for (index_t i = 0; i < steps * block; i += simd::kLanes<T>)
      (V::load_aligned(s.dy + i) * V::load_aligned(s.y + i)).store_aligned(s.dy + i);
  }
  std::fill_n(s.y, steps * block, T{0});
  std::fill_n(s.dh_b, steps * block, T{0});
  std::fill_n(s.dh_a, steps * block, T{0});
}

/// From the sums over states to the gradients of what has one value a channel and step.
template <class T>
void scan_backward_finish(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& g,
                          const ScanBlock& at, index_t t0, index_t steps,
                          const ScanBackwardScratch<T>& s) {
  using V = simd::Vec<T>;
  constexpr index_t block = kScanBlock<T>;
  const V one(T{1});
  const V zero(T{0});
  for (index_t lane = 0; lane < block; lane += simd::kLanes<T>) {
    if (lane >= at.width) break;
    const V skip = in.D == nullptr ? zero : load_lanes(in.D + at.first, lane, at.width);
    V dskip = zero;
    V dbias = zero;
    for (index_t t = 0; t < steps; ++t) {
      const index_t i = t * block + lane;
      const V u = load_lanes(&in.u(at.b, t0 + t, at.first), lane, at.width);
      const V dt = V::load_aligned(s.dt + i);
      const V dy = V::load_aligned(s.dy + i);
      const V dh_b = V::load_aligned(s.dh_b + i);
      if (in.z.data() != nullptr) {
        const V z = load_lanes(&in.z(at.b, t0 + t, at.first), lane, at.width);
        const V raw = load_lanes(&g.dy(at.b, t0 + t, at.first), lane, at.width);
        const V sigmoid = simd::sigmoid(z);
        const V y = simd::fma<T>(skip, u, V::load_aligned(s.y + i));
        const V slope = sigmoid * simd::fma<T>(z, one - sigmoid, one);
        store_lanes(&g.dz(at.b, t0 + t, at.first), lane, at.width, raw * y * slope);
      }
      store_lanes(&g.du(at.b, t0 + t, at.first), lane, at.width, simd::fma<T>(dt, dh_b, skip * dy));
      V ddelta = simd::fma<T>(u, dh_b, V::load_aligned(s.dh_a + i));
      if (in.delta_softplus) {
        V v = load_lanes(&in.delta(at.b, t0 + t, at.first), lane, at.width);
        if (in.delta_bias != nullptr) v = v + load_lanes(in.delta_bias + at.first, lane, at.width);
        ddelta = ddelta * simd::sigmoid(v);
      }
      store_lanes(&g.ddelta(at.b, t0 + t, at.first), lane, at.width, ddelta);
      dskip = simd::fma<T>(dy, u, dskip);
      dbias = dbias + ddelta;
    }
    const index_t channel = at.b * in.channels() + at.first;
    if (g.dD != nullptr)
      store_lanes(g.dD + channel, lane, at.width,
                  load_lanes<T>(g.dD + channel, lane, at.width) + dskip);
    if (g.ddelta_bias != nullptr)
      store_lanes(g.ddelta_bias + channel, lane, at.width,
                  load_lanes<T>(g.ddelta_bias + channel, lane, at.width) + dbias);
  }
}

template <class T, bool ConstantB, bool ConstantC>
void scan_backward_chunk(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& g,
                         const ScanBlock& at, index_t part, index_t chunk,
                         ScanBackwardScratch<T>& s) {
  constexpr index_t block = kScanBlock<T>;
  const index_t length = in.length();
  const index_t states = in.states();
  const index_t chunks = selective_scan_chunks(length);
  const index_t channel = at.b * in.channels() + at.first;
  const index_t t0 = chunk * kScanChunk;
  const index_t steps = (std::min)(kScanChunk, length - t0);
  const T* const before =
      g.checkpoints + ((at.b * chunks + chunk) * in.channels() + at.first) * states;
  scan_backward_prepare(in, g, at, t0, steps, s);
  for (index_t n0 = 0; n0 < states; n0 += kScanBackTile) {
    const index_t tile = (std::min)(kScanBackTile, states - n0);
    const index_t sums = (((part * in.batch() + at.b) * length + t0) * in.groups + at.g) * states;
    ScanTimeSums<T> b, c;
    load_tile(&in.A(at.first, n0), in.A.stride(0), at.width, tile, s.a);
    load_tile(before + n0, states, at.width, tile, s.h);
    if constexpr (ConstantB) {
      load_tile(&in.B_constant(at.first, n0), in.B_constant.stride(0), at.width, tile, s.b);
      std::fill_n(s.db, tile * block, T{0});
    } else {
      b = {&in.B(at.b, t0, at.g, n0), in.B.stride(1), g.dB + sums + n0, in.groups * states};
    }
    if constexpr (ConstantC) {
      load_tile(&in.C_constant(at.first, n0), in.C_constant.stride(0), at.width, tile, s.c);
      std::fill_n(s.dc, tile * block, T{0});
    } else {
      c = {&in.C(at.b, t0, at.g, n0), in.C.stride(1), g.dC + sums + n0, in.groups * states};
    }
    std::fill_n(s.da, tile * block, T{0});
    scan_replay_tile<T, ConstantB, ConstantC>(s, steps, tile, b, c);
    T* const dstate = g.dstate + channel * states + n0;
    load_tile(static_cast<const T*>(dstate), states, at.width, tile, s.dh);
    scan_backward_tile<T, ConstantB, ConstantC>(s, steps, tile, b, c);
    store_tile(static_cast<const T*>(s.dh), at.width, tile, dstate, states);
    const index_t own = channel * states + n0;
    add_tile(s.da, at.width, tile, g.dA + own, states, s.old);
    if constexpr (ConstantB) add_tile(s.db, at.width, tile, g.dB + own, states, s.old);
    if constexpr (ConstantC) add_tile(s.dc, at.width, tile, g.dC + own, states, s.old);
  }
  scan_backward_finish(in, g, at, t0, steps, s);
}

}  // namespace detail

/// Gradients of everything that `selective_scan_forward` reads. With dy' = dy silu(z) (the
/// formulas per channel, time indices where they differ):
///
///     dh_t[n] = C[n] dy' + exp(dt_{t+1} A[n]) dh_{t+1}[n]      (the last state's gradient at the
///     end) ddt = sum_n dh[n] (A[n] exp(dt A[n]) h_{t-1}[n] + B[n] u);  ddelta = ddt sigmoid(delta
///     + bias) du = sum_n dh[n] dt B[n] + D dy';  dz = dy (y before the gate) silu'(z) dA[n] =
///     sum_t dh[n] dt exp(dt A[n]) h_{t-1}[n];  dB[n] = sum dh[n] dt u;  dC[n] = sum h[n] dy'
///
/// States inside a chunk are computed again from the checkpoint. Does the pieces of work
/// [begin, end) of `selective_scan_backward_items`. No allocation; 60 KB of stack.
template <Scalar T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& g,
                             index_t begin, index_t end) {
  const index_t blocks = selective_scan_blocks<T>(in.channels(), in.groups);
  const index_t parts = selective_scan_parts<T>(in.channels(), in.groups);
  const bool constant_b = in.B_constant.data() != nullptr;
  const bool constant_c = in.C_constant.data() != nullptr;
  detail::ScanBackwardScratch<T> s;
  for (index_t item = begin; item < end; ++item) {
    const index_t part = item % parts;
    const index_t outer = item / parts;
    const index_t last = (part + 1) * blocks / parts;
    // All channels of a chunk before the next chunk, as forward.
    for (index_t chunk = selective_scan_chunks(in.length()); chunk-- > 0;) {
      for (index_t block = part * blocks / parts; block < last; ++block) {
        const auto at = detail::ScanBlock::at(in, outer / in.groups, outer % in.groups, block);
        if (constant_b && constant_c)
          detail::scan_backward_chunk<T, true, true>(in, g, at, part, chunk, s);
        else if (constant_b)
          detail::scan_backward_chunk<T, true, false>(in, g, at, part, chunk, s);
        else if (constant_c)
          detail::scan_backward_chunk<T, false, true>(in, g, at, part, chunk, s);
        else
          detail::scan_backward_chunk<T, false, false>(in, g, at, part, chunk, s);
      }
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::selective_scan_backward);
