/// What GRU and LSTM share: weights whose columns are gates side by side, and their row products.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/kernels/gemm.hpp"

#include <algorithm>
#include <type_traits>

// A register of lanes holds neighbouring hidden units. The columns of a packed weight are: all
// gates of the first register of units, all gates of the second, and so on, padded to whole
// registers with zeros. Packed so, a step finds the gates of a unit in one lane; the layout is
// otherwise that of packed B in kernels/gemm.hpp, so that a product of many rows reads the same
// memory. Law: each gate's sum over inputs, and that over hidden units, is one chain of fused
// multiply-adds as there.

namespace sequin::inline SEQUIN_ABI::kernels {

/// Registers of hidden units.
template <Scalar T>
constexpr index_t recurrent_blocks(index_t hidden) noexcept {
  return (hidden + simd::kLanes<T> - 1) / simd::kLanes<T>;
}

/// Columns of a packed weight: `gates` for each hidden unit, padding included.
template <Scalar T>
constexpr index_t recurrent_columns(index_t gates, index_t hidden) noexcept {
  return recurrent_blocks<T>(hidden) * gates * simd::kLanes<T>;
}

/// Packs weight (gates * hidden, k), as PyTorch stores it, to packed_size<T>(k, columns) elements.
/// Real-time safe.
template <Scalar T>
void pack_gates(const T* weight, index_t gates, index_t hidden, index_t k, T* packed) {
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t width = kPanelColumns<T>;
  std::fill_n(packed, packed_size<T>(k, recurrent_columns<T>(gates, hidden)), T{0});
  for (index_t gate = 0; gate < gates; ++gate) {
    for (index_t unit = 0; unit < hidden; ++unit) {
      const index_t column = (unit / lanes * gates + gate) * lanes + unit % lanes;
      T* const to = packed + column / width * width * k + column % width;
      const T* const from = weight + (gate * hidden + unit) * k;
      for (index_t i = 0; i < k; ++i) to[i * width] = from[i];
    }
  }
}

/// The same for a bias (gates * hidden), to `columns` elements; zeros when there is none.
template <Scalar T>
void pack_gate_bias(const T* bias, index_t gates, index_t hidden, T* packed) {
  constexpr index_t lanes = simd::kLanes<T>;
  std::fill_n(packed, recurrent_columns<T>(gates, hidden), T{0});
  if (bias == nullptr) return;
  for (index_t gate = 0; gate < gates; ++gate)
    for (index_t unit = 0; unit < hidden; ++unit)
      packed[(unit / lanes * gates + gate) * lanes + unit % lanes] = bias[gate * hidden + unit];
}

/// The packed weights of one layer and direction.
template <Scalar T>
struct RecurrentWeights {
  const T* input = nullptr;           ///< from weight_ih
  const T* recurrent = nullptr;       ///< from weight_hh
  const T* input_bias = nullptr;      ///< from bias_ih
  const T* recurrent_bias = nullptr;  ///< from bias_hh
  index_t input_size = 0, hidden_size = 0;
};

namespace detail {

/// Registers [first, first + Registers) of bias + a W: `length` (or Fixed) products a register.
/// `first` is even.
template <index_t Registers, index_t Fixed, class T>
SEQUIN_ALWAYS_INLINE void gate_sums(const T* packed, const T* bias, index_t first, const T* a,
                                    index_t length, simd::Vec<T> (&sums)[Registers]) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t width = kPanelColumns<T>;
  const index_t count = Fixed > 0 ? Fixed : length;
  const index_t panel = count * width;
  const T* const from = packed + first / 2 * panel;
  SEQUIN_UNROLL for (index_t r = 0; r < Registers; ++r) sums[r] = V(T{0});
  for (index_t i = 0; i < count; ++i) {
    const V ai(a[i]);
    SEQUIN_UNROLL for (index_t r = 0; r < Registers; ++r) sums[r] =
        simd::fma<T>(ai, simd::load<T>(from + r / 2 * panel + i * width + r % 2 * lanes), sums[r]);
  }
  SEQUIN_UNROLL for (index_t r = 0; r < Registers; ++r) sums[r] =
      sums[r] + simd::load<T>(bias + (first + r) * lanes);
}

/// Stores `count` hidden units from `unit` on of those that exist.
template <class T>
SEQUIN_ALWAYS_INLINE void store_units(T* to, const simd::Vec<T>& v, index_t unit, index_t hidden) {
  if (unit + simd::kLanes<T> <= hidden)
    simd::store<T>(to + unit, v);
  else
    simd::store_partial<T>(to + unit, v, hidden - unit);
}

template <class T>
SEQUIN_ALWAYS_INLINE simd::Vec<T> load_units(const T* from, index_t unit, index_t hidden) {
  return unit + simd::kLanes<T> <= hidden ? simd::load<T>(from + unit)
                                          : simd::load_partial<T>(from + unit, hidden - unit);
}

/// Registers of each gate that a tile computes at once: as many chains of sums as hide the time of
/// a multiply-add, in as few registers as there are.
template <index_t Gates>
inline constexpr index_t kRecurrentTile = Gates == 3 ? 4 : 2;

/// Calls f.run<Blocks>(block) for tiles that cover [0, blocks), the last of them first when
/// `turned`.
template <index_t Gates, class F>
SEQUIN_ALWAYS_INLINE void each_tile(index_t blocks, bool turned, const F& f) {
  constexpr index_t tile = kRecurrentTile<Gates>;
  const index_t whole = blocks / tile;
  const index_t rest = blocks % tile;
  const index_t tiles = whole + (rest != 0);
  for (index_t i = 0; i < tiles; ++i) {
    const index_t at = turned ? tiles - 1 - i : i;
    if (rest == 0 || at < whole) {
      f.template run<tile>(at * tile);
    } else if (tile > 3 && rest == 3) {
      f.template run<3>(at * tile);
    } else if (tile > 2 && rest == 2) {
      f.template run<2>(at * tile);
    } else {
      f.template run<1>(at * tile);
    }
  }
}

/// Sums over inputs and over hidden units of a tile. Turned, the last read weights come first: what
/// is then still in the first-level cache is not read anew.
template <index_t Registers, index_t Hidden, class T>
SEQUIN_ALWAYS_INLINE void step_sums(const RecurrentWeights<T>& w, index_t first, const T* x,
                                    const T* state, bool turned, simd::Vec<T> (&xs)[Registers],
                                    simd::Vec<T> (&hs)[Registers]) {
  // Twice written: a condition around each would cost the compiler its overview of the registers.
  if (turned) {
    gate_sums<Registers, Hidden>(w.recurrent, w.recurrent_bias, first, state, w.hidden_size, hs);
    gate_sums<Registers, 0>(w.input, w.input_bias, first, x, w.input_size, xs);
  } else {
    gate_sums<Registers, 0>(w.input, w.input_bias, first, x, w.input_size, xs);
    gate_sums<Registers, Hidden>(w.recurrent, w.recurrent_bias, first, state, w.hidden_size, hs);
  }
}

template <index_t Registers, class T>
SEQUIN_ALWAYS_INLINE void load_gates(const T* row, index_t first, simd::Vec<T> (&sums)[Registers]) {
  SEQUIN_UNROLL for (index_t r = 0; r < Registers; ++r) sums[r] =
      simd::load<T>(row + (first + r) * simd::kLanes<T>);
}

/// Calls f with the hidden size as a constant where that is worth a loop of its own, else with 0.
template <class F>
SEQUIN_ALWAYS_INLINE void with_hidden_size(index_t hidden, F&& f) {
  switch (hidden) {
    case 8:
      return f(std::integral_constant<index_t, 8>{});
    case 16:
      return f(std::integral_constant<index_t, 16>{});
    case 32:
      return f(std::integral_constant<index_t, 32>{});
    case 64:
      return f(std::integral_constant<index_t, 64>{});
    default:
      return f(std::integral_constant<index_t, 0>{});
  }
}

/// Rows of a batch from which on their products with the recurrent weight are one gemm a step.
inline constexpr index_t kRecurrentGemmRows = 4;

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::pack_gates);
SEQUIN_INSTANTIATE(kernels::pack_gate_bias);
