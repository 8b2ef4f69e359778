/// What tokenizers ask of Unicode: categories of characters and the canonical normal forms.
#pragma once

#include "sequin/io/unicode_data.hpp"
#include "sequin/io/utf8.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail::unicode {

inline std::vector<std::uint32_t> unpack(std::string_view packed) {
  std::vector<std::uint32_t> numbers;
  std::uint32_t number = 0;
  int shift = 0;
  for (const char c : packed) {
    const auto digit = static_cast<std::uint32_t>(kDigits.find(c));
    number |= (digit & 31) << shift;
    shift += 5;
    if (digit >= 32) continue;
    numbers.push_back(number);
    number = 0;
    shift = 0;
  }
  return numbers;
}

/// Code points by the places where membership changes.
class Set {
 public:
  explicit Set(std::string_view packed) : edges_(unpack(packed)) {
    for (std::size_t i = 1; i < edges_.size(); ++i) edges_[i] += edges_[i - 1];
    for (char32_t c = 0; c < low_.size(); ++c) low_[c] = search(c);
  }
  bool holds(char32_t c) const noexcept { return c < low_.size() ? low_[c] : search(c); }

 private:
  bool search(char32_t c) const noexcept {
    const auto after =
        std::upper_bound(edges_.begin(), edges_.end(), static_cast<std::uint32_t>(c));
    return (after - edges_.begin()) % 2 == 1;
  }

  std::vector<std::uint32_t> edges_;
  std::array<bool, 0x250> low_{};
};

struct Decomposition {
  char32_t first = 0, second = 0;  // second 0: one character alone
};

/// Combining classes, decompositions and compositions, unpacked at first use.
struct NormalForms {
  std::unordered_map<char32_t, std::uint8_t> combining;
  std::unordered_map<char32_t, Decomposition> decompositions;
  std::unordered_map<std::uint64_t, char32_t> compositions;

  NormalForms() {
    const auto runs = unpack(kCombining);
    char32_t at = 0;
    for (std::size_t i = 0; i + 2 < runs.size(); i += 3) {
      at += runs[i];
      for (std::uint32_t k = 0; k < runs[i + 1]; ++k)
        combining[at + k] = static_cast<std::uint8_t>(runs[i + 2]);
      at += runs[i + 1];
    }
    const auto entries = unpack(kDecompositions);
    at = 0;
    for (std::size_t i = 0; i + 2 < entries.size(); i += 3) {
      at += entries[i];
      const Decomposition d{entries[i + 1], entries[i + 2] / 2};
      decompositions[at] = d;
      if (entries[i + 2] % 2 != 0) compositions[key(d.first, d.second)] = at;
    }
  }

  static std::uint64_t key(char32_t a, char32_t b) { return std::uint64_t{a} << 32 | b; }
  static const NormalForms& get() {
    static const NormalForms forms;
    return forms;
  }

  std::uint8_t class_of(char32_t c) const {
    const auto found = combining.find(c);
    return found == combining.end() ? std::uint8_t{0} : found->second;
  }

  void decompose(char32_t c, std::vector<char32_t>& out) const {
    constexpr char32_t kSyllables = 0xAC00;
    if (c >= kSyllables && c < kSyllables + 11172) {
      const char32_t s = c - kSyllables;
      out.push_back(0x1100 + s / 588);
      out.push_back(0x1161 + s % 588 / 28);
      if (s % 28 != 0) out.push_back(0x11A7 + s % 28);
      return;
    }
    const auto found = decompositions.find(c);
    if (found == decompositions.end()) {
      out.push_back(c);
      return;
    }
    decompose(found->second.first, out);
    if (found->second.second != 0) decompose(found->second.second, out);
  }

  /// The character that two make, or 0.
  char32_t compose(char32_t a, char32_t b) const {
    if (a >= 0x1100 && a < 0x1113 && b >= 0x1161 && b < 0x1176)
      return 0xAC00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28;
    if (a >= 0xAC00 && a < 0xAC00 + 11172 && (a - 0xAC00) % 28 == 0 && b > 0x11A7 && b < 0x11C3)
      return a + (b - 0x11A7);
    const auto found = compositions.find(key(a, b));
    return found == compositions.end() ? 0 : found->second;
  }
};

}  // namespace detail::unicode

/// General category L, N or M: `\p{L}`, `\p{N}` and `\p{M}` in patterns.
inline bool is_letter(char32_t c) noexcept {
  static const detail::unicode::Set set(detail::unicode::kLetters);
  return set.holds(c);
}
inline bool is_number(char32_t c) noexcept {
  static const detail::unicode::Set set(detail::unicode::kNumbers);
  return set.holds(c);
}
inline bool is_mark(char32_t c) noexcept {
  static const detail::unicode::Set set(detail::unicode::kMarks);
  return set.holds(c);
}
/// The property White_Space: `\s` in patterns.
constexpr bool is_space(char32_t c) noexcept {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

/// The canonical forms of Unicode Standard Annex 15.
enum class NormalForm { kNFC, kNFD };

/// `text` (UTF-8) in a canonical normal form.
inline std::string normalize(std::string_view text, NormalForm form) {
  using detail::unicode::NormalForms;
  // Below U+00C0 nothing decomposes, below U+0300 nothing composes.
  const unsigned char plain = form == NormalForm::kNFC ? 0xCC : 0xC3;
  if (std::all_of(text.begin(), text.end(),
                  [plain](char c) { return static_cast<unsigned char>(c) < plain; }))
    return std::string(text);
  const NormalForms& forms = NormalForms::get();
  std::vector<char32_t> all;
  for (std::size_t at = 0; at < text.size();) {
    const auto piece = detail::first_piece(text.substr(at));
    forms.decompose(piece.whole ? piece.code_point : 0xFFFD, all);
    at += piece.length;
  }
  std::vector<std::uint8_t> classes(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) classes[i] = forms.class_of(all[i]);
  // Canonical order: marks of one row by their class.
  for (std::size_t i = 0; i < all.size();) {
    std::size_t end = i;
    while (end < all.size() && classes[end] != 0) ++end;
    std::vector<std::pair<std::uint8_t, char32_t>> row;
    for (std::size_t k = i; k < end; ++k) row.emplace_back(classes[k], all[k]);
    std::stable_sort(row.begin(), row.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t k = i; k < end; ++k) {
      classes[k] = row[k - i].first;
      all[k] = row[k - i].second;
    }
    i = end + 1;
  }
  std::size_t kept = all.size();
  if (form == NormalForm::kNFC) {
    kept = 0;
    std::size_t starter = 0;
    bool has_starter = false;
    std::uint8_t last_class = 0;  // of what was kept after the starter
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool adjacent = has_starter && kept == starter + 1;
      if (has_starter && (adjacent || last_class < classes[i])) {
        if (const char32_t c = forms.compose(all[starter], all[i])) {
          all[starter] = c;
          continue;
        }
      }
      if (classes[i] == 0) {
        starter = kept;
        has_starter = true;
      }
      last_class = classes[i];
      all[kept++] = all[i];
    }
  }
  std::string out;
  for (std::size_t i = 0; i < kept; ++i) detail::append_utf8(out, all[i]);
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
