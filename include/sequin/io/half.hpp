/// The 16-bit floating-point formats of files, to float and back.
#pragma once

#include "sequin/core/bit_cast.hpp"
#include "sequin/core/version.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

/// IEEE half precision to float, exactly.
inline float half_to_float(std::uint16_t h) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 31u;
  const std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  if (exponent == 31) return detail::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return detail::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/// bfloat16 to float, exactly.
inline float bfloat16_to_float(std::uint16_t b) noexcept {
  return detail::bit_cast<float>(static_cast<std::uint32_t>(b) << 16);
}

/// float to IEEE half precision, to nearest, ties to even: infinity from 65520 on, subnormals
/// below 2^-14, NaN stays a (quiet) NaN. Integers only: no rounding mode changes the result.
inline std::uint16_t float_to_half(float f) noexcept {
  const auto bits = detail::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t h = 0;
  if (magnitude > 0x7f800000u) {
    h = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520: the tie between the largest half and 2^16
    h = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // 2^-14, the smallest normal half
    h = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else if (magnitude > 0x33000000u) {  // 2^-25 is a tie with zero
    const std::uint32_t shift = 126u - (magnitude >> 23);
    const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    h = (mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift;
  }
  return static_cast<std::uint16_t>(sign | h);
}

/// float to bfloat16, to nearest, ties to even; NaN stays a (quiet) NaN.
inline std::uint16_t float_to_bfloat16(float f) noexcept {
  const auto bits = detail::bit_cast<std::uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace sequin::inline SEQUIN_ABI
