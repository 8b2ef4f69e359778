/// Numbers as text that reads back as the same number, in any locale.
#pragma once

#include "sequin/core/version.hpp"
#include "sequin/io/number_text.hpp"

#include <array>
#include <charconv>
#include <concepts>
#include <string>
#include <type_traits>

namespace sequin::inline SEQUIN_ABI::detail {

/// "0.1", "2023", "true".
template <class T>
requires std::is_arithmetic_v<T> std::string exact_text(T value) {
  if constexpr (std::same_as<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::floating_point<T>) {
    return shortest_text(value);
  } else {
    std::array<char, 64> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
    return {buffer.data(), end};
  }
}

}  // namespace sequin::inline SEQUIN_ABI::detail
