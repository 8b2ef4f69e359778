/// The only header that includes xsimd: one vocabulary over xsimd 8.1 to 13.
#pragma once

#include "sequin/core/version.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <xsimd/xsimd.hpp>

#if !defined(XSIMD_VERSION_MAJOR) || (XSIMD_VERSION_MAJOR * 100 + XSIMD_VERSION_MINOR < 801)
#error "Sequin needs xsimd 8.1 or newer (Debian 12: apt-get install libxsimd-dev)"
#endif

// Loops over the registers of a tile, unrolled so that the tile stays in registers, and functions
// that have to become part of their caller for the same reason.
#if defined(__clang__)
#define SEQUIN_UNROLL _Pragma("clang loop unroll(full)")
#define SEQUIN_ALWAYS_INLINE inline __attribute__((always_inline))
#elif defined(__GNUC__)
#define SEQUIN_UNROLL _Pragma("GCC unroll 32")
#define SEQUIN_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define SEQUIN_UNROLL
#define SEQUIN_ALWAYS_INLINE inline
#endif

namespace sequin::inline SEQUIN_ABI::simd {

/// A register full of T (float or double) of the widest set that the compiler may use.
template <class T>
using Vec = xsimd::batch<T>;

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

/// Reads the first `n` (0 to `kLanes<T>`) values and no byte more; the other lanes are 0.
template <class T>
inline Vec<T> load_partial(const T* p, std::ptrdiff_t n) {
  alignas(64) T buffer[static_cast<std::size_t>(kLanes<T>)] = {};
  std::memcpy(buffer, p, static_cast<std::size_t>(n) * sizeof(T));
  return Vec<T>::load_aligned(buffer);
}

/// Writes the first `n` (0 to `kLanes<T>`) lanes and no byte more.
template <class T>
inline void store_partial(T* p, const Vec<T>& v, std::ptrdiff_t n) {
  alignas(64) T buffer[static_cast<std::size_t>(kLanes<T>)];
  v.store_aligned(buffer);
  std::memcpy(p, buffer, static_cast<std::size_t>(n) * sizeof(T));
}

/// a * b + c, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return xsimd::fma(a, b, c);
}

/// c - a * b, in one rounding where the instruction set has it.
template <class T>
inline Vec<T> fnma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return xsimd::fnma(a, b, c);
}

/// The sum of all lanes.
template <class T>
inline T reduce_add(const Vec<T>& v) {
#if XSIMD_VERSION_MAJOR >= 9
  return xsimd::reduce_add(v);
#else
  return xsimd::hadd(v);
#endif
}

/// The largest lane; NaN in a lane may be lost, so test for it apart where it matters.
template <class T>
inline T reduce_max(const Vec<T>& v) {
  alignas(64) T buffer[static_cast<std::size_t>(kLanes<T>)];
  v.store_aligned(buffer);
  T best = buffer[0];
  for (std::ptrdiff_t i = 1; i < kLanes<T>; ++i) best = buffer[i] > best ? buffer[i] : best;
  return best;
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

/// Lane by lane; where a lane is NaN the result is b's lane.
template <class T>
inline Vec<T> min(const Vec<T>& a, const Vec<T>& b) {
  return simd::select<T>(a < b, a, b);
}
template <class T>
inline Vec<T> max(const Vec<T>& a, const Vec<T>& b) {
  return simd::select<T>(a > b, a, b);
}
template <class T>
inline Vec<T> abs(const Vec<T>& v) {
  return xsimd::abs(v);
}
template <class T>
inline Vec<T> sqrt(const Vec<T>& v) {
  return xsimd::sqrt(v);
}
/// True in the lanes that hold NaN.
template <class T>
inline Mask<T> is_nan(const Vec<T>& v) {
  return !(v == v);  // some versions of xsimd compare != as ordered, false for NaN
}
template <class T>
inline bool any(const Mask<T>& mask) {
  return xsimd::any(mask);
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

}  // namespace sequin::inline SEQUIN_ABI::simd
