/// Rows to and from an expert.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/simd_reduce.hpp"

#include <algorithm>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI::kernels {

// A slot is token * k + choice; an expert's slots are listed in ascending order.

/// y (count, n): row i is that of slot[i]'s token in x. Real-time safe.
template <class T>
void gather_rows(const T* x, const std::int64_t* slot, index_t count, index_t k, index_t n, T* y) {
  for (index_t i = 0; i < count; ++i) std::copy_n(x + slot[i] / k * n, n, y + i * n);
}

/// sum[token of slot[i]] += weight[slot[i]] * y[i] (weight null: 1), n elements each. Real-time
/// safe.
template <class T>
void add_rows(const T* y, const std::int64_t* slot, const T* weight, index_t count, index_t k,
              index_t n, T* sum) {
  for (index_t i = 0; i < count; ++i) {
    const simd::Vec<T> w(weight == nullptr ? T{1} : weight[slot[i]]);
    T* const to = sum + slot[i] / k * n;
    simd::transform(
        n, to, [&](const auto& v, const auto& s) { return simd::fma<T>(v, w, s); }, y + i * n, to);
  }
}

/// What `add_rows` passes back: dy[i] = weight[slot[i]] * dsum[token], dweight[slot[i]] = y[i] .
/// dsum[token]. Real-time safe.
template <class T>
void add_rows_backward(const T* y, const std::int64_t* slot, const T* weight, const T* dsum,
                       index_t count, index_t k, index_t n, T* dy, T* dweight) {
  constexpr index_t lanes = simd::kLanes<T>;
  for (index_t i = 0; i < count; ++i) {
    const T* const d = dsum + slot[i] / k * n;
    const simd::Vec<T> w(weight[slot[i]]);
    simd::transform(
        n, dy + i * n, [&](const auto& v) { return v * w; }, d);
    simd::Vec<T> dot(T{0});
    index_t j = 0;
    for (; j + lanes <= n; j += lanes)
      dot = simd::fma<T>(simd::load<T>(y + i * n + j), simd::load<T>(d + j), dot);
    if (j < n)
      dot = simd::fma<T>(simd::load_partial<T>(y + i * n + j, n - j),
                         simd::load_partial<T>(d + j, n - j), dot);
    dweight[slot[i]] = simd::reduce_add<T>(dot);
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::gather_rows);
SEQUIN_INSTANTIATE(kernels::add_rows);
SEQUIN_INSTANTIATE(kernels::add_rows_backward);
