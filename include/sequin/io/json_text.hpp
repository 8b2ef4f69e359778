/// Texts as JSON writes them.
#pragma once

#include "sequin/core/error.hpp"

#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {
namespace detail {

/// A JSON text with quotes.
inline std::string json_text(std::string_view s) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20) {
      out += "\\u00";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
