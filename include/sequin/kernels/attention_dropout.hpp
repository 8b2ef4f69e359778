/// Which attention probabilities are dropped: recomputed wherever needed, never stored.
#pragma once

#include "sequin/kernels/attention_tile.hpp"

#include <cstring>

namespace sequin::inline SEQUIN_ABI::kernels {

namespace detail {

inline constexpr index_t kDropoutBlock = 64;  ///< keys that share eight Philox calls

/// Several 32-bit numbers, each in the low half of 64 bits; what is in the high half is ignored.
#if defined(__AVX2__)
struct WideLanes {
  static constexpr int kCount = 4;
  __m256i v;
  static WideLanes broadcast(std::uint64_t x) {
    return {_mm256_set1_epi64x(static_cast<long long>(x))};
  }
  static WideLanes load(const std::uint64_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  friend WideLanes operator*(WideLanes a, WideLanes b) { return {_mm256_mul_epu32(a.v, b.v)}; }
  friend WideLanes operator^(WideLanes a, WideLanes b) { return {_mm256_xor_si256(a.v, b.v)}; }
  WideLanes high() const { return {_mm256_srli_epi64(v, 32)}; }
  /// Writes the low halves of a and b alternately.
  static void store_alternately(WideLanes a, WideLanes b, std::uint32_t* p) {
    const __m256i both = _mm256_blend_epi32(a.v, _mm256_slli_epi64(b.v, 32), 0xAA);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), both);
  }
};
#elif defined(__SSE2__) || defined(_M_X64)
struct WideLanes {
  static constexpr int kCount = 2;
  __m128i v;
  static WideLanes broadcast(std::uint64_t x) {
    return {_mm_set1_epi64x(static_cast<long long>(x))};
  }
  static WideLanes load(const std::uint64_t* p) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
  }
  friend WideLanes operator*(WideLanes a, WideLanes b) { return {_mm_mul_epu32(a.v, b.v)}; }
  friend WideLanes operator^(WideLanes a, WideLanes b) { return {_mm_xor_si128(a.v, b.v)}; }
  WideLanes high() const { return {_mm_srli_epi64(v, 32)}; }
  static void store_alternately(WideLanes a, WideLanes b, std::uint32_t* p) {
    const __m128i low = _mm_srli_epi64(_mm_slli_epi64(a.v, 32), 32);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_or_si128(low, _mm_slli_epi64(b.v, 32)));
  }
};
#else
struct WideLanes {
  static constexpr int kCount = 1;
  std::uint64_t v;
  static WideLanes broadcast(std::uint64_t x) { return {x}; }
  static WideLanes load(const std::uint64_t* p) { return {*p}; }
  friend WideLanes operator*(WideLanes a, WideLanes b) {
    return {(a.v & 0xffffffffu) * (b.v & 0xffffffffu)};
  }
  friend WideLanes operator^(WideLanes a, WideLanes b) { return {a.v ^ b.v}; }
  WideLanes high() const { return {v >> 32}; }
  static void store_alternately(WideLanes a, WideLanes b, std::uint32_t* p) {
    p[0] = static_cast<std::uint32_t>(a.v);
    p[1] = static_cast<std::uint32_t>(b.v);
  }
};
#endif

/// detail::philox(key, first + c, stream) for c < 8, side by side: word w of call c at
/// x[8 * w + 2 * (c % 4) + c / 4].
inline void philox_eight(std::uint64_t key, std::uint64_t first, std::uint64_t stream,
                         std::uint32_t* x) noexcept {
  constexpr index_t count = WideLanes::kCount;
  constexpr index_t groups = 8 / count;
  std::uint64_t low[8];
  std::uint64_t high[8];
  for (std::uint64_t c = 0; c < 8; ++c) {
    low[c] = first + c;
    high[c] = (first + c) >> 32;
  }
  WideLanes w[4][groups];
  simd::unrolled<groups>([&](auto g) {
    w[0][g] = WideLanes::load(low + g * count);
    w[1][g] = WideLanes::load(high + g * count);
    w[2][g] = WideLanes::broadcast(stream);
    w[3][g] = WideLanes::broadcast(stream >> 32);
  });
  const auto m0 = WideLanes::broadcast(0xD2511F53u);
  const auto m1 = WideLanes::broadcast(0xCD9E8D57u);
  std::uint64_t k0 = key;
  std::uint64_t k1 = key >> 32;
  for (int round = 0; round < 10; ++round) {
    const auto key0 = WideLanes::broadcast(k0);
    const auto key1 = WideLanes::broadcast(k1);
    simd::unrolled<groups>([&](auto g) {
      const WideLanes a = m0 * w[0][g];
      const WideLanes b = m1 * w[2][g];
      w[0][g] = b.high() ^ w[1][g] ^ key0;
      w[1][g] = b;
      w[2][g] = a.high() ^ w[3][g] ^ key1;
      w[3][g] = a;
    });
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  simd::unrolled<4>([&](auto word) {
    simd::unrolled<groups / 2>([&](auto g) {
      WideLanes::store_alternately(w[word][g], w[word][g + groups / 2],
                                   x + 8 * word + 2 * count * g);
    });
  });
}

/// factor[j] = keep_factor or 0 for the 64 keys from 64 * block of `row` (of B * H * Tq). Key j
/// takes 16 bits of detail::philox call 8 * block + j % 2 * 4 + j % 8 / 2: word j % 32 / 8, its
/// upper half from j = 32 on.
template <class T>
void dropout_factors(const AttentionProblem<T>& a, index_t row, index_t block, T* factor) {
  using Bits = simd::Vec<std::int32_t>;
  constexpr index_t lanes = simd::kLanes<float>;
  std::uint32_t x[32];
  philox_eight(a.dropout_key, static_cast<std::uint64_t>(block) * 8,
               static_cast<std::uint64_t>(row), x);
  const simd::Vec<float> below(static_cast<float>(a.drop_below));
  float kept[kDropoutBlock];
  for (index_t i = 0; i < 32; i += lanes) {
    std::int32_t signed_bits[static_cast<std::size_t>(lanes)];
    std::memcpy(signed_bits, x + i, sizeof signed_bits);
    const Bits bits = Bits::load_unaligned(signed_bits);
    const auto keep = [&](const Bits& half) {
      return simd::select<float>(xsimd::to_float(half & Bits(0xffff)) < below,
                                 simd::Vec<float>(0.0f), simd::Vec<float>(1.0f));
    };
    simd::store<float>(kept + i, keep(bits));
    simd::store<float>(kept + 32 + i, keep(bits >> 16));
  }
  for (index_t j = 0; j < kDropoutBlock; ++j) factor[j] = static_cast<T>(kept[j]) * a.keep_factor;
}

/// s[j] *= the factor of key first + j, for j < n; `first` is a multiple of kDropoutBlock.
template <class T>
void drop(const AttentionProblem<T>& a, index_t row, index_t first, T* s, index_t n) {
  T factor[static_cast<std::size_t>(kDropoutBlock)];
  for (index_t j = 0; j < n; j += kDropoutBlock) {
    dropout_factors(a, row, (first + j) / kDropoutBlock, factor);
    simd::transform((std::min)(kDropoutBlock, n - j), s + j,
                    [](const auto& p, const auto& f) { return p * f; }, s + j, factor);
  }
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI::kernels

// No list: other kernels inline this.
