/// Attention of one query over a cache of keys: nothing is packed and no scratch is needed.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/attention.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

/// Brings `count` elements of the row four keys after `row` near, be it beyond the last one.
template <class T>
inline void fetch_ahead(const T* row, index_t stride, index_t count) {
  const auto at = reinterpret_cast<std::uintptr_t>(row) +
                  static_cast<std::uintptr_t>(4 * stride * static_cast<index_t>(sizeof(T)));
  for (std::uintptr_t p = 0; p < static_cast<std::uintptr_t>(count) * sizeof(T); p += 64)
    simd::prefetch(reinterpret_cast<const void*>(at + p));
}

/// Whether rows are worth fetching ahead: the heads of a cache interleave, so those of one are too
/// short and too far apart for the machine to guess, but near memory is near without.
template <class T>
bool step_is_far(const AttentionProblem<T>& a) noexcept {
  return a.keys() * (a.k.stride(1) + a.v.stride(1)) * static_cast<index_t>(sizeof(T)) >
         (index_t{8} << 20);
}

/// s[j] = q . k_j for j < n, rows of k `stride` apart. Four keys at a time: s has room for that.
template <class T>
void step_scores(bool far, const T* q, const T* k, index_t stride, index_t n, index_t width,
                 T factor, T* s) {
  using Vec = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t whole = width / lanes * lanes;
  for (index_t j = 0; j < n; j += 4) {
    const T* row[4];
    for (index_t r = 0; r < 4; ++r) {
      row[r] = k + (std::min)(j + r, n - 1) * stride;
      if (far) fetch_ahead(row[r], stride, width);
    }
    Vec sum[4];
    simd::unrolled<4>([&](auto r) { sum[r] = Vec(T{0}); });
    for (index_t p = 0; p < whole; p += lanes) {
      const Vec x = simd::load<T>(q + p);
      simd::unrolled<4>(
          [&](auto r) { sum[r] = simd::fma<T>(x, simd::load<T>(row[r] + p), sum[r]); });
    }
    if (whole < width) {
      const Vec x = simd::load_partial<T>(q + whole, width - whole);
      simd::unrolled<4>([&](auto r) {
        sum[r] = simd::fma<T>(x, simd::load_partial<T>(row[r] + whole, width - whole), sum[r]);
      });
    }
    simd::unrolled<4>([&](auto r) { s[j + r] = simd::reduce_add<T>(sum[r]) * factor; });
  }
}

/// out[c] = shrink * out[c] + sum over j < n of s[j] v_j[c], keys that `keep` removes left out.
template <index_t Registers, class T>
void step_values(bool far, const T* s, const T* v, index_t stride, index_t n, const bool* keep,
                 T shrink, index_t count, T* out) {
  using Vec = simd::Vec<T>;
  constexpr index_t lanes = simd::kLanes<T>;
  const bool partial = count < Registers * lanes;
  Vec sum[Registers];
  simd::unrolled<Registers>([&](auto r) { sum[r] = Vec(T{0}); });
  for (index_t j = 0; j < n; ++j, v += stride) {
    if (far) fetch_ahead(v, stride, count);
    if (keep != nullptr && !keep[j]) continue;
    const Vec p(s[j]);
    if (partial)
      sum[0] = simd::fma<T>(p, simd::load_partial<T>(v, count), sum[0]);
    else
      simd::unrolled<Registers>(
          [&](auto r) { sum[r] = simd::fma<T>(p, simd::load<T>(v + r * lanes), sum[r]); });
  }
  const Vec f(shrink);
  if (partial)
    simd::store_partial<T>(out, simd::fma<T>(simd::load_partial<T>(out, count), f, sum[0]), count);
  else
    simd::unrolled<Registers>([&](auto r) {
      simd::store<T>(out + r * lanes, simd::fma<T>(simd::load<T>(out + r * lanes), f, sum[r]));
    });
}

}  // namespace detail

/// `attention_forward` for Tq = 1, tasks [begin, end) of B * H. Real-time safe.
template <class T>
void attention_step(const AttentionProblem<T>& a, index_t begin, index_t end, const View<T, 4>& out,
                    T* max, T* normaliser) {
  constexpr index_t lanes = simd::kLanes<T>;
  const index_t width = a.value_width();
  const T factor = detail::log2_scale(a);
  const bool far = detail::step_is_far(a);
  for (index_t task = begin; task < end; ++task) {
    const index_t b = task / a.heads();
    const index_t h = task % a.heads();
    T* const to = detail::row_of(out, b, 0, h);
    std::fill_n(to, width, T{0});
    alignas(64) T s[detail::kForwardKeys];
    T sum[static_cast<std::size_t>(lanes)] = {};
    T largest = -std::numeric_limits<T>::infinity();
    for (index_t j0 = 0; j0 < a.keys(); j0 += detail::kForwardKeys) {
      const index_t keys = (std::min)(detail::kForwardKeys, a.keys() - j0);
      const index_t n = detail::round_up(keys, lanes);
      const bool* const keep = a.mask(b, j0);
      detail::step_scores(far, detail::row_of(a.q, b, 0, h),
                          detail::row_of(a.k, b, j0, a.key_head(h)), a.k.stride(1), keys, a.width(),
                          factor, s);
      if (n != keys || keep != nullptr) detail::mask_scores(s, n, keys, keep);
      const T top = detail::largest(s, n);
      T shrink;
      detail::raise_maxima(1, &top, &largest, &shrink);
      detail::powers(s, n, largest, shrink, sum);
      if (a.drop_below != 0) detail::drop(a, task, j0, s, keys);
      const T* const v = detail::row_of(a.v, b, j0, a.key_head(h));
      index_t c = 0;
      for (; c + 4 * lanes <= width; c += 4 * lanes)
        detail::step_values<4>(far, s, v + c, a.v.stride(1), keys, keep, shrink, 4 * lanes, to + c);
      for (; c < width; c += lanes)
        detail::step_values<1>(far, s, v + c, a.v.stride(1), keys, keep, shrink,
                               (std::min)(lanes, width - c), to + c);
    }
    const T scale = detail::reciprocal_of_sum(sum);
    const simd::Vec<T> f(scale);
    simd::transform(
        width, to, [&](const auto& x) { return x * f; }, to);
    if (max != nullptr) {
      max[task] = largest;
      normaliser[task] = scale;
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::attention_step);
