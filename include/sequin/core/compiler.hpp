/// What the compiler is told about loops, calls and memory.
#pragma once

#include "sequin/core/version.hpp"

#include <cstddef>
#include <type_traits>
#include <utility>

// Loops over the registers of a tile, unrolled so that the tile stays in registers, and functions
// that have to become part of their caller for the same reason, or to stay apart from one that
// needs the registers for addresses itself. SEQUIN_COLD is for what runs once or never: short code.
#if defined(__clang__)
#define SEQUIN_UNROLL _Pragma("clang loop unroll(full)")
#define SEQUIN_NO_UNROLL _Pragma("clang loop unroll(disable)")
#define SEQUIN_ALWAYS_INLINE inline __attribute__((always_inline))
#define SEQUIN_NO_INLINE __attribute__((noinline))
#define SEQUIN_COLD __attribute__((noinline, cold))
#elif defined(__GNUC__)
#define SEQUIN_UNROLL _Pragma("GCC unroll 32")
#define SEQUIN_NO_UNROLL _Pragma("GCC unroll 1")
#define SEQUIN_ALWAYS_INLINE inline __attribute__((always_inline))
#define SEQUIN_NO_INLINE __attribute__((noinline))
#define SEQUIN_COLD __attribute__((noinline, cold))
#else
#define SEQUIN_UNROLL
#define SEQUIN_NO_UNROLL
#define SEQUIN_ALWAYS_INLINE inline
#define SEQUIN_NO_INLINE
#define SEQUIN_COLD
#endif

namespace sequin::inline SEQUIN_ABI::simd {

/// Asks for the cache line at `address`, which need not be readable, to be brought near.
SEQUIN_ALWAYS_INLINE void prefetch([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#endif
}
/// The same for what is needed later: as far as the second-level cache.
SEQUIN_ALWAYS_INLINE void prefetch_later([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 2);
#endif
}

/// The same for what will be written.
SEQUIN_ALWAYS_INLINE void prefetch_written([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(address, 1);
#endif
}

/// Calls f(integral_constant<index, 0>) ... f(integral_constant<index, N - 1>). What is indexed by
/// them stays in registers where g++ would keep an array that a loop walks over in memory.
template <std::ptrdiff_t N, class F>
SEQUIN_ALWAYS_INLINE void unrolled(F&& f) {
  [&]<std::ptrdiff_t... I>(std::integer_sequence<std::ptrdiff_t, I...>) {
    (f(std::integral_constant<std::ptrdiff_t, I>()), ...);
  }
  (std::make_integer_sequence<std::ptrdiff_t, N>());
}

/// A stride as the compiler does not know it: rows are then reached by adding it up. Where g++ sees
/// the multiples it keeps all of them through a loop, in memory for want of registers. A pointer as
/// the compiler does not know it: a function's address may then be null.
template <class T>
SEQUIN_ALWAYS_INLINE T opaque(T value) {
#if defined(__GNUC__)
  __asm__ volatile("" : "+r"(value));
#endif
  return value;
}

}  // namespace sequin::inline SEQUIN_ABI::simd
