/// The bits of one type as another.
#pragma once

#include "sequin/core/version.hpp"

#include <type_traits>

namespace sequin::inline SEQUIN_ABI::detail {

/// std::bit_cast, which the standard library of Emscripten in Debian 12 does not have.
template <class To, class From>
requires(sizeof(To) == sizeof(From) && std::is_trivially_copyable_v<To> &&
         std::is_trivially_copyable_v<From>) constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}

}  // namespace sequin::inline SEQUIN_ABI::detail
