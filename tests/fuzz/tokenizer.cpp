#include "fuzz.hpp"

#include "sequin/io/tokenizer.hpp"

#include <optional>
#include <string>
#include <vector>

namespace sequin_fuzz {

using namespace sequin;

namespace {

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int64_t> ids;
  if (!accepts([&] { ids = tokenizer.encode(text); })) {
    require(find_broken_utf8(text) != std::string_view::npos, "text in UTF-8 has tokens");
    return;
  }
  require(tokenizer.encode(text, false).size() <= ids.size(), "special tokens are added");
  for (const bool skip : {true, false}) {
    const std::string whole = tokenizer.decode(ids, skip);
    require(find_broken_utf8(whole) == std::string_view::npos, "decoded text is UTF-8");
    TokenStream stream(tokenizer, skip);
    std::string streamed;
    for (const std::int64_t id : ids) streamed += stream.push(id);
    require(streamed + stream.finish() == whole, "text that comes in pieces is the whole");
  }
}

}  // namespace

void fuzz_tokenizer(std::span<const std::byte> bytes) {
  std::optional<Tokenizer> tokenizer;
  if (!accepts([&] { tokenizer = Tokenizer::parse(text_of(bytes), "t.json"); })) return;
  require(tokenizer->size() >= 0 && tokenizer->size() <= std::int64_t{1} << 31, "ids are bounded");
  for (const char* token : {"a", "the", "<|endoftext|>", "\xc4\xa0the"})
    if (const auto id = tokenizer->find(token))
      require(*id >= 0 && *id < tokenizer->size(), "a token's id is below the size");
  check_text(*tokenizer, "");
  check_text(*tokenizer,
             "The caf\xc3\xa9's  e\xcc\x81\xcc\xa3 12345\r\n\t<|endoftext|> \xf0\x9f\x98\x80");
  check_text(*tokenizer, text_of(bytes).substr(0, 200));
}

}  // namespace sequin_fuzz
