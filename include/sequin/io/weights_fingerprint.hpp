/// A short name for the weights of a model.
#pragma once

#include "sequin/core/parameter.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// FNV-1a of 64 bits, http://www.isthe.com/chongo/tech/comp/fnv.
class Fnv1a {
 public:
  void add(std::span<const std::byte> bytes) noexcept {
    for (const std::byte b : bytes)
      hash_ = (hash_ ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3u;
  }
  std::uint64_t value() const noexcept { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace detail

/// 16 hexadecimal digits that differ, but for chance, where a name, a shape or an element of the
/// block's parameters and buffers does. Reads every weight. Throws ConfigError after
/// prepare_for_inference, which gives the weights up.
template <class Block>
std::string weights_fingerprint(Block& block) {
  detail::Fnv1a hash;
  for (const auto& p : parameters(block).items) {
    hash.add(std::as_bytes(std::span(p.name)));
    hash.add(std::as_bytes(std::span(p.shape)));
    hash.add(std::as_bytes(p.values.span()));
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash.value()));
  return text;
}

}  // namespace sequin::inline SEQUIN_ABI
