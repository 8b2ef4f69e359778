/// The long short-term memory, forward: single steps and whole sequences.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/gate_functions.hpp"
#include "sequin/kernels/recurrent.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// Gates of an LSTM, in the order of PyTorch: input i, forget f, cell g, output o.
inline constexpr index_t kLstmGates = 4;
/// Rows of hidden units that the backward pass needs of a step: i, f, g, o and the cell c.
inline constexpr index_t kLstmKept = 5;

/// A batch of sequences whose products with weight_ih are made.
template <Scalar T>
struct LstmSequences {
  RecurrentWeights<T> weights;
  const T* gates = nullptr;  ///< [B, T, recurrent_columns]: x W_ih^T + b_ih, columns as packed
  T* state = nullptr;        ///< [B, H]: h before and after
  T* cell = nullptr;         ///< [B, H]: c before and after
  T* y = nullptr;            ///< [B, T, H]
  T* kept = nullptr;         ///< [B, T, kLstmKept, H] or null
  T* scratch = nullptr;      ///< [B, recurrent_columns] or null: then each row goes alone
  index_t length = 0;        ///< T
  bool reverse = false;      ///< from the last step to the first

  /// The i-th step in the order of computation.
  index_t time(index_t i) const noexcept { return reverse ? length - 1 - i : i; }
};

namespace detail {

/// `Blocks` registers of units from register `block` on, given the sums over inputs `x` and over
/// hidden units `h`. `cell` is updated in place.
template <index_t Blocks, class T>
SEQUIN_ALWAYS_INLINE void lstm_units(const simd::Vec<T> (&x)[Blocks * kLstmGates],
                                     const simd::Vec<T> (&h)[Blocks * kLstmGates], index_t block,
                                     index_t hidden, T* cell, T* out, T* kept) {
  using V = simd::Vec<T>;
  const auto sum = [&](index_t i, index_t gate) {
    return x[i * kLstmGates + gate] + h[i * kLstmGates + gate];
  };
  V in[Blocks], forget[Blocks], g[Blocks], o[Blocks], c[Blocks];
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) in[i] = gate_sigmoid<T>(sum(i, 0));
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) forget[i] = gate_sigmoid<T>(sum(i, 1));
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) g[i] = gate_tanh<T>(sum(i, 2));
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) {
    const index_t unit = (block + i) * simd::kLanes<T>;
    c[i] = simd::fma<T>(forget[i], load_units<T>(cell, unit, hidden), in[i] * g[i]);
    store_units(cell, c[i], unit, hidden);
  }
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) o[i] = gate_sigmoid<T>(sum(i, 3));
  SEQUIN_UNROLL for (index_t i = 0; i < Blocks; ++i) {
    const index_t unit = (block + i) * simd::kLanes<T>;
    store_units<T>(out, o[i] * gate_tanh<T>(c[i]), unit, hidden);
    if (kept == nullptr) continue;
    store_units(kept, in[i], unit, hidden);
    store_units(kept + hidden, forget[i], unit, hidden);
    store_units(kept + 2 * hidden, g[i], unit, hidden);
    store_units(kept + 3 * hidden, o[i], unit, hidden);
    store_units(kept + 4 * hidden, c[i], unit, hidden);
  }
}

/// Where row b's step i is, and h before it.
template <class T>
struct LstmStep {
  const T *gates, *before;
  T *out, *kept;

  static LstmStep at(const LstmSequences<T>& s, index_t columns, index_t b, index_t i) {
    const index_t hidden = s.weights.hidden_size;
    const index_t row = b * s.length + s.time(i);
    return {s.gates + row * columns,
            i == 0 ? s.state + b * hidden : s.y + (b * s.length + s.time(i - 1)) * hidden,
            s.y + row * hidden, s.kept == nullptr ? nullptr : s.kept + row * kLstmKept * hidden};
  }
};

/// A tile of registers in a step of a row whose products with weight_ih are made. `Hidden` as of
/// with_hidden_size.
template <index_t Hidden, class T>
struct LstmRowTile {
  const RecurrentWeights<T>& w;
  const LstmStep<T>& at;
  T* cell;

  template <index_t Blocks>
  SEQUIN_ALWAYS_INLINE void run(index_t block) const {
    constexpr index_t registers = Blocks * kLstmGates;
    simd::Vec<T> xs[registers], hs[registers];
    gate_sums<registers, Hidden>(w.recurrent, w.recurrent_bias, block * kLstmGates, at.before,
                                 w.hidden_size, hs);
    load_gates(at.gates, block * kLstmGates, xs);
    lstm_units<Blocks, T>(xs, hs, block, Hidden > 0 ? Hidden : w.hidden_size, cell, at.out,
                          at.kept);
  }
};

/// One row of a batch.
template <index_t Hidden, class T>
void lstm_row(const LstmSequences<T>& s, index_t b) {
  const index_t hidden = Hidden > 0 ? Hidden : s.weights.hidden_size;
  for (index_t i = 0; i < s.length; ++i) {
    const auto at = LstmStep<T>::at(s, recurrent_columns<T>(kLstmGates, hidden), b, i);
    each_tile<kLstmGates>(recurrent_blocks<T>(hidden), i % 2 == 1,
                          LstmRowTile<Hidden, T>{s.weights, at, s.cell + b * hidden});
  }
}

/// A tile of registers in a single step.
template <index_t Hidden, class T>
struct LstmStepTile {
  const RecurrentWeights<T>& w;
  const T *x, *state;
  T *cell, *out;
  bool turned;

  template <index_t Blocks>
  SEQUIN_ALWAYS_INLINE void run(index_t block) const {
    constexpr index_t registers = Blocks * kLstmGates;
    simd::Vec<T> xs[registers], hs[registers];
    step_sums<registers, Hidden>(w, block * kLstmGates, x, state, turned, xs, hs);
    lstm_units<Blocks, T>(xs, hs, block, Hidden > 0 ? Hidden : w.hidden_size, cell, out,
                          static_cast<T*>(nullptr));
  }
};

/// A function for each size: in one that holds them all g++ spills twice as much.
template <index_t Hidden, class T>
void lstm_step(const RecurrentWeights<T>& w, const T* x, const T* state, T* cell, T* out,
               bool turned) {
  each_tile<kLstmGates>(recurrent_blocks<T>(Hidden > 0 ? Hidden : w.hidden_size), turned,
                        LstmStepTile<Hidden, T>{w, x, state, cell, out, turned});
}

/// Rows [begin, end), step by step together.
template <class T>
void lstm_rows(const LstmSequences<T>& s, index_t begin, index_t end) {
  const auto& w = s.weights;
  const index_t hidden = w.hidden_size;
  const index_t columns = recurrent_columns<T>(kLstmGates, hidden);
  GemmProblem<T> p;
  p.b = w.recurrent;
  p.c = s.scratch + begin * columns;
  p.c_row = columns;
  p.bias = w.recurrent_bias;
  p.n = columns;
  p.k = hidden;
  for (index_t i = 0; i < s.length; ++i) {
    p.a = LstmStep<T>::at(s, columns, begin, i).before;
    p.a_row = i == 0 ? hidden : s.length * hidden;
    gemm(p, index_t{0}, end - begin, index_t{0}, columns);
    for (index_t b = begin; b < end; ++b) {
      const auto at = LstmStep<T>::at(s, columns, b, i);
      for (index_t block = 0; block < recurrent_blocks<T>(hidden); ++block) {
        simd::Vec<T> xs[kLstmGates], hs[kLstmGates];
        load_gates(at.gates, block * kLstmGates, xs);
        load_gates(static_cast<const T*>(s.scratch) + b * columns, block * kLstmGates, hs);
        lstm_units<1, T>(xs, hs, block, hidden, s.cell + b * hidden, at.out, at.kept);
      }
    }
  }
}

}  // namespace detail

/// One step of one sequence: x [I], state [H], cell [H] -> out [H], which is no part of the others;
/// the cell is updated in place.
///
///     i = sigmoid(W_ii x + b_ii + W_hi h + b_hi), f, o alike, g = tanh(W_ig x + b_ig + W_hg h +
///     b_hg) c' = f c + i g,  h' = o tanh(c')
///
/// Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with the
/// forget gate of Gers et al. (2000), as torch.nn.LSTM. `turned` as of gru_step. Real-time safe.
template <Scalar T>
void lstm_step(const RecurrentWeights<T>& w, const T* x, const T* state, T* cell, T* out,
               bool turned = false) noexcept {
  detail::with_hidden_size(w.hidden_size, [&](auto fixed) {
    detail::lstm_step<fixed()>(w, x, state, cell, out, turned);
  });
}

/// The same for rows [begin, end) of a batch of sequences, bit for bit. Rows may be computed in any
/// order and at the same time. Real-time safe.
template <Scalar T>
void lstm_forward(const LstmSequences<T>& s, index_t begin, index_t end) noexcept {
  const index_t hidden = s.weights.hidden_size;
  if (s.length == 0 || hidden == 0) return;
  if (s.scratch != nullptr && end - begin >= detail::kRecurrentGemmRows) {
    detail::lstm_rows(s, begin, end);
  } else {
    for (index_t b = begin; b < end; ++b)
      detail::with_hidden_size(hidden, [&](auto fixed) { detail::lstm_row<fixed()>(s, b); });
  }
  for (index_t b = begin; b < end; ++b)
    std::copy_n(s.y + (b * s.length + s.time(s.length - 1)) * hidden, hidden, s.state + b * hidden);
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::lstm_step);
SEQUIN_INSTANTIATE(kernels::lstm_forward);
