/// The long short-term memory, backward through time.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/lstm.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// What the backward pass reads and writes. All but `dstate`, `dcell` and `dgates` are inputs.
template <Scalar T>
struct LstmGradients {
  const T* dy = nullptr;           ///< [B, T, H] or null
  const T* kept = nullptr;         ///< [B, T, kLstmKept, H] as lstm_forward left it
  const T* cell_before = nullptr;  ///< [B, H]: c before the first step
  const T* panels = nullptr;       ///< weight_hh (4 H, H) as packed B: K = 4 H, N = H
  T* dstate = nullptr;  ///< [B, H]: of h after the last step; afterwards of h before the first
  T* dcell = nullptr;   ///< [B, H]: the same of c
  T* dgates = nullptr;  ///< [B, T, 4 H]: of what enters the gates, in PyTorch's order
  index_t length = 0, hidden = 0;
  bool reverse = false;
};

/// Gradients of what enters the gates, and of h and c before the first step; rows [begin, end) of a
/// batch, each independent of the others. With dh the sum of dy and of what comes from the next
/// step:
///
///     dc = dc from the next step + dh o (1 - tanh(c)^2)
///     di' = dc g i (1 - i),  df' = dc c_before f (1 - f),  dg' = dc i (1 - g^2)
///     do' = dh tanh(c) o (1 - o);  d before = [di', df', dg', do'] W_hh,  d c_before = dc f
///
/// Real-time safe.
template <Scalar T>
void lstm_backward(const LstmGradients<T>& g, index_t begin, index_t end) noexcept {
  using V = simd::Vec<T>;
  const index_t hidden = g.hidden;
  if (begin >= end || hidden == 0) return;
  const V one(T{1});
  GemmProblem<T> p;
  p.a_row = g.length * kLstmGates * hidden;
  p.b = g.panels;
  p.c = g.dstate + begin * hidden;
  p.c_row = hidden;
  p.n = hidden;
  p.k = kLstmGates * hidden;
  const auto time = [&](index_t i) { return g.reverse ? g.length - 1 - i : i; };
  for (index_t i = g.length; i-- > 0;) {
    for (index_t b = begin; b < end; ++b) {
      const index_t row = b * g.length + time(i);
      const T* const kept = g.kept + row * kLstmKept * hidden;
      const T* const before =
          i == 0 ? g.cell_before + b * hidden
                 : g.kept + ((b * g.length + time(i - 1)) * kLstmKept + 4) * hidden;
      T* const gates = g.dgates + row * kLstmGates * hidden;
      for (index_t unit = 0; unit < hidden; unit += simd::kLanes<T>) {
        const auto load = [&](const T* from) { return detail::load_units(from, unit, hidden); };
        const auto store = [&](T* to, const V& v) { detail::store_units(to, v, unit, hidden); };
        const V in = load(kept);
        const V forget = load(kept + hidden);
        const V cell = load(kept + 2 * hidden);
        const V o = load(kept + 3 * hidden);
        const V tanh_c = detail::gate_tanh<T>(load(kept + 4 * hidden));
        V dh = load(g.dstate + b * hidden);
        if (g.dy != nullptr) dh = dh + load(g.dy + row * hidden);
        const V dc =
            simd::fma<T>(dh * o, simd::fnma<T>(tanh_c, tanh_c, one), load(g.dcell + b * hidden));
        store(gates, dc * cell * in * (one - in));
        store(gates + hidden, dc * load(before) * forget * (one - forget));
        store(gates + 2 * hidden, dc * in * simd::fnma<T>(cell, cell, one));
        store(gates + 3 * hidden, dh * tanh_c * o * (one - o));
        store(g.dcell + b * hidden, dc * forget);
      }
    }
    p.a = g.dgates + (begin * g.length + time(i)) * kLstmGates * hidden;
    gemm(p, index_t{0}, end - begin, index_t{0}, hidden);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::lstm_backward);
