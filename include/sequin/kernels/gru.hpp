/// The gated recurrent unit, forward: single steps and whole sequences.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/gate_functions.hpp"
#include "sequin/kernels/recurrent.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Gates of a GRU, in the order of PyTorch: reset r, update z, new n.
inline constexpr index_t kGruGates = 3;
/// Rows of hidden units that the backward pass needs of a step: r, z, n and W_hn h + b_hn.
inline constexpr index_t kGruKept = 4;

/// A batch of sequences whose products with weight_ih are made.
template <Scalar T>
struct GruSequences {
  RecurrentWeights<T> weights;
  const T* gates = nullptr;  ///< [B, T, recurrent_columns]: x W_ih^T + b_ih, columns as packed
  T* state = nullptr;        ///< [B, H]: h before and after
  T* y = nullptr;            ///< [B, T, H]
  T* kept = nullptr;         ///< [B, T, kGruKept, H] or null
  T* scratch = nullptr;      ///< [B, recurrent_columns] or null: then each row goes alone
  index_t length = 0;        ///< T
  bool reverse = false;      ///< from the last step to the first

  /// The i-th step in the order of computation.
  index_t time(index_t i) const noexcept { return reverse ? length - 1 - i : i; }
};

namespace detail {

/// `Blocks` registers of units from register `block` on, given the sums over inputs `x` and over
/// hidden units `h`.
template <index_t Blocks, class T>
SEQUIN_ALWAYS_INLINE void gru_units(const simd::Vec<T> (&x)[Blocks * kGruGates],
                                    const simd::Vec<T> (&h)[Blocks * kGruGates], index_t block,
                                    index_t hidden, const T* state, T* out, T* kept) {
  using V = simd::Vec<T>;
  V r[Blocks], z[Blocks], n[Blocks];
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) r[i] =
      gate_sigmoid<T>(x[i * kGruGates] + h[i * kGruGates]);
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) z[i] =
      gate_sigmoid<T>(x[i * kGruGates + 1] + h[i * kGruGates + 1]);
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) n[i] =
      gate_tanh<T>(simd::fma<T>(r[i], h[i * kGruGates + 2], x[i * kGruGates + 2]));
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) {
    const index_t unit = (block + i) * simd::kLanes<T>;
    const V before = load_units(state, unit, hidden);
    store_units(out, simd::fma<T>(z[i], before - n[i], n[i]), unit, hidden);
    if (kept == nullptr) continue;
    store_units(kept, r[i], unit, hidden);
    store_units(kept + hidden, z[i], unit, hidden);
    store_units(kept + 2 * hidden, n[i], unit, hidden);
    store_units(kept + 3 * hidden, h[i * kGruGates + 2], unit, hidden);
  }
}

/// Where row b's step t is, and h before it.
template <class T>
struct GruStep {
  const T *gates, *before;
  T *out, *kept;

  static GruStep at(const GruSequences<T>& s, index_t columns, index_t b, index_t i) {
    const index_t hidden = s.weights.hidden_size;
    const index_t row = b * s.length + s.time(i);
    return {s.gates + row * columns,
            i == 0 ? s.state + b * hidden : s.y + (b * s.length + s.time(i - 1)) * hidden,
            s.y + row * hidden, s.kept == nullptr ? nullptr : s.kept + row * kGruKept * hidden};
  }
};

/// A tile of registers in a step of a row whose products with weight_ih are made. `Hidden` as of
/// with_hidden_size.
template <index_t Hidden, class T>
struct GruRowTile {
  const RecurrentWeights<T>& w;
  const GruStep<T>& at;

  template <index_t Blocks>
  SEQUIN_ALWAYS_INLINE void run(index_t block) const {
    constexpr index_t registers = Blocks * kGruGates;
    simd::Vec<T> xs[registers], hs[registers];
    gate_sums<registers, Hidden>(w.recurrent, w.recurrent_bias, block * kGruGates, at.before,
                                 w.hidden_size, hs);
    load_gates(at.gates, block * kGruGates, xs);
    gru_units<Blocks, T>(xs, hs, block, Hidden > 0 ? Hidden : w.hidden_size, at.before, at.out,
                         at.kept);
  }
};

/// One row of a batch.
template <index_t Hidden, class T>
void gru_row(const GruSequences<T>& s, index_t b) {
  const index_t hidden = Hidden > 0 ? Hidden : s.weights.hidden_size;
  for (index_t i = 0; i < s.length; ++i) {
    const auto at = GruStep<T>::at(s, recurrent_columns<T>(kGruGates, hidden), b, i);
    each_tile<kGruGates>(recurrent_blocks<T>(hidden), i % 2 == 1,
                         GruRowTile<Hidden, T>{s.weights, at});
  }
}

/// A tile of registers in a single step.
template <index_t Hidden, class T>
struct GruStepTile {
  const RecurrentWeights<T>& w;
  const T *x, *state;
  T* out;
  bool turned;

  template <index_t Blocks>
  SEQUIN_ALWAYS_INLINE void run(index_t block) const {
    constexpr index_t registers = Blocks * kGruGates;
    simd::Vec<T> xs[registers], hs[registers];
    step_sums<registers, Hidden>(w, block * kGruGates, x, state, turned, xs, hs);
    gru_units<Blocks, T>(xs, hs, block, Hidden > 0 ? Hidden : w.hidden_size, state, out,
                         static_cast<T*>(nullptr));
  }
};

/// A function for each size: in one that holds them all g++ spills twice as much.
template <index_t Hidden, class T>
void gru_step(const RecurrentWeights<T>& w, const T* x, const T* state, T* out, bool turned) {
  each_tile<kGruGates>(recurrent_blocks<T>(Hidden > 0 ? Hidden : w.hidden_size), turned,
                       GruStepTile<Hidden, T>{w, x, state, out, turned});
}

/// Rows [begin, end), step by step together.
template <class T>
void gru_rows(const GruSequences<T>& s, index_t begin, index_t end) {
  const auto& w = s.weights;
  const index_t hidden = w.hidden_size;
  const index_t columns = recurrent_columns<T>(kGruGates, hidden);
  GemmProblem<T> p;
  p.b = w.recurrent;
  p.c = s.scratch + begin * columns;
  p.c_row = columns;
  p.bias = w.recurrent_bias;
  p.n = columns;
  p.k = hidden;
  for (index_t i = 0; i < s.length; ++i) {
    p.a = GruStep<T>::at(s, columns, begin, i).before;
    p.a_row = i == 0 ? hidden : s.length * hidden;
    gemm(p, index_t{0}, end - begin, index_t{0}, columns);
    for (index_t b = begin; b < end; ++b) {
      const auto at = GruStep<T>::at(s, columns, b, i);
      for (index_t block = 0; block < recurrent_blocks<T>(hidden); ++block) {
        simd::Vec<T> xs[kGruGates], hs[kGruGates];
        load_gates(at.gates, block * kGruGates, xs);
        load_gates(static_cast<const T*>(s.scratch) + b * columns, block * kGruGates, hs);
        gru_units<1, T>(xs, hs, block, hidden, at.before, at.out, at.kept);
      }
    }
  }
}

}  // namespace detail

/// One step of one sequence: x [I], state [H] -> out [H], which is no part of either.
///
///     r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
///     n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = n + z (h - n)
///
/// Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", arXiv 1406.1078, in the
/// form of torch.nn.GRU, whose reset gate comes after the product. `turned` reads the weights from
/// the other end, with the same result: alternate it where they do not fit the first-level cache.
/// Real-time safe.
template <Scalar T>
void gru_step(const RecurrentWeights<T>& w, const T* x, const T* state, T* out,
              bool turned = false) noexcept {
  detail::with_hidden_size(
      w.hidden_size, [&](auto fixed) { detail::gru_step<fixed()>(w, x, state, out, turned); });
}

/// The same for rows [begin, end) of a batch of sequences, bit for bit. Rows may be computed in any
/// order and at the same time. Real-time safe.
template <Scalar T>
void gru_forward(const GruSequences<T>& s, index_t begin, index_t end) noexcept {
  const index_t hidden = s.weights.hidden_size;
  if (s.length == 0 || hidden == 0) return;
  if (s.scratch != nullptr && end - begin >= detail::kRecurrentGemmRows) {
    detail::gru_rows(s, begin, end);
  } else {
    for (index_t b = begin; b < end; ++b)
      detail::with_hidden_size(hidden, [&](auto fixed) { detail::gru_row<fixed()>(s, b); });
  }
  for (index_t b = begin; b < end; ++b)
    std::copy_n(s.y + (b * s.length + s.time(s.length - 1)) * hidden, hidden, s.state + b * hidden);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::gru_step);
SEQUIN_INSTANTIATE(kernels::gru_forward);
