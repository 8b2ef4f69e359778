/// Throws with a message of pieces, which costs the place that it is thrown from next to nothing.
#pragma once

#include "sequin/core/compiler.hpp"
#include "sequin/core/shape.hpp"

#include <concepts>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI::detail {

/// Text, a number or extents; printed as std::to_string and sequin::to_string do.
class Piece {
 public:
  Piece(const char* text) noexcept : kind_(Kind::text), data_(text) {  // NOLINT
    count_ = std::string_view(text).size();
  }
  Piece(const std::string& text) noexcept  // NOLINT
      : kind_(Kind::text), count_(text.size()), data_(text.data()) {}
  template <std::signed_integral I>
  Piece(I number) noexcept : kind_(Kind::integer), integer_(number) {}  // NOLINT
  template <std::unsigned_integral I>
  Piece(I number) noexcept  // NOLINT
      : kind_(Kind::integer), integer_(static_cast<long long>(number)) {}
  Piece(double number) noexcept : kind_(Kind::real), real_(number) {}  // NOLINT
  template <std::size_t Rank>
  Piece(const Shape<Rank>& shape) noexcept  // NOLINT
      : kind_(Kind::shape), count_(Rank), data_(shape.data()) {}

  void append_to(std::string& message) const {
    if (kind_ == Kind::text) message.append(static_cast<const char*>(data_), count_);
    if (kind_ == Kind::integer) message += std::to_string(integer_);
    if (kind_ == Kind::real) message += std::to_string(real_);
    if (kind_ == Kind::shape)
      message += to_string(std::span(static_cast<const index_t*>(data_), count_));
  }

 private:
  enum class Kind { text, integer, real, shape };

  Kind kind_;
  std::size_t count_ = 0;
  union {
    const void* data_;
    long long integer_;
    double real_;
  };
};

/// Throws E, its message the pieces in a row.
template <class E>
[[noreturn]] SEQUIN_COLD void fail(std::initializer_list<Piece> pieces) {
  std::string message;
  for (const Piece& piece : pieces) piece.append_to(message);
  throw E(message);
}

}  // namespace sequin::inline SEQUIN_ABI::detail
