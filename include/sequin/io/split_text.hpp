/// Cuts text into the words that byte-pair encoding works on, as published tokenizers' regular
/// expressions do.
#pragma once

#include "sequin/io/unicode.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// The expressions that `split_words` knows. Each was written by hand from its regular expression;
/// greed and backtracking are those of Oniguruma.
struct WordPattern {
  enum class Kind { kGpt2, kCl100k } kind = Kind::kGpt2;
  std::size_t digits = std::numeric_limits<std::size_t>::max();  ///< longest run of numbers

  /// The pattern that a tokenizer.json spells out: GPT-2's, and those of Llama 3 and Qwen 2, which
  /// are cl100k's with runs of three digits or one. Nothing for any other.
  static std::optional<WordPattern> find(std::string_view regex) {
    constexpr std::string_view kGpt2 =
        R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    constexpr std::string_view kHead = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
    constexpr std::string_view kTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    if (regex == kGpt2) return WordPattern{};
    if (!regex.starts_with(kHead) || !regex.ends_with(kTail) ||
        regex.size() < kHead.size() + kTail.size())
      return std::nullopt;
    const auto middle = regex.substr(kHead.size(), regex.size() - kHead.size() - kTail.size());
    if (middle == R"(\p{N}{1,3})") return WordPattern{Kind::kCl100k, 3};
    if (middle == R"(\p{N})") return WordPattern{Kind::kCl100k, 1};
    return std::nullopt;
  }
};

namespace detail {

/// Characters of a text with the places where they begin.
struct Characters {
  std::vector<char32_t> codes;
  std::vector<std::size_t> begins;  // one more than codes

  explicit Characters(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
      const auto piece = first_piece(text.substr(at));
      codes.push_back(piece.whole ? piece.code_point : 0xFFFD);
      begins.push_back(at);
      at += piece.length;
    }
    begins.push_back(text.size());
  }
};

/// Where the word that begins at `i` ends.
class WordMatcher {
 public:
  WordMatcher(const std::vector<char32_t>& codes, const WordPattern& pattern)
      : c_(codes), n_(codes.size()), pattern_(pattern) {}

  std::size_t end_of(std::size_t i) const {
    const bool newer = pattern_.kind == WordPattern::Kind::kCl100k;
    if (const std::size_t e = contraction(i, newer); e > i) return e;
    // Letters, with one character before them: a space, or in the newer ones anything but a line
    // end, letter or number.
    const bool leads =
        newer ? c_[i] != '\r' && c_[i] != '\n' && !is_letter(c_[i]) && !is_number(c_[i])
              : c_[i] == ' ';
    const std::size_t word = leads && i + 1 < n_ && is_letter(c_[i + 1]) ? i + 1 : i;
    if (is_letter(c_[word])) return run(word, is_letter);

    const std::size_t number = !newer && c_[i] == ' ' && i + 1 < n_ ? i + 1 : i;
    if (is_number(c_[number])) {
      const std::size_t e = run(number, is_number);
      return e - number > pattern_.digits ? number + pattern_.digits : e;
    }
    const std::size_t other = c_[i] == ' ' && i + 1 < n_ && is_other(c_[i + 1]) ? i + 1 : i;
    if (is_other(c_[other])) {
      std::size_t e = run(other, is_other);
      if (newer) e = run(e, is_line_end);
      return e;
    }
    return spaces(i, newer);
  }

 private:
  static bool is_other(char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }
  static bool is_line_end(char32_t c) { return c == '\r' || c == '\n'; }

  template <class Test>
  std::size_t run(std::size_t i, Test test) const {
    while (i < n_ && test(c_[i])) ++i;
    return i;
  }

  /// 's 't 're 've 'm 'll 'd; the newer patterns take capitals too (and the long s, which is s to
  /// who ignores case).
  std::size_t contraction(std::size_t i, bool any_case) const {
    if (c_[i] != '\'' || i + 1 >= n_) return i;
    const auto at = [&](std::size_t k) -> char32_t {
      if (k >= n_) return 0;
      if (any_case && c_[k] == 0x17F) return 's';
      return any_case && c_[k] >= 'A' && c_[k] <= 'Z' ? c_[k] + 32 : c_[k];
    };
    const char32_t a = at(i + 1), b = at(i + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    const bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return two ? i + 3 : i;
  }

  /// White space: up to its last line end in the newer patterns; else all but the last when
  /// something follows, whose space that is.
  std::size_t spaces(std::size_t i, bool newer) const {
    const std::size_t e = run(i, [](char32_t c) { return is_space(c); });
    if (newer)
      for (std::size_t k = e; k > i; --k)
        if (is_line_end(c_[k - 1])) return k;
    return e == n_ || e == i + 1 ? e : e - 1;
  }

  const std::vector<char32_t>& c_;
  std::size_t n_;
  WordPattern pattern_;
};

}  // namespace detail

/// The words of a text, one after the other; together they are the text. UTF-8; time and memory
/// grow with its length.
inline std::vector<std::string_view> split_words(std::string_view text,
                                                 const WordPattern& pattern = {}) {
  const detail::Characters characters(text);
  const detail::WordMatcher matcher(characters.codes, pattern);
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < characters.codes.size();) {
    const std::size_t end = matcher.end_of(i);
    words.push_back(
        text.substr(characters.begins[i], characters.begins[end] - characters.begins[i]));
    i = end;
  }
  return words;
}

}  // namespace sequin::inline SEQUIN_ABI
