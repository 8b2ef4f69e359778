/// What forward and backward attention share: the problem, packing, tile products, masks, exp.
#pragma once

#include "sequin/core/bit_cast.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/core/view.hpp"
#include "sequin/kernels/lane_transpose.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

namespace sequin::inline SEQUIN_ABI::kernels {

/// One call of attention. The last axis of q (B, Tq, H, P), k (B, Tk, G, P), v (B, Tk, G, Pv) is
/// contiguous; the others may be strided. G divides H: key and value head g serves the query heads
/// g * H / G .. (g + 1) * H / G - 1.
template <class T>
struct AttentionProblem {
  View<const T, 4> q, k, v;
  T scale = 1;                     ///< of the scores, > 0
  bool causal = false;             ///< query i sees keys j <= i + (Tk - Tq)
  const bool* key_mask = nullptr;  ///< (B, Tk): false removes a key; null: all take part
  index_t key_mask_row = 0;        ///< elements from one batch entry's mask to the next
  std::uint32_t drop_below = 0;    ///< of 65536; an element whose 16 bits are below is dropped
  T keep_factor = 1;               ///< what kept elements are multiplied by
  std::uint64_t dropout_key = 0;

  index_t batch() const noexcept { return q.extent(0); }
  index_t queries() const noexcept { return q.extent(1); }
  index_t heads() const noexcept { return q.extent(2); }
  index_t width() const noexcept { return q.extent(3); }
  index_t keys() const noexcept { return k.extent(1); }
  index_t key_heads() const noexcept { return k.extent(2); }
  index_t value_width() const noexcept { return v.extent(3); }

  /// How many query heads share a head of keys and values.
  index_t group() const noexcept { return key_heads() == 0 ? 1 : heads() / key_heads(); }
  /// The head of keys and values that query head `h` reads.
  index_t key_head(index_t h) const noexcept { return h / group(); }
  /// The mask of batch entry `b` from key `j` on; null when all take part.
  const bool* mask(index_t b, index_t j) const noexcept {
    return key_mask == nullptr ? nullptr : key_mask + b * key_mask_row + j;
  }

  /// How many keys query `i` may see: 0 to Tk.
  index_t limit(index_t i) const noexcept {
    if (!causal) return keys();
    return std::clamp(i + 1 + keys() - queries(), index_t{0}, keys());
  }
};

namespace detail {

template <class T>
inline constexpr index_t kPanel = 2 * simd::kLanes<T>;  ///< columns of a tile product

inline index_t round_up(index_t n, index_t step) noexcept { return (n + step - 1) / step * step; }

/// Parts of the caller's memory, aligned to 64 bytes as that is. Without memory it only counts.
template <class T>
struct Carver {
  T* memory;
  index_t used = 0;

  T* take(index_t count) noexcept {
    T* const part = memory == nullptr ? nullptr : memory + used;
    used += round_up(count, 64 / static_cast<index_t>(sizeof(T)));
    return part;
  }
};

/// The factor of q k^T that gives scores in units of log 2.
template <class T>
inline T log2_scale(const AttentionProblem<T>& a) noexcept {
  return static_cast<T>(static_cast<double>(a.scale) * 1.4426950408889634);
}

/// Stride of a packed row: whole panels, and one more, lest rows fall on the same cache sets.
template <class T>
inline index_t padded_row(index_t width) noexcept {
  return round_up(width, kPanel<T>) + kPanel<T>;
}

/// Where x(b, t, h, 0) is.
template <class T>
inline T* row_of(const View<T, 4>& x, index_t b, index_t t, index_t h) noexcept {
  return x.data() + b * x.stride(0) + t * x.stride(1) + h * x.stride(2);
}

/// 2^x for x <= 0, relative error below 2 ulp; 0 below the smallest normal number, so exactly 0
/// for -inf; NaN for NaN. Softmax wants powers of two (log2(e) joins the scale) of numbers that
/// are never positive: half the work of a general exp.
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> exp2_nonpositive(const simd::Vec<T>& x) noexcept {
  using Vec = simd::Vec<T>;
  constexpr bool single = std::is_same_v<T, float>;
  using Bits = std::conditional_t<single, std::int32_t, std::int64_t>;
  constexpr int mantissa = single ? 23 : 52;
  constexpr T bias = single ? T(127) : T(1023);
  // Adding 1.5 * 2^mantissa rounds to an integer and leaves it, biased, in the lowest bits.
  constexpr T magic = (single ? T(12582912) : T(6755399441055744)) + bias;
  const Vec shifted = x + Vec(magic);
  const Vec r = x - (shifted - Vec(magic));
  const auto power = sequin::detail::bit_cast<Vec>(
      simd::Vec<Bits>(sequin::detail::bit_cast<simd::Vec<Bits>>(shifted) << mantissa));
  Vec y;
  // (2^r - 1) / r, interpolated at the Chebyshev nodes of [-1/2, 1/2].
  const auto horner = [&](auto... c) { ((y = simd::fma<T>(y, r, Vec(T(c)))), ...); };
  if constexpr (single) {
    y = Vec(1.54531629451206911e-04f);
    horner(1.33908633646712344e-03, 9.61808255727785236e-03, 5.55035711421907815e-02,
           2.40226507605681261e-01, 6.93147188026228767e-01, 1.0);
  } else {
    y = Vec(4.45496059818651856e-10);
    horner(7.07258594926922339e-09, 1.01780624458457737e-07, 1.32154425879216893e-06,
           1.52527338298361192e-05, 1.54035304417360499e-04, 1.33335581464169356e-03,
           9.61812910760688825e-03, 5.55041086648215970e-02, 2.40226506959100972e-01,
           6.93147180559945286e-01, 1.0);
  }
  return simd::select<T>(x < Vec(1 - bias), Vec(T(0)), y * power);
}

/// acc[r] = sum over d < depth of a[r * row + d * step] * b[d * stride .. + kPanel]; then
/// finish(r, low half, high half). The order of the sum does not depend on Rows.
template <index_t Rows, class T, class Finish>
[[gnu::always_inline]] inline void tile_rows(const T* a, index_t row, index_t step, const T* b,
                                             index_t stride, index_t depth, Finish&& finish) {
  using Vec = simd::Vec<T>;
  Vec low[Rows];
  Vec high[Rows];
  simd::unrolled<Rows>([&](auto r) { low[r] = high[r] = Vec(T(0)); });
  // Not unrolled: clang then has more addresses and products at a time than registers.
  SEQUIN_NO_UNROLL
  for (index_t d = 0; d < depth; ++d) {
    const Vec b0 = Vec::load_aligned(b + d * stride);
    const Vec b1 = Vec::load_aligned(b + d * stride + simd::kLanes<T>);
    const T* const at = a + d * step;
    simd::unrolled<Rows>([&](auto r) {
      const Vec s(at[r * row]);
      low[r] = simd::fma<T>(s, b0, low[r]);
      high[r] = simd::fma<T>(s, b1, high[r]);
    });
  }
  simd::unrolled<Rows>([&](auto r) { finish(index_t{r}, low[r], high[r]); });
}

/// Calls f(integral_constant rows, first row) until `rows` are covered by 6, 4, 2 and 1 at a time.
template <class F>
inline void row_groups(index_t rows, F&& f) {
  index_t i = 0;
  for (; i + 6 <= rows; i += 6) f(std::integral_constant<index_t, 6>{}, i);
  if (i + 4 <= rows) f(std::integral_constant<index_t, 4>{}, std::exchange(i, i + 4));
  if (i + 2 <= rows) f(std::integral_constant<index_t, 2>{}, std::exchange(i, i + 2));
  if (i < rows) f(std::integral_constant<index_t, 1>{}, i);
}

/// c[r][0 .. width) += a b: `width` a multiple of kPanel, `c` and `b` row-major.
template <class T>
void accumulate(index_t rows, index_t width, index_t depth, const T* a, index_t row, index_t step,
                const T* b, index_t b_stride, T* c, index_t c_stride) {
  for (index_t n = 0; n < width; n += kPanel<T>)
    row_groups(rows, [&](auto group, index_t r0) {
      tile_rows<group()>(a + r0 * row, row, step, b + n, b_stride, depth,
                         [&](index_t r, const auto& low, const auto& high) {
                           T* const at = c + (r0 + r) * c_stride + n;
                           simd::store<T>(at, simd::load<T>(at) + low);
                           simd::store<T>(at + simd::kLanes<T>,
                                          simd::load<T>(at + simd::kLanes<T>) + high);
                         });
    });
}

/// s[r][0 .. keys rounded up to kPanel) = factor * (a b): `a` row-major, `b` in panels.
template <class T>
void scores(index_t rows, index_t keys, index_t depth, const T* a, index_t row, const T* panels,
            T factor, T* s, index_t s_stride) {
  using Vec = simd::Vec<T>;
  const Vec f(factor);
  for (index_t n = 0; n < keys; n += kPanel<T>)
    row_groups(rows, [&](auto group, index_t r0) {
      tile_rows<group()>(a + r0 * row, row, 1, panels + n * depth, kPanel<T>, depth,
                         [&](index_t r, const Vec& low, const Vec& high) {
                           T* const at = s + (r0 + r) * s_stride + n;
                           simd::store<T>(at, low * f);
                           simd::store<T>(at + simd::kLanes<T>, high * f);
                         });
    });
}

/// Rows of `from` to rows of `stride` elements, padded with zeros; a row that `keep` (null: keeps
/// all) removes is all zeros, so that what it held has no influence.
template <class T>
void pack_rows(const T* from, index_t from_stride, index_t rows, index_t width, const bool* keep,
               T* to, index_t stride) {
  for (index_t i = 0; i < rows; ++i, from += from_stride, to += stride) {
    const index_t n = keep == nullptr || keep[i] ? width : 0;
    std::copy_n(from, n, to);
    std::fill(to + n, to + stride, T{0});
  }
}

/// Rows of `from` transposed into panels (rows / kPanel, width, kPanel); missing rows and those
/// that `keep` removes are zeros.
template <class T>
void pack_transposed(const T* from, index_t from_stride, index_t rows, index_t width,
                     const bool* keep, T* to) {
  constexpr index_t panel = kPanel<T>;
  for (index_t i = 0; i < rows; i += panel, to += panel * width) {
    const index_t n = (std::min)(panel, rows - i);
    if (n < panel) std::fill_n(to, panel * width, T{0});
    transpose(from + i * from_stride, from_stride, n, width, to, panel);
    if (keep == nullptr) continue;
    for (index_t r = 0; r < n; ++r)
      for (index_t p = 0; p < width && !keep[i + r]; ++p) to[p * panel + r] = T{0};
  }
}

/// s[j] = -inf where j >= limit or `keep` is false, for j < n (a multiple of the register).
template <class T>
void mask_scores(T* s, index_t n, index_t limit, const bool* keep) {
  constexpr T minus_inf = -std::numeric_limits<T>::infinity();
  if (keep != nullptr)
    for (index_t j = 0; j < (std::min)(n, limit); ++j) s[j] = keep[j] ? s[j] : minus_inf;
  for (index_t j = limit; j < n; ++j) s[j] = minus_inf;
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: other kernels inline this.
