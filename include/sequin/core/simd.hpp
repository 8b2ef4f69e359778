/// The only header that includes xsimd: one vocabulary over xsimd 8.1 to 14.
#pragma once

#include "sequin/core/compiler.hpp"
#include "sequin/core/version.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

// g++ follows the undefined register that its own AVX-512 functions start from into those that call
// them, and warns there.
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
#pragma GCC diagnostic pop
#endif

#if !defined(XSIMD_VERSION_MAJOR) || (XSIMD_VERSION_MAJOR * 100 + XSIMD_VERSION_MINOR < 801)
#error "Sequin needs xsimd 8.1 or newer (Debian 12: apt-get install libxsimd-dev)"
#endif

namespace sequin::inline SEQUIN_ABI::simd {

/// A register full of T (float or double) of the widest set that the compiler may use.
template <class T>
using Vec = xsimd::batch<T>;

/// `v`, in a register: without it g++ may read it anew from memory at each of its uses.
template <class V>
SEQUIN_ALWAYS_INLINE V hold(const V& v) noexcept {
#if defined(__GNUC__) && !defined(__clang__) && (defined(__x86_64__) || defined(__aarch64__))
  auto bits = v.data;
#if defined(__AVX512F__)
  asm("" : "+v"(bits));
#elif defined(__x86_64__)
  asm("" : "+x"(bits));
#else
  asm("" : "+w"(bits));
#endif
  return V(bits);
#else
  return v;
#endif
}

/// A register full of truth values, the result of comparing two `Vec<T>`.
template <class T>
using Mask = typename Vec<T>::batch_bool_type;

/// Number of T in a register.
template <class T>
inline constexpr std::ptrdiff_t kLanes = static_cast<std::ptrdiff_t>(Vec<T>::size);

/// All lanes hold `value`.
template <class T>
inline Vec<T> set1(T value) {
  return Vec<T>(value);
}

/// Reads `kLanes<T>` values; no alignment is needed.
template <class T>
inline Vec<T> load(const T* p) {
  return Vec<T>::load_unaligned(p);
}

/// Writes `kLanes<T>` values; no alignment is needed.
template <class T>
inline void store(T* p, const Vec<T>& v) {
  v.store_unaligned(p);
}

/// The value at `p` in all lanes.
template <class T>
inline Vec<T> broadcast(const T* p) {
  return Vec<T>(*p);
}

/// All lanes hold 0.
template <class T>
inline Vec<T> zero() {
  return Vec<T>(T{0});
}

namespace detail {

/// Copies the first `n` < 2 * Block elements, in blocks of halving size, without a call.
template <std::ptrdiff_t Block, class T>
inline void copy_partial(T* to, const T* from, std::ptrdiff_t n) {
  if constexpr (Block > 0) {
    const bool whole = (n & Block) != 0;
    if (whole) std::memcpy(to, from, static_cast<std::size_t>(Block) * sizeof(T));
    const std::ptrdiff_t done = whole ? Block : 0;
    copy_partial<Block / 2>(to + done, from + done, n);
  }
}

/// n lanes of 4 bytes, counted back from the middle.
inline constexpr std::int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

}  // namespace detail

/// Reads the first `n` (0 to `kLanes<T>`) values and no byte more; the other lanes are 0.
template <class T>
inline Vec<T> load_partial(const T* p, std::ptrdiff_t n) {
  if (n >= kLanes<T>) return simd::load<T>(p);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1), p));
  else
    return Vec<T>(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1U << n) - 1), p));
#elif defined(__AVX__)
  const std::int32_t* const lanes = detail::kLaneMask + 8 - n * std::ptrdiff_t{sizeof(T) / 4};
  const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes));
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_maskload_ps(p, mask));
  else
    return Vec<T>(_mm256_maskload_pd(p, mask));
#else
  alignas(64) T buffer[static_cast<std::size_t>(kLanes<T>)] = {};
  detail::copy_partial<kLanes<T> / 2>(buffer, p, n);
  return Vec<T>::load_aligned(buffer);
#endif
}

/// Writes the first `n` (0 to `kLanes<T>`) lanes and no byte more.
template <class T>
inline void store_partial(T* p, const Vec<T>& v, std::ptrdiff_t n) {
  if (n >= kLanes<T>) return simd::store<T>(p, v);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1), v);
  else
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1U << n) - 1), v);
#else
  alignas(64) T buffer[static_cast<std::size_t>(kLanes<T>)];
  v.store_aligned(buffer);
  detail::copy_partial<kLanes<T> / 2>(p, buffer, n);
#endif
}

// The four fused operations, spelt out where those of xsimd 8.1 round twice: all for AVX-512, two
// for 64-bit ARM.

/// a * b + c, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_fmadd_ps(a, b, c));
  else
    return Vec<T>(_mm512_fmadd_pd(a, b, c));
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vfmaq_f32(c, a, b));
  else
    return Vec<T>(vfmaq_f64(c, a, b));
#else
  return xsimd::fma(a, b, c);
#endif
}

/// c - a * b, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fnma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_fnmadd_ps(a, b, c));
  else
    return Vec<T>(_mm512_fnmadd_pd(a, b, c));
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vfmsq_f32(c, a, b));
  else
    return Vec<T>(vfmsq_f64(c, a, b));
#else
  return xsimd::fnma(a, b, c);
#endif
}

/// a * b - c, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fms(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_fmsub_ps(a, b, c));
  else
    return Vec<T>(_mm512_fmsub_pd(a, b, c));
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vfmaq_f32(vnegq_f32(c), a, b));
  else
    return Vec<T>(vfmaq_f64(vnegq_f64(c), a, b));
#else
  return xsimd::fms(a, b, c);
#endif
}

/// -(a * b) - c, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fnms(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_fnmsub_ps(a, b, c));
  else
    return Vec<T>(_mm512_fnmsub_pd(a, b, c));
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vfmsq_f32(vnegq_f32(c), a, b));
  else
    return Vec<T>(vfmsq_f64(vnegq_f64(c), a, b));
#else
  return xsimd::fnms(a, b, c);
#endif
}

/// Per lane: mask ? a : b.
template <class T>
inline Vec<T> select(const Mask<T>& mask, const Vec<T>& a, const Vec<T>& b) {
  return xsimd::select(mask, a, b);
}

/// An integer register as wide as Vec<T>.
template <class T>
using Bits = xsimd::batch<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;

/// The bit patterns of the lanes, and back.
template <class T>
inline Bits<T> to_bits(const Vec<T>& v) {
#if XSIMD_VERSION_MAJOR >= 9
  return xsimd::bitwise_cast<typename Bits<T>::value_type>(v);
#else
  return xsimd::bitwise_cast<Bits<T>>(v);
#endif
}
template <class T>
inline Vec<T> from_bits(const Bits<T>& v) {
#if XSIMD_VERSION_MAJOR >= 9
  return xsimd::bitwise_cast<T>(v);
#else
  return xsimd::bitwise_cast<Vec<T>>(v);
#endif
}

/// Lane by lane a < b ? a : b and a > b ? a : b: where a lane is NaN the result is b's lane. Spelt
/// out, as xsimd 14 exchanges the operands.
template <class T>
inline Vec<T> min(const Vec<T>& a, const Vec<T>& b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_min_ps(0xffff, a, b));
  else
    return Vec<T>(_mm512_maskz_min_pd(0xff, a, b));
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_min_ps(a, b));
  else
    return Vec<T>(_mm256_min_pd(a, b));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm_min_ps(a, b));
  else
    return Vec<T>(_mm_min_pd(a, b));
#else
  return simd::select<T>(a < b, a, b);
#endif
}
template <class T>
inline Vec<T> max(const Vec<T>& a, const Vec<T>& b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_max_ps(0xffff, a, b));
  else
    return Vec<T>(_mm512_maskz_max_pd(0xff, a, b));
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_max_ps(a, b));
  else
    return Vec<T>(_mm256_max_pd(a, b));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm_max_ps(a, b));
  else
    return Vec<T>(_mm_max_pd(a, b));
#else
  return simd::select<T>(a > b, a, b);
#endif
}
template <class T>
inline Vec<T> abs(const Vec<T>& v) {
  return xsimd::abs(v);
}
/// The square root and the quotient, rounded correctly. Of Vec<float> no `/` and no root but these:
/// what xsimd has for ARM starts from an estimate, and its root of infinity is NaN.
template <class T>
inline Vec<T> sqrt(const Vec<T>& v) {
#if defined(__AVX512F__)
  // Masked, as g++ warns of the undefined register of the plain one in whoever calls this.
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_sqrt_ps(0xffff, v));
  else
    return Vec<T>(_mm512_maskz_sqrt_pd(0xff, v));
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vsqrtq_f32(v));
  else
    return Vec<T>(vsqrtq_f64(v));
#else
  return xsimd::sqrt(v);
#endif
}
template <class T>
inline Vec<T> div(const Vec<T>& a, const Vec<T>& b) {
#if defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(vdivq_f32(a, b));
  else
    return Vec<T>(vdivq_f64(a, b));
#else
  return a / b;
#endif
}
/// `div` as an object.
template <class T>
struct Quotient {
  Vec<T> operator()(const Vec<T>& a, const Vec<T>& b) const { return simd::div<T>(a, b); }
};
/// -v, zeros and NaN included.
template <class T>
inline Vec<T> negate(const Vec<T>& v) {
  return v ^ Vec<T>(T(-0.0));
}
/// |magnitude| with the sign bit of `sign`.
template <class T>
inline Vec<T> copy_sign(const Vec<T>& magnitude, const Vec<T>& sign) {
  return simd::abs<T>(magnitude) | (sign & Vec<T>(T(-0.0)));
}
/// True in the lanes that hold NaN.
template <class T>
inline Mask<T> is_nan(const Vec<T>& v) {
  return !(v == v);  // some versions of xsimd compare != as ordered, false for NaN
}
/// Whether one lane, or every lane, is true. `T` has to be named: any<float>(a < b).
template <class T>
inline bool any(const Mask<T>& mask) {
  return xsimd::any(mask);
}
template <class T>
inline bool all(const Mask<T>& mask) {
  return xsimd::all(mask);
}

/// out[i] = f(in0[i], in1[i], ...) for i < n. The tail runs through the same `f` on a padded
/// register, so a value does not depend on its position. Outputs may alias inputs exactly.
template <class T, class F, class... In>
inline void transform(std::ptrdiff_t n, T* out, F&& f, const In*... in) {
  constexpr std::ptrdiff_t lanes = kLanes<T>;
  std::ptrdiff_t i = 0;
  for (; i + lanes <= n; i += lanes) store<T>(out + i, f(load<T>(in + i)...));
  if (i < n) store_partial<T>(out + i, f(load_partial<T>(in + i, n - i)...), n - i);
}

/// The same for an `f` of many instructions, which is compiled once: the tail goes through the loop
/// too, in memory of its own.
template <class T, class F, class... In>
inline void transform_once(std::ptrdiff_t n, T* out, F&& f, const In*... in) {
  constexpr std::ptrdiff_t lanes = kLanes<T>;
  const std::ptrdiff_t tail = n % lanes;
  T* to = out;
  T ends[1 + sizeof...(In)][static_cast<std::size_t>(lanes)];
  for (std::ptrdiff_t count = n - tail;; count = lanes) {
    for (std::ptrdiff_t i = 0; i < count; i += lanes) store<T>(to + i, f(load<T>(in + i)...));
    if (to == ends[0]) return store_partial<T>(out + n - tail, load<T>(to), tail);
    if (tail == 0) return;
    to = ends[0];
    std::size_t operand = 1;
    (..., (store<T>(ends[operand], load_partial<T>(in + n - tail, tail)), in = ends[operand++]));
  }
}

}  // namespace sequin::inline SEQUIN_ABI::simd
