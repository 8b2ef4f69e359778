/// Version of the library and the inline namespace that keeps builds apart.
#pragma once

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#error "Sequin needs C++20: -std=c++20, or target_compile_features(... cxx_std_20)"
#endif

#define SEQUIN_VERSION_MAJOR 0
#define SEQUIN_VERSION_MINOR 1
#define SEQUIN_VERSION_PATCH 0
#define SEQUIN_VERSION_STRING "0.1.0"

// Every entity lives in an inline namespace named after the version and the instruction set that
// the translation unit is compiled for. Objects compiled for different instruction sets then fail
// to link instead of silently sharing one of two incompatible instantiations.
#if defined(__wasm_simd128__)  // says SSE2 too where that is translated
#define SEQUIN_ABI v0_1_wasm128
#define SEQUIN_ISA_NAME "wasm128"
#elif defined(__AVX512F__)
#define SEQUIN_ABI v0_1_avx512
#define SEQUIN_ISA_NAME "avx512"
#elif defined(__AVX2__) && defined(__FMA__)
#define SEQUIN_ABI v0_1_avx2_fma
#define SEQUIN_ISA_NAME "avx2+fma"
#elif defined(__AVX2__)
#define SEQUIN_ABI v0_1_avx2
#define SEQUIN_ISA_NAME "avx2"
#elif defined(__AVX__)
#define SEQUIN_ABI v0_1_avx
#define SEQUIN_ISA_NAME "avx"
#elif defined(__SSE4_2__)
#define SEQUIN_ABI v0_1_sse4_2
#define SEQUIN_ISA_NAME "sse4.2"
#elif defined(__SSSE3__)
#define SEQUIN_ABI v0_1_ssse3
#define SEQUIN_ISA_NAME "ssse3"
#elif defined(__SSE2__) || defined(_M_X64)
#define SEQUIN_ABI v0_1_sse2
#define SEQUIN_ISA_NAME "sse2"
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define SEQUIN_ABI v0_1_neon64
#define SEQUIN_ISA_NAME "neon64"
#else
#define SEQUIN_ABI v0_1_generic
#define SEQUIN_ISA_NAME "generic"
#endif

namespace sequin::inline SEQUIN_ABI {

/// The library's version, "major.minor.patch".
inline constexpr const char* kVersion = SEQUIN_VERSION_STRING;

/// The instruction set that this translation unit is compiled for.
inline constexpr const char* kInstructionSet = SEQUIN_ISA_NAME;

}  // namespace sequin::inline SEQUIN_ABI
