/// The header of a safetensors file, read strictly: its grammar is small and the file is not
/// trusted.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/io/dtype.hpp"

#include <charconv>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What a file may ask of a reader.
struct SafetensorsLimits {
  std::uint64_t header_bytes = 100'000'000;
  std::size_t tensors = 1'000'000;
  std::size_t rank = 8;
  std::size_t metadata = 100'000;  ///< keys of it
};

namespace detail {

/// An entry of the header, not yet checked against the data.
struct HeaderEntry {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

inline bool is_utf8(std::string_view s) noexcept {
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const int extra = c < 0x80                ? 0
                      : c >= 0xc2 && c < 0xe0 ? 1
                      : c >= 0xe0 && c < 0xf0 ? 2
                      : c >= 0xf0 && c < 0xf5 ? 3
                                              : -1;
    if (extra < 0 || i + static_cast<std::size_t>(extra) >= s.size() + (extra == 0 ? 1 : 0))
      return false;
    for (int k = 1; k <= extra; ++k)
      if ((static_cast<unsigned char>(s[i + static_cast<std::size_t>(k)]) & 0xc0) != 0x80)
        return false;
    if (extra > 1) {
      const auto second = static_cast<unsigned char>(s[i + 1]);
      if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second >= 0xa0) ||
          (c == 0xf0 && second < 0x90) || (c == 0xf4 && second >= 0x90))
        return false;
    }
    i += static_cast<std::size_t>(extra) + 1;
  }
  return true;
}

#if SEQUIN_BODIES

/// Reads { "name": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, ...,
/// "__metadata__": {"key": "text"} } and nothing else. Needs no more memory than the text itself,
/// and no stack for nesting, as nothing nests.
class SafetensorsHeader {
 public:
  /// Throws LoadError beginning with `label`.
  SafetensorsHeader(std::string_view text, const std::string& label,
                    const SafetensorsLimits& limits)
      : text_(text), label_(label), limits_(limits) {
    if (!is_utf8(text)) fail("header: expected UTF-8, found other bytes");
    if (text.empty() || text[0] != '{') fail("header: expected it to begin with '{'");
    read();
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    if (at_ != text_.size()) fail("header: expected nothing but spaces after the object");
  }

  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string, std::less<>> metadata;

 private:
  [[noreturn]] void fail(const std::string& what) const { throw LoadError(label_ + ": " + what); }
  [[noreturn]] void fail_in(const std::string& name, const std::string& what) const {
    fail("tensor '" + printable(name) + "': " + what);
  }

  char peek() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char c) {
    if (peek() != c)
      fail("header: expected '" + std::string(1, c) + "' at byte " + std::to_string(at_) +
           (at_ < text_.size() ? ", found '" + printable(text_.substr(at_, 1)) + "'"
                               : ", found the end"));
    ++at_;
  }

  /// Calls `item(key)` for each member of an object.
  template <class F>
  void object(F item) {
    expect('{');
    if (peek() == '}') {
      ++at_;
      return;
    }
    for (;;) {
      std::string key = string();
      expect(':');
      item(std::move(key));
      if (peek() == ',') {
        ++at_;
        continue;
      }
      expect('}');
      return;
    }
  }

  void read() {
    std::map<std::string, bool, std::less<>> seen;
    object([&](std::string name) {
      if (!seen.emplace(name, true).second)
        fail("header: expected each name once, found '" + printable(name) + "' twice");
      if (name == "__metadata__") {
        if (peek() != '{') fail("__metadata__: expected an object of texts");
        object([&](std::string key) {
          if (peek() != '"') fail("__metadata__: '" + printable(key) + "': expected a text");
          if (metadata.size() >= limits_.metadata)
            fail("__metadata__: expected at most " + std::to_string(limits_.metadata) + " keys");
          if (!metadata.emplace(key, string()).second)
            fail("__metadata__: expected each key once, found '" + printable(key) + "' twice");
        });
        return;
      }
      if (entries.size() >= limits_.tensors)
        fail("header: expected at most " + std::to_string(limits_.tensors) + " tensors");
      entries.push_back(entry(std::move(name)));
    });
  }

  HeaderEntry entry(std::string name) {
    HeaderEntry e;
    e.name = std::move(name);
    bool dtype = false, shape = false, offsets = false;
    if (peek() != '{') fail_in(e.name, "expected an object");
    object([&](const std::string& key) {
      const auto once = [&](bool& flag) {
        if (flag) fail_in(e.name, "expected '" + key + "' once, found it twice");
        flag = true;
      };
      if (key == "dtype") {
        once(dtype);
        if (peek() != '"') fail_in(e.name, "dtype: expected a text");
        const std::string type = string();
        const auto known = dtype_named(type);
        if (!known)
          fail_in(e.name,
                  "dtype: expected F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8 "
                  "or BOOL, found '" +
                      printable(type) + "'");
        e.dtype = *known;
      } else if (key == "shape") {
        once(shape);
        for (const std::uint64_t extent : numbers(e.name, "shape", limits_.rank)) {
          if (extent > static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)()))
            fail_in(e.name, "shape: expected extents below 2^63, found " + std::to_string(extent));
          e.shape.push_back(static_cast<std::int64_t>(extent));
        }
      } else if (key == "data_offsets") {
        once(offsets);
        const auto pair = numbers(e.name, "data_offsets", 2);
        if (pair.size() != 2)
          fail_in(e.name, "data_offsets: expected 2 numbers, found " + std::to_string(pair.size()));
        e.begin = pair[0];
        e.end = pair[1];
      } else {
        fail_in(e.name, "expected dtype, shape and data_offsets, found '" + printable(key) + "'");
      }
    });
    if (!dtype || !shape || !offsets)
      fail_in(e.name, std::string("expected dtype, shape and data_offsets, found no ") +
                          (!dtype   ? "dtype"
                           : !shape ? "shape"
                                    : "data_offsets"));
    return e;
  }

  /// A list of at most `limit` non-negative integers.
  std::vector<std::uint64_t> numbers(const std::string& name, const char* what, std::size_t limit) {
    std::vector<std::uint64_t> list;
    if (peek() != '[') fail_in(name, std::string(what) + ": expected a list");
    ++at_;
    if (peek() == ']') {
      ++at_;
      return list;
    }
    for (;;) {
      peek();
      std::size_t end = at_;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      std::uint64_t value = 0;
      const auto [stop, error] = std::from_chars(text_.data() + at_, text_.data() + end, value);
      const bool followed = end < text_.size() && std::string_view(",] \t\n\r").find(text_[end]) !=
                                                      std::string_view::npos;
      if (end == at_ || error != std::errc{} || !followed || (text_[at_] == '0' && end > at_ + 1)) {
        std::size_t shown = at_;
        while (shown < text_.size() && text_[shown] != ',' && text_[shown] != ']') ++shown;
        fail_in(name, std::string(what) + ": expected non-negative integers, found '" +
                          printable(text_.substr(at_, shown - at_), 24) + "'");
      }
      if (list.size() == limit)
        fail_in(name, std::string(what) + ": expected at most " + std::to_string(limit) +
                          " numbers, found more");
      list.push_back(value);
      at_ = end;
      if (peek() == ',') {
        ++at_;
        continue;
      }
      if (peek() != ']') fail_in(name, std::string(what) + ": expected ']'");
      ++at_;
      return list;
    }
  }

  unsigned hex4() {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("header: expected four hexadecimal digits after \\u");
      value = value * 16 + static_cast<unsigned>(digit);
    }
    return value;
  }

  static void append_utf8(std::string& out, unsigned c) {
    const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xc0 | c >> 6), put(0x80 | (c & 63));
    } else if (c < 0x10000) {
      put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
    } else {
      put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63));
      put(0x80 | (c & 63));
    }
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("header: expected '\"', found the end");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) fail("header: found a control character in a text");
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = at_ < text_.size() ? text_[at_++] : '\0';
      switch (escape) {
        case '"':
        case '\\':
        case '/':
          out += escape;
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'n':
          out += '\n';
          break;
        case 'r':
          out += '\r';
          break;
        case 't':
          out += '\t';
          break;
        case 'u': {
          unsigned code = hex4();
          if (code >= 0xdc00 && code < 0xe000) fail("header: found half of a surrogate pair");
          if (code >= 0xd800 && code < 0xdc00) {
            if (text_.substr(at_, 2) != "\\u") fail("header: found half of a surrogate pair");
            at_ += 2;
            const unsigned low = hex4();
            if (low < 0xdc00 || low >= 0xe000) fail("header: found half of a surrogate pair");
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          }
          append_utf8(out, code);
          break;
        }
        default:
          fail("header: found an unknown escape in a text");
      }
    }
  }

  std::string_view text_;
  const std::string& label_;
  const SafetensorsLimits& limits_;
  std::size_t at_ = 0;
};

#endif

}  // namespace detail
}  // namespace sequin::inline SEQUIN_ABI
