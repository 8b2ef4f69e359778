/// Sums over a row, in an order that depends on its length alone, and the largest value of one.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/core/simd_reduce.hpp"

#include <limits>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// sum of f(in0[i], in1[i], ...) for i < n, in an order that depends on n alone. `f` is 0 for
/// zeros. Eight registers of sums: an addition takes four cycles, and two can begin in each.
template <class T, class F, class... In>
T sum_of(index_t n, F f, const In*... in) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t chains = 8;
  V sum[chains];
  simd::unrolled<chains>([&](auto j) { sum[j] = V(T{0}); });
  index_t i = 0;
  for (; i + chains * lanes <= n; i += chains * lanes)
    simd::unrolled<chains>(
        [&](auto j) { sum[j] = sum[j] + f(simd::load<T>(in + i + j * lanes)...); });
  if (i + 4 * lanes <= n) {
    simd::unrolled<4>([&](auto j) { sum[j] = sum[j] + f(simd::load<T>(in + i + j * lanes)...); });
    i += 4 * lanes;
  }
  simd::unrolled<3>([&](auto j) {
    if (i + lanes > n) return;
    sum[4 + j] = sum[4 + j] + f(simd::load<T>(in + i)...);
    i += lanes;
  });
  if (i < n) sum[7] = sum[7] + f(simd::load_partial<T>(in + i, n - i)...);
  simd::unrolled<4>([&](auto j) { sum[j] = sum[j] + sum[j + 4]; });
  return simd::reduce_add<T>((sum[0] + sum[2]) + (sum[1] + sum[3]));
}

/// The largest of n values; -inf when there is none. A NaN among them may be lost.
template <class T>
T largest_of(index_t n, const T* x) {
  using V = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  constexpr index_t chains = 4;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  V top[chains];
  SEQUIN_UNROLL
  for (index_t j = 0; j < chains; ++j) top[j] = V(lowest);
  index_t i = 0;
  for (; i + chains * lanes <= n; i += chains * lanes) {
    SEQUIN_UNROLL
    for (index_t j = 0; j < chains; ++j)
      top[j] = simd::max<T>(top[j], simd::load<T>(x + i + j * lanes));
  }
  for (; i + lanes <= n; i += lanes) top[0] = simd::max<T>(top[0], simd::load<T>(x + i));
  T best =
      simd::reduce_max<T>(simd::max<T>(simd::max<T>(top[0], top[1]), simd::max<T>(top[2], top[3])));
  for (; i < n; ++i) best = best > x[i] ? best : x[i];
  return best;
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: other kernels inline this.
