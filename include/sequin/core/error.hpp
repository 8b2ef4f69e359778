/// What the library throws, and the assertion for its own mistakes.
#pragma once

#include "sequin/core/version.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// Base of everything that the library throws. `what()` is one line that names the thing, what was
/// expected and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument's extents do not fit the operation.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A hyper-parameter, option or config file entry is missing or impossible.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A file or its contents cannot be used (weights, data, checkpoints).
class LoadError : public Error {
 public:
  using Error::Error;
};

namespace detail {

[[noreturn]] inline void assertion_failed(const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "sequin: internal error: %s (%s:%d)\n", what, file, line);
  std::abort();
}

/// Makes text from a file safe to print in a one-line message: control characters, those beyond
/// ASCII (U+0080 to U+009F) too, are escaped and what is longer than `limit` bytes is cut.
inline std::string printable(std::string_view text, std::size_t limit = 80) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  unsigned char before = 0;
  for (const char c : text.substr(0, limit)) {
    const auto u = static_cast<unsigned char>(c);
    const bool high_control = before == 0xc2 && u >= 0x80 && u < 0xa0;
    before = u;
    if (high_control) out.replace(out.size() - 1, 1, "\\xc2");
    if (u < 0x20 || u == 0x7f || high_control) {
      out += "\\x";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI

/// Checks what only a defect of the library can violate; active without NDEBUG. Mistakes of the
/// caller throw instead.
#ifdef NDEBUG
#define SEQUIN_ASSERT(condition) static_cast<void>(0)
#else
#define SEQUIN_ASSERT(condition)      \
  ((condition) ? static_cast<void>(0) \
               : ::sequin::detail::assertion_failed(#condition, __FILE__, __LINE__))
#endif
