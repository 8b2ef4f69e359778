#include "sequin/io/tokenizer.hpp"

#include "support/catch.hpp"
#include "support/golden.hpp"

#include <map>
#include <string>

#include <nlohmann/json.hpp>

using namespace sequin;

namespace {

using Ids = std::vector<std::int64_t>;
using Json = nlohmann::json;

std::string folder() { return std::string(SEQUIN_TEST_DATA) + "/tokenizer/"; }

Json small() { return Json::parse(sequin_test::read_file(folder() + "neox.json")); }

std::string message(const Json& json) {
  try {
    Tokenizer::parse(json.dump(), "t.json");
  } catch (const LoadError& e) {
    REQUIRE(std::string(e.what()).find('\n') == std::string::npos);
    return e.what();
  }
  return "loaded";
}

}  // namespace

// cases.json was made by huggingface/tokenizers.
TEST_CASE("Tokenizer: the official library's tokens and texts", "[tokenizer]") {
  const Json cases = Json::parse(sequin_test::read_file(folder() + "cases.json"));
  std::map<std::string, Tokenizer> tokenizers;
  std::size_t compared = 0;
  for (const Json& c : cases["cases"]) {
    const auto name = c["tokenizer"].get<std::string>();
    if (tokenizers.find(name) == tokenizers.end())
      tokenizers.emplace(name, Tokenizer::load(folder() + name + ".json"));
    const Tokenizer& t = tokenizers.at(name);
    const auto text = c["text"].get<std::string>();
    INFO(name << ": " << c["text"].dump());
    const Ids ids = c["ids"].get<Ids>();
    REQUIRE(t.encode(text, c["special"].get<bool>()) == ids);
    REQUIRE(t.decode(ids) == c["decoded"].get<std::string>());
    REQUIRE(t.decode(ids, false) == c["with_special"].get<std::string>());
    // Streamed token by token: the same.
    TokenStream stream(t);
    std::string streamed;
    for (const std::int64_t id : ids) {
      streamed += stream.push(id);
      REQUIRE(find_broken_utf8(streamed) == std::string_view::npos);
    }
    REQUIRE(streamed + stream.finish() == c["decoded"].get<std::string>());
    ++compared;
  }
  REQUIRE(compared > 80);
}

TEST_CASE("Tokenizer: any text comes back from its tokens", "[tokenizer]") {
  const Tokenizer t = Tokenizer::load(folder() + "neox.json");
  for (const std::string text : {"", "caf\xc3\xa9 \xf0\x9f\x98\x80\n\t ", "x\x01y", "   a    b"})
    REQUIRE(t.decode(t.encode(text), false) == text);
  REQUIRE(t.find("<|endoftext|>") == std::int64_t{0});
  REQUIRE(t.is_special(0));
  REQUIRE_FALSE(t.find("nothing like it"));
  REQUIRE(t.decode(Ids{-1, 1 << 20}) == "");
}

TEST_CASE("TokenStream: a character of several tokens comes with its last", "[tokenizer]") {
  const Tokenizer t = Tokenizer::load(folder() + "neox.json");
  const Ids ids = t.encode("\xf0\x9f\x98\x80");
  REQUIRE(ids.size() == 4);
  TokenStream stream(t);
  for (std::size_t i = 0; i < 3; ++i) REQUIRE(stream.push(ids[i]) == "");
  REQUIRE(stream.push(ids[3]) == "\xf0\x9f\x98\x80");
  stream.push(ids[0]);
  REQUIRE(stream.finish() == "\xef\xbf\xbd");
}

TEST_CASE("Tokenizer: long words do not take the square of their length", "[tokenizer]") {
  const Tokenizer t = Tokenizer::load(folder() + "neox.json");
  const std::string text(200000, 't');
  REQUIRE(t.decode(t.encode(text)) == text);
}

TEST_CASE("Tokenizer: text that is no UTF-8 is refused", "[tokenizer]") {
  const Tokenizer t = Tokenizer::load(folder() + "neox.json");
  REQUIRE_THROWS_WITH(t.encode("ab\xff"),
                      "tokenizer: text: expected UTF-8, found a broken character at byte 2");
}

TEST_CASE("Tokenizer: what is not supported is named", "[tokenizer]") {
  REQUIRE(message(small()) == "loaded");
  Json j = small();
  j["model"]["type"] = "Unigram";
  REQUIRE(message(j) == "t.json: model: expected BPE (others are not supported), found 'Unigram'");
  j = small();
  j["normalizer"] = {{"type", "NFKC"}};
  REQUIRE(message(j).find("normalizer: expected NFC, NFD or Sequence") != std::string::npos);
  j = small();
  j["pre_tokenizer"] = {{"type", "Metaspace"}};
  REQUIRE(message(j).find("found 'Metaspace'") != std::string::npos);
  j["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "a+"}}}, {"behavior", "Isolated"}};
  REQUIRE(message(j).find("found 'a+'") != std::string::npos);
  j = small();
  j["decoder"] = {{"type", "WordPiece"}};
  REQUIRE(message(j).find("found 'WordPiece'") != std::string::npos);
  j = small();
  j["post_processor"] = {{"type", "BertProcessing"}};
  REQUIRE(message(j).find("found 'BertProcessing'") != std::string::npos);
  j = small();
  j["model"]["dropout"] = 0.1;
  REQUIRE(message(j).find("model: dropout") != std::string::npos);
}

TEST_CASE("Tokenizer: hostile files are refused in one line", "[tokenizer]") {
  REQUIRE(message(Json::object()) == "t.json: model: expected object, found nothing");
  Json j = small();
  j["model"]["merges"].push_back("the nowhere");
  REQUIRE(message(j).find("expected the token 'the' in the vocabulary") != std::string::npos);
  for (const Json& merge : {Json("one"), Json("a b c"), Json(7), Json({"a"}), Json({"a", 1})}) {
    j = small();
    j["model"]["merges"].push_back(merge);
    REQUIRE(message(j).find("merges: expected two tokens") != std::string::npos);
  }
  for (const Json& id : {Json(-1), Json(1.5), Json("x"), Json(1e30), Json(std::int64_t{1} << 40)}) {
    j = small();
    j["model"]["vocab"]["fresh"] = id;
    REQUIRE(message(j).find("'fresh': expected an id") != std::string::npos);
  }
  j = small();
  j["model"]["vocab"]["fresh"] = 5;
  REQUIRE(message(j).find("expected an id of its own, found 5") != std::string::npos);
  j = small();
  j["added_tokens"].push_back({{"content", "<new>"}, {"id", 5}});
  REQUIRE(message(j).find("'<new>': expected an id of its own, found 5") != std::string::npos);
  j = small();
  j["added_tokens"].push_back({{"content", "<new>"}});
  REQUIRE(message(j).find("expected an id, found none") != std::string::npos);
  j = small();
  j["added_tokens"][0]["id"] = 1000;
  REQUIRE(message(j).find("as in the vocabulary, found 1000") != std::string::npos);
  j = small();
  j["model"]["merges"] = "a b";
  REQUIRE(message(j) == "t.json: merges: expected array, found string");
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  j = small();
  j["normalizer"] = deep;
  REQUIRE(message(j).find("nesting") != std::string::npos);
  REQUIRE_THROWS_AS(Tokenizer::load(folder()), LoadError);
  REQUIRE_THROWS_AS(Tokenizer::load(folder() + "none.json"), LoadError);
}

TEST_CASE("Tokenizer: a file cannot ask for endless work on a text", "[tokenizer]") {
  // Each step is a call within the last one: 50000 of them were a stack overflow.
  const auto steps = [](const char* what, const char* list, const Json& step, int count) {
    Json j = small();
    j[what] = {{"type", "Sequence"}, {list, Json(static_cast<std::size_t>(count), step)}};
    return message(j);
  };
  const Json digits = {{"type", "Digits"}}, nfd = {{"type", "NFD"}};
  REQUIRE(steps("pre_tokenizer", "pretokenizers", digits, 64) == "loaded");
  REQUIRE(steps("pre_tokenizer", "pretokenizers", digits, 50000) ==
          "t.json: pre_tokenizer: steps: expected at most 64, found more");
  REQUIRE(steps("normalizer", "normalizers", nfd, 64) == "loaded");
  REQUIRE(steps("normalizer", "normalizers", nfd, 65) ==
          "t.json: normalizer: steps: expected at most 64, found more");
  // A thousand times a thousand tokens before each text.
  Json j = small();
  const Json special = {{"SpecialToken", {{"id", "x"}}}};
  Json single(std::size_t{1000}, special);
  single.push_back({{"Sequence", {{"id", "A"}}}});
  j["post_processor"] = {{"type", "TemplateProcessing"},
                         {"single", single},
                         {"special_tokens", {{"x", {{"ids", Json(std::size_t{1000}, 0)}}}}}};
  REQUIRE(message(j) == "t.json: post_processor: ids: expected at most 1024, found more");
  j["post_processor"]["special_tokens"]["x"]["ids"] = Json::array({0});
  REQUIRE(message(j) == "loaded");
}

TEST_CASE("Tokenizer: the largest file can be asked to be another", "[tokenizer]") {
  const std::string text = small().dump();
  JsonLimits limits;
  limits.bytes = text.size();
  REQUIRE(Tokenizer::parse(text, "t.json", limits).size() > 0);
  --limits.bytes;
  REQUIRE_THROWS_AS(Tokenizer::parse(text, "t.json", limits), LoadError);
  REQUIRE_THROWS_AS(Tokenizer::load(folder() + "neox.json", JsonLimits{100, 64}), LoadError);
}

TEST_CASE("Tokenizer: every cut of a file is refused", "[tokenizer]") {
  const std::string text = sequin_test::read_file(folder() + "unknown.json");
  for (std::size_t n = 0; n < text.size(); ++n)
    REQUIRE_THROWS_AS(Tokenizer::parse(text.substr(0, n)), LoadError);
}
