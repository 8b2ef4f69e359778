/// Sums over a row in an order that depends on its length alone.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd.hpp"

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// sum of f(in0[i], in1[i], ...) for i < n, in an order that depends on n alone. `f` is 0 for
/// zeros.
template <class T, class F, class... In>
T sum_of(index_t n, F f, const In*... in) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  V even(T{0}), odd(T{0});
  index_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = even + f(simd::load<T>(in + i)...);
    odd = odd + f(simd::load<T>(in + i + lanes)...);
  }
  for (; i < n; i += lanes)
    even = even + f(simd::load_partial<T>(in + i, (n - i < lanes ? n - i : lanes))...);
  return simd::reduce_add<T>(even + odd);
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: other kernels inline this.
