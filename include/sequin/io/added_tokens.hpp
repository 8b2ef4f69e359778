/// Tokens that are cut out of the text before any word is looked at.
#pragma once

#include "sequin/io/bpe.hpp"
#include "sequin/io/unicode.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// An entry of `added_tokens` in a tokenizer.json.
struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool special = false;      ///< left out when text is made without special tokens
  bool single_word = false;  ///< only where no word character stands beside it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< and that after it
  bool normalized = true;    ///< looked for in the normalised text, not in the text as given
};

namespace detail {

/// `\w` as far as it matters beside a token.
inline bool is_word_character(char32_t c) {
  return is_letter(c) || is_number(c) || is_mark(c) || c == '_';
}

/// The code point that ends before `at`, 0 at the beginning.
inline char32_t character_before(std::string_view text, std::size_t at) {
  if (at == 0) return 0;
  std::size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return first_piece(text.substr(begin, at - begin)).code_point;
}

/// Finds added tokens: of several at one place the longest, as the official leftmost-longest
/// automaton.
class AddedTokenFinder {
 public:
  /// A part of a text: plain, or a token.
  struct Part {
    std::string_view text;
    const AddedToken* token = nullptr;
  };

  /// `content` is what is looked for: the token's own, or that normalised.
  void add(const AddedToken& token, const std::string& content) {
    if (content.empty()) return;
    tokens_.emplace(content, token);
    auto& lengths = lengths_[static_cast<unsigned char>(content[0])];
    const auto at =
        std::lower_bound(lengths.begin(), lengths.end(), content.size(), std::greater<>());
    if (at == lengths.end() || *at != content.size()) lengths.insert(at, content.size());
  }

  std::vector<Part> split(std::string_view text) const {
    std::vector<Part> parts;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t length = 0;
      const AddedToken* const token = match(text, at, length);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t begin = at, end = at + length;
      at = end;
      if (token->single_word && touches_word(text, begin, end)) continue;
      if (token->lstrip)
        while (begin > done && is_space(character_before(text, begin)))
          begin -= space_length(text, begin);
      if (token->rstrip)
        while (end < text.size() && is_space(first_piece(text.substr(end)).code_point))
          end += first_piece(text.substr(end)).length;
      begin = (std::max)(begin, done);
      if (begin > done) parts.push_back({text.substr(done, begin - done)});
      parts.push_back({text.substr(begin, end - begin), token});
      done = end;
      at = (std::max)(at, done);
    }
    if (done < text.size()) parts.push_back({text.substr(done)});
    return parts;
  }

 private:
  const AddedToken* match(std::string_view text, std::size_t at, std::size_t& length) const {
    for (const std::size_t n : lengths_[static_cast<unsigned char>(text[at])]) {
      if (n > text.size() - at) continue;
      const auto found = tokens_.find(text.substr(at, n));
      if (found == tokens_.end()) continue;
      length = n;
      return &found->second;
    }
    return nullptr;
  }
  static bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
    return (begin > 0 && is_word_character(character_before(text, begin))) ||
           (end < text.size() && is_word_character(first_piece(text.substr(end)).code_point));
  }
  static std::size_t space_length(std::string_view text, std::size_t end) {
    std::size_t length = 1;
    while (length < end && (static_cast<unsigned char>(text[end - length]) & 0xC0) == 0x80)
      ++length;
    return length;
  }

  TextMap<AddedToken> tokens_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // by first byte, the longest first
};

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
