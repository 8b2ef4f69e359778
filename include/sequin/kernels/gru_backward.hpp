/// The gated recurrent unit, backward through time.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/gru.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

/// What the backward pass reads and writes. All but `dstate`, `dx_gates` and `dh_gates` are inputs.
template <Scalar T>
struct GruGradients {
  const T* dy = nullptr;      ///< [B, T, H] or null
  const T* kept = nullptr;    ///< [B, T, kGruKept, H] as gru_forward left it
  const T* y = nullptr;       ///< [B, T, H]
  const T* before = nullptr;  ///< [B, H]: h before the first step
  const T* panels = nullptr;  ///< weight_hh (3 H, H) as packed B: K = 3 H, N = H
  T* dstate = nullptr;    ///< [B, H]: of h after the last step; afterwards of h before the first
  T* dx_gates = nullptr;  ///< [B, T, 3 H]: of W_ih x + b_ih, in PyTorch's order
  T* dh_gates = nullptr;  ///< [B, T, 3 H]: of W_hh h + b_hh
  index_t length = 0, hidden = 0;
  bool reverse = false;
};

/// Gradients of what enters the gates, and of h before the first step; rows [begin, end) of a
/// batch, each independent of the others. With dh the sum of dy and of what comes from the next
/// step:
///
///     dn' = dh (1 - z) (1 - n^2),  dz' = dh (h - n) z (1 - z),  dr' = dn' (W_hn h + b_hn) r (1 -
///     r) d before = dh z + [dr', dz', dn' r] W_hh
///
/// Real-time safe.
template <Scalar T>
void gru_backward(const GruGradients<T>& g, index_t begin, index_t end) noexcept {
  using V = simd::Vec<T>;
  const index_t hidden = g.hidden;
  if (begin >= end || hidden == 0) return;
  const V one(T{1});
  GemmProblem<T> p;
  p.a_row = g.length * kGruGates * hidden;
  p.b = g.panels;
  p.c = g.dstate + begin * hidden;
  p.c_row = hidden;
  p.accumulate = true;
  p.n = hidden;
  p.k = kGruGates * hidden;
  const auto time = [&](index_t i) { return g.reverse ? g.length - 1 - i : i; };
  for (index_t i = g.length; i-- > 0;) {
    for (index_t b = begin; b < end; ++b) {
      const index_t row = b * g.length + time(i);
      const T* const kept = g.kept + row * kGruKept * hidden;
      const T* const before =
          i == 0 ? g.before + b * hidden : g.y + (b * g.length + time(i - 1)) * hidden;
      T* const dx = g.dx_gates + row * kGruGates * hidden;
      T* const dh_gates = g.dh_gates + row * kGruGates * hidden;
      T* const dstate = g.dstate + b * hidden;
      for (index_t unit = 0; unit < hidden; unit += simd::kLanes<T>) {
        const auto load = [&](const T* from) { return detail::load_units(from, unit, hidden); };
        const auto store = [&](T* to, const V& v) { detail::store_units(to, v, unit, hidden); };
        const V r = load(kept);
        const V z = load(kept + hidden);
        const V n = load(kept + 2 * hidden);
        V dh = load(dstate);
        if (g.dy != nullptr) dh = dh + load(g.dy + row * hidden);
        const V dn = dh * (one - z) * simd::fnma<T>(n, n, one);
        const V dz = dh * (load(before) - n) * z * (one - z);
        const V dr = dn * load(kept + 3 * hidden) * r * (one - r);
        store(dx, dr);
        store(dx + hidden, dz);
        store(dx + 2 * hidden, dn);
        store(dh_gates, dr);
        store(dh_gates + hidden, dz);
        store(dh_gates + 2 * hidden, dn * r);
        store(dstate, dh * z);
      }
    }
    p.a = g.dh_gates + (begin * g.length + time(i)) * kGruGates * hidden;
    gemm(p, index_t{0}, end - begin, index_t{0}, hidden);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::gru_backward);
