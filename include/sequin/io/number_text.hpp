/// Floating-point numbers as text and back, without the locale.
#pragma once

#include "sequin/core/version.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <version>

namespace sequin::inline SEQUIN_ABI::detail {

// libc++ before 20 reads no floating-point numbers and before 14 writes none. C's functions do, and
// follow the locale: "C" in WebAssembly, which is where that library is all that there is, and in a
// program that never calls setlocale.

inline float c_number(const char* text, float) { return std::strtof(text, nullptr); }
inline double c_number(const char* text, double) { return std::strtod(text, nullptr); }

/// The longest beginning of `text` that std::from_chars reads as a number.
inline std::string_view number_prefix(std::string_view text) {
  const auto digits = [&](std::size_t at) {
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at;
  };
  const std::size_t begin = text.starts_with('-') ? 1 : 0;
  for (const std::string_view word : {"infinity", "inf", "nan"}) {
    const std::string_view there = text.substr(begin, word.size());
    if (std::equal(there.begin(), there.end(), word.begin(), word.end(),
                   [](char a, char b) { return (a | 0x20) == b; }))
      return text.substr(0, begin + word.size());
  }
  std::size_t end = digits(begin);
  std::size_t count = end - begin;
  if (end < text.size() && text[end] == '.') {
    const std::size_t after = digits(end + 1);
    count += after - end - 1;
    end = after;
  }
  if (count == 0) return {};
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    std::size_t at = end + 1;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (digits(at) > at) end = digits(at);
  }
  return text.substr(0, end);
}

/// read_number with C's functions.
template <std::floating_point T>
std::size_t read_c_number(std::string_view text, T& value) {
  const std::string number(number_prefix(text));
  if (number.empty()) return 0;
  const T read = c_number(number.c_str(), T{});
  const std::string_view mantissa = std::string_view(number).substr(0, number.find_first_of("eE"));
  const bool word = number.find_first_of("nN") != std::string::npos;
  const bool zero = mantissa.find_first_of("123456789") == std::string_view::npos;
  if (!word && (std::isinf(read) || (read == T{0} && !zero))) return 0;
  value = read;
  return number.size();
}

/// shortest_text with C's functions.
template <std::floating_point T>
std::string shortest_c_text(T value) {
  if (std::isnan(value)) return std::signbit(value) ? "-nan" : "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  for (int precision = 0; precision < 17; ++precision) {
    std::snprintf(buffer, sizeof buffer, "%.*e", precision, static_cast<double>(value));
    if (c_number(buffer, T{}) == value) break;
  }
  const std::string scientific = buffer;
  const std::size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent < -8 || exponent > 24) return scientific;
  std::string digits = scientific.substr(0, e);
  std::erase_if(digits, [](char c) { return c < '0' || c > '9'; });
  const int count = static_cast<int>(digits.size());
  std::string fixed(std::signbit(value) ? "-" : "");
  if (exponent < 0)
    fixed += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  else if (exponent + 1 < count)
    fixed += digits.insert(static_cast<std::size_t>(exponent + 1), ".");
  else if (std::snprintf(buffer, sizeof buffer, "%.0f", static_cast<double>(value)) > 0)
    fixed = buffer;
  return fixed.size() <= scientific.size() ? fixed : scientific;
}

/// Reads the number that `text` begins with, as std::from_chars does: no space or plus before it.
/// Returns how many characters that were; 0, and `value` as it was, when there is no number or none
/// that a T holds.
template <std::floating_point T>
std::size_t read_number(std::string_view text, T& value) {
#if defined(__cpp_lib_to_chars)
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} ? static_cast<std::size_t>(end - text.data()) : 0;
#else
  return read_c_number(text, value);
#endif
}

/// The shortest text that reads back as the same number, as std::to_chars writes it.
template <std::floating_point T>
std::string shortest_text(T value) {
#if defined(__cpp_lib_to_chars)
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
#else
  return shortest_c_text(value);
#endif
}

}  // namespace sequin::inline SEQUIN_ABI::detail
