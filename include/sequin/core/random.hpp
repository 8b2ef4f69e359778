/// The random generator: counter-based, so that its state is two numbers and any draw can be
/// repeated.
#pragma once

#include "sequin/core/shape.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
inline std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter,
                                           std::uint64_t stream) noexcept {
  std::array<std::uint32_t, 4> x{
      static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
      static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * x[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<std::uint32_t>(b >> 32) ^ x[1] ^ k0, static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ x[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

}  // namespace detail

/// Draws from one seeded sequence. A value: copies continue independently from the same point.
/// Deterministic on every platform but for `normal`, which uses the C library's log, cos and sin.
class Generator {
 public:
  /// Everything that a checkpoint needs to continue the sequence.
  struct State {
    std::uint64_t seed = 0;
    std::uint64_t position = 0;
    friend bool operator==(const State&, const State&) = default;
  };

  explicit Generator(std::uint64_t seed = 0) noexcept : state_{seed, 0} {}
  explicit Generator(const State& state) noexcept : state_(state) {}

  const State& state() const noexcept { return state_; }

  /// 32 random bits.
  std::uint32_t bits() noexcept {
    const std::uint64_t at = state_.position++;
    if (at / 4 != cached_block_) {
      cached_ = detail::philox(state_.seed, at / 4, 0);
      cached_block_ = at / 4;
    }
    return cached_[static_cast<std::size_t>(at % 4)];
  }

  /// Uniform in [0, 1), with 24 (float) or 53 (double) random bits.
  template <Scalar T>
  T uniform() noexcept {
    if constexpr (std::same_as<T, float>) {
      return static_cast<float>(bits() >> 8) * 0x1p-24f;
    } else {
      const std::uint64_t high = bits();
      return static_cast<double>(((high << 32) | bits()) >> 11) * 0x1p-53;
    }
  }

  /// Standard normal (Box and Muller; one draw a call).
  template <Scalar T>
  T normal() noexcept {
    const double u = 1.0 - uniform<double>();
    const double v = uniform<double>();
    return static_cast<T>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

  /// Uniform in [0, n) without bias; n > 0.
  std::uint32_t below(std::uint32_t n) noexcept {
    const std::uint32_t reject = (0u - n) % n;
    std::uint64_t product = std::uint64_t{bits()} * n;
    while (static_cast<std::uint32_t>(product) < reject) product = std::uint64_t{bits()} * n;
    return static_cast<std::uint32_t>(product >> 32);
  }

  /// Puts `items` into a random order (Fisher and Yates).
  template <class T>
  void shuffle(std::span<T> items) noexcept {
    for (std::size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[below(static_cast<std::uint32_t>(i))]);
  }

  /// A key for draws that are indexed rather than taken in order (dropout masks): advances the
  /// sequence, so that each call gives another.
  std::uint64_t fork() noexcept {
    const std::uint64_t high = bits();
    return (high << 32) | bits();
  }

 private:
  State state_;
  std::uint64_t cached_block_ = ~std::uint64_t{0};
  std::array<std::uint32_t, 4> cached_{};
};

}  // namespace sequin::inline SEQUIN_ABI
