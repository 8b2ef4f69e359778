/// UTF-8: code points to bytes and back, and text that arrives in pieces.
#pragma once

#include "sequin/core/version.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

/// What stands at the beginning of a text that is not empty.
struct Utf8Piece {
  std::size_t length = 0;   ///< bytes: of the code point, or of the broken piece
  char32_t code_point = 0;  ///< of a whole one
  bool whole = false;
  bool could_continue = false;  ///< broken only by the end of the text
};

/// The first code point, or the longest piece that begins none (of at most three bytes; what a
/// replacement character stands for in Rust, Python and browsers).
inline Utf8Piece first_piece(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, lead, true, false};
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0) return {1, 0, false, false};
  // Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t c = lead & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, 0, false, true};
    const unsigned char b = byte(i);
    if (b < (i == 1 ? low : 0x80) || b > (i == 1 ? high : 0xBF)) return {i, 0, false, false};
    c = c << 6 | (b & 0x3Fu);
  }
  return {length, c, true, false};
}

inline void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

}  // namespace detail

/// The first byte that is not UTF-8, or npos.
inline std::size_t find_broken_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const auto piece = detail::first_piece(text.substr(at));
    if (!piece.whole) return at;
    at += piece.length;
  }
  return std::string_view::npos;
}

/// Turns bytes that arrive in pieces into text: a code point whose end is still to come is held
/// back, and what can be none becomes U+FFFD, as `errors="replace"` does in Python.
class Utf8Stream {
 public:
  /// The text that is complete with these bytes.
  std::string push(std::string_view bytes) {
    held_ += bytes;
    return take(false);
  }
  /// The rest; the stream then begins anew.
  std::string finish() { return take(true); }
  /// Bytes that wait for more: 0 to 3.
  std::size_t held() const noexcept { return held_.size(); }

 private:
  std::string take(bool all) {
    std::string out;
    std::size_t at = 0;
    while (at < held_.size()) {
      const auto piece = detail::first_piece(std::string_view(held_).substr(at));
      if (piece.could_continue && !all) break;
      if (piece.whole)
        out.append(held_, at, piece.length);
      else
        out += detail::kReplacement;
      at += piece.length;
    }
    held_.erase(0, at);
    return out;
  }

  std::string held_;
};

}  // namespace sequin::inline SEQUIN_ABI
