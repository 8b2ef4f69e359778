#include "sequin/io/unicode.hpp"

#include "sequin/io/split_text.hpp"
#include "support/catch.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace sequin;

namespace {

constexpr std::uint64_t kFnv = 14695981039346656037u;

std::uint64_t fnv(std::uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

std::string text_of(char32_t c) {
  std::string s;
  detail::append_utf8(s, c);
  return s;
}

using Words = std::vector<std::string>;
Words words(std::string_view text, const WordPattern& pattern = {}) {
  Words list;
  for (const auto w : split_words(text, pattern)) list.emplace_back(w);
  return list;
}

}  // namespace

// Python 3.11 (Unicode 14.0), FNV-1a over the UTF-8 of every code point's normal form:
//   for c in range(0x110000):
//       if not 0xD800 <= c < 0xE000: hash = fnv(hash, unicodedata.normalize("NFC",
//       chr(c)).encode())
TEST_CASE("normalize: every code point as Python's unicodedata", "[unicode]") {
  std::uint64_t nfc = kFnv, nfd = kFnv;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    nfc = fnv(nfc, normalize(text_of(c), NormalForm::kNFC));
    nfd = fnv(nfd, normalize(text_of(c), NormalForm::kNFD));
  }
  REQUIRE(nfc == 2593021661380619961u);
  REQUIRE(nfd == 8238723398584067993u);
}

// The same over 20000 texts of six characters, drawn from letters and marks that reorder, compose,
// must not compose, or are Hangul.
TEST_CASE("normalize: rows of marks as Python's unicodedata", "[unicode]") {
  std::vector<char32_t> marks;
  for (char32_t c = 0x300; c < 0x370; ++c) marks.push_back(c);
  for (const char32_t c :
       {U'\u05b0', U'\u05b1', U'\u064b', U'\u093c', U'\u1dc0', U'\u3099', U'\u302a', U'\U0001D165'})
    marks.push_back(c);
  const std::vector<char32_t> bases = {0x41,   0x61, 0x65,   0x1100, 0x1161, 0x11a8, 0xac00, 0x1e9b,
                                       0x212b, 0xd1, 0x2adc, 0x0344, 0x30ab, 0x0f73, 0x1d15e};
  std::uint64_t nfc = kFnv, nfd = kFnv, seed = 12345;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (int k = 0; k < 6; ++k) {
      seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
      const std::uint64_t r = seed >> 8;
      const auto& pool = (r & 1) != 0 ? marks : bases;
      text += text_of(pool[(r >> 1) % pool.size()]);
    }
    nfc = fnv(nfc, normalize(text, NormalForm::kNFC));
    nfd = fnv(nfd, normalize(text, NormalForm::kNFD));
  }
  REQUIRE(nfc == 1087975658968157362u);
  REQUIRE(nfd == 1589352135778715374u);
}

TEST_CASE("is_letter, is_number, is_mark: as many as Unicode 14 has", "[unicode]") {
  int letters = 0, numbers = 0, marks = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    letters += is_letter(c) ? 1 : 0;
    numbers += is_number(c) ? 1 : 0;
    marks += is_mark(c) ? 1 : 0;
  }
  REQUIRE(letters == 131756);
  REQUIRE(numbers == 1791);
  REQUIRE(marks == 2408);
  REQUIRE(is_letter(U'ß'));
  REQUIRE(is_number(U'½'));
  REQUIRE_FALSE(is_letter(U'1'));
}

TEST_CASE("find_broken_utf8: overlong forms, surrogates and cut characters", "[utf8]") {
  REQUIRE(find_broken_utf8("plain é 中 😀") == std::string_view::npos);
  REQUIRE(find_broken_utf8("a\xc0\x80") == 1);
  REQUIRE(find_broken_utf8("\xed\xa0\x80") == 0);
  REQUIRE(find_broken_utf8("\xf4\x90\x80\x80") == 0);
  REQUIRE(find_broken_utf8("ab\xe4\xb8") == 2);
  REQUIRE(find_broken_utf8("\x80") == 0);
}

TEST_CASE("Utf8Stream: any cutting of the bytes gives the same text", "[utf8]") {
  const std::string bytes =
      "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xff\xe4\xb8x\xf0\x9f\xc3\xa9\xe2\x82";
  const std::string r = "\xef\xbf\xbd";
  // Python: bytes.decode(errors="replace").
  const std::string expected = "aé中😀" + r + r + "x" + r + "é" + r;
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    Utf8Stream stream;
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      text += stream.push(std::string_view(bytes).substr(at, piece));
      REQUIRE(find_broken_utf8(text) == std::string_view::npos);
      REQUIRE(stream.held() <= 3);
    }
    REQUIRE(text + stream.finish() == expected);
  }
}

TEST_CASE("split_words: GPT-2's expression", "[split_text]") {
  REQUIRE(words("It's 12  words,\n\n they'll") ==
          Words{"It", "'s", " 12", " ", " words", ",", "\n\n", " they", "'ll"});
  REQUIRE(words("'S  ") == Words{"'", "S", "  "});
  REQUIRE(words("").empty());
}

TEST_CASE("split_words: the newer expression, three digits at most", "[split_text]") {
  const auto pattern = WordPattern::find(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  REQUIRE(pattern);
  REQUIRE(words("It'S 12345 (x)\n \n\ty  ", *pattern) ==
          Words{"It", "'S", " ", "123", "45", " (", "x", ")\n", " \n", "\ty", "  "});
  REQUIRE_FALSE(WordPattern::find(R"(\w+)"));
}

TEST_CASE("split_words: a long text of one kind takes no square of its length", "[split_text]") {
  for (const char* const part : {"a", " ", "\n", "'", "1", "\xcc\x80"}) {
    std::string text;
    for (int i = 0; i < 300000; ++i) text += part;
    std::size_t length = 0;
    for (const auto w : split_words(text)) length += w.size();
    REQUIRE(length == text.size());
    REQUIRE(normalize(text, NormalForm::kNFC).size() == text.size());
  }
}
