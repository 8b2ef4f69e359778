/// Reads a tokenizer.json, the format of huggingface/tokenizers.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/io/added_tokens.hpp"
#include "sequin/io/bpe.hpp"
#include "sequin/io/json.hpp"
#include "sequin/io/read_file.hpp"
#include "sequin/io/split_text.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sequin::inline SEQUIN_ABI::detail {

/// One step that cuts words smaller.
struct SplitStep {
  enum class Kind { kPattern, kDigits, kDigitRuns } kind = Kind::kPattern;
  WordPattern pattern{};
};

/// What a tokenizer.json says.
struct TokenizerParts {
  BytePairs model;
  std::vector<AddedToken> added;
  std::vector<NormalForm> normal_forms;
  std::vector<SplitStep> steps;
  std::size_t steps_before_prefix = 0;  ///< the space is put before what these leave
  bool byte_level = false, prefix_space = false, byte_decoder = false;
  std::vector<std::int64_t> before, after;  ///< put around a text

  /// The JSON of a file. Throws LoadError: FILE: entry: expected, found.
  static TokenizerParts parse(std::string_view text, const std::string& label,
                              const JsonLimits& limits);
};

#if SEQUIN_BODIES

class TokenizerReader {
 public:
  using Json = nlohmann::json;

  TokenizerReader(std::string label, TokenizerParts& parts)
      : label_(std::move(label)), parts_(parts) {}

  void read(const Json& json) {
    read_model(entry(json, "model", Json::value_t::object));
    read_added(json);
    if (const Json* n = maybe(json, "normalizer")) read_normalizer(*n);
    if (const Json* p = maybe(json, "pre_tokenizer")) read_pre_tokenizer(*p);
    if (const Json* p = maybe(json, "post_processor")) read_post_processor(*p);
    if (const Json* d = maybe(json, "decoder")) {
      if (type_of(*d, "decoder") != "ByteLevel")
        unsupported("decoder", "ByteLevel", type_of(*d, "decoder"));
      parts_.byte_decoder = true;
    }
  }

 private:
  static constexpr std::int64_t kMaxId = (std::int64_t{1} << 31) - 1;
  // Text passes every step, one within the other, and gets every token around it: published files
  // have at most a handful.
  static constexpr std::size_t kMaxSteps = 64, kMaxAround = 1024;

  [[noreturn]] void fail(const std::string& what) const { throw LoadError(label_ + ": " + what); }
  [[noreturn]] void unsupported(const std::string& what, const std::string& expected,
                                const std::string& found) const {
    fail(what + ": expected " + expected + " (others are not supported), found '" +
         printable(found) + "'");
  }

  void limit(const std::string& what, std::size_t count, std::size_t most) const {
    if (count > most) fail(what + ": expected at most " + std::to_string(most) + ", found more");
  }

  /// nullptr when absent or null.
  static const Json* maybe(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  const Json& entry(const Json& object, const char* key, Json::value_t type) const {
    const Json* const v = object.is_object() ? maybe(object, key) : nullptr;
    if (v == nullptr || v->type() != type)
      fail(std::string(key) + ": expected " + std::string(Json(type).type_name()) + ", found " +
           (v == nullptr ? "nothing" : v->type_name()));
    return *v;
  }
  bool flag(const Json& object, const char* key, bool fallback) const {
    const Json* const v = maybe(object, key);
    if (v == nullptr) return fallback;
    if (!v->is_boolean())
      fail(std::string(key) + ": expected true or false, found " + v->type_name());
    return v->get<bool>();
  }
  std::string type_of(const Json& object, const char* what) const {
    if (!object.is_object())
      fail(std::string(what) + ": expected an object, found " + object.type_name());
    return entry(object, "type", Json::value_t::string).get<std::string>();
  }
  std::int64_t id_of(const Json& v, const std::string& what) const {
    if (!v.is_number_integer() || v.is_number_float() || v < 0 || v > kMaxId)
      fail(what + ": expected an id from 0 to " + std::to_string(kMaxId) + ", found " +
           printable(v.dump(-1, ' ', false, Json::error_handler_t::replace), 40));
    return v.get<std::int64_t>();
  }

  void read_model(const Json& json) {
    // Old files leave the type out.
    if (maybe(json, "type") != nullptr && type_of(json, "model") != "BPE")
      unsupported("model", "BPE", type_of(json, "model"));
    BytePairs& m = parts_.model;
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const Json* v = maybe(json, key); v != nullptr && *v != "")
        unsupported(std::string("model: ") + key, "null", v->dump(-1, ' ', true));
    if (const Json* v = maybe(json, "dropout"); v != nullptr && *v != 0.0)
      unsupported("model: dropout", "null", v->dump(-1, ' ', true));
    std::unordered_map<std::int64_t, std::string_view> seen;
    for (const auto& [token, id] : entry(json, "vocab", Json::value_t::object).items()) {
      const std::int64_t value = id_of(id, "model: vocab: '" + printable(token) + "'");
      const auto [at, fresh] = m.vocab.emplace(token, value);
      const auto [other, alone] = seen.emplace(value, at->first);
      if (!fresh || !alone)
        fail("model: vocab: '" + printable(token) + "': expected an id of its own, found " +
             std::to_string(value) + " as '" + printable(other->second) + "'");
    }
    for (const Json& merge : entry(json, "merges", Json::value_t::array)) read_merge(merge);
    if (const Json* v = maybe(json, "unk_token")) {
      const auto found = v->is_string() ? m.vocab.find(v->get<std::string>()) : m.vocab.end();
      if (found == m.vocab.end()) fail("model: unk_token: expected a token of the vocabulary");
      m.unknown = found->second;
    }
    m.fuse_unknown = flag(json, "fuse_unk", false);
    m.byte_fallback = flag(json, "byte_fallback", false);
    m.ignore_merges = flag(json, "ignore_merges", false);
  }

  /// "a b", or ["a", "b"] in newer files.
  void read_merge(const Json& merge) {
    std::string a, b;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) return;
      const auto space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        a = text.substr(0, space);
        b = text.substr(space + 1);
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      a = merge[0].get<std::string>();
      b = merge[1].get<std::string>();
    }
    if (a.empty() || b.empty())
      fail("model: merges: expected two tokens, found " +
           printable(merge.dump(-1, ' ', false, Json::error_handler_t::replace)));
    parts_.model.add_merge(a, b, label_ + ": model");
  }

  void read_added(const Json& json) {
    if (maybe(json, "added_tokens") == nullptr) return;
    std::unordered_map<std::int64_t, std::string> by_id;
    for (const auto& [token, id] : parts_.model.vocab) by_id.emplace(id, token);
    for (const Json& t : entry(json, "added_tokens", Json::value_t::array)) {
      AddedToken token;
      token.content = entry(t, "content", Json::value_t::string).get<std::string>();
      const std::string what = "added_tokens: '" + printable(token.content) + "'";
      if (maybe(t, "id") == nullptr) fail(what + ": expected an id, found none");
      token.id = id_of(*maybe(t, "id"), what);
      token.special = flag(t, "special", false);
      token.single_word = flag(t, "single_word", false);
      token.lstrip = flag(t, "lstrip", false);
      token.rstrip = flag(t, "rstrip", false);
      token.normalized = flag(t, "normalized", !token.special);
      const auto [other, fresh] = by_id.emplace(token.id, token.content);
      if (!fresh && other->second != token.content)
        fail(what + ": expected an id of its own, found " + std::to_string(token.id) + " as '" +
             printable(other->second) + "'");
      if (const auto known = parts_.model.vocab.find(token.content);
          known != parts_.model.vocab.end() && known->second != token.id)
        fail(what + ": expected the id " + std::to_string(known->second) +
             " as in the vocabulary, found " + std::to_string(token.id));
      parts_.added.push_back(std::move(token));
    }
  }

  void read_normalizer(const Json& json) {
    const std::string type = type_of(json, "normalizer");
    if (type == "NFC" || type == "NFD")
      parts_.normal_forms.push_back(type == "NFC" ? NormalForm::kNFC : NormalForm::kNFD);
    else if (type == "Sequence")
      for (const Json& n : entry(json, "normalizers", Json::value_t::array)) read_normalizer(n);
    else
      unsupported("normalizer", "NFC, NFD or Sequence", type);
    limit("normalizer: steps", parts_.normal_forms.size(), kMaxSteps);
  }

  void read_pre_tokenizer(const Json& json) {
    const std::string type = type_of(json, "pre_tokenizer");
    if (parts_.byte_level && type != "Sequence")
      fail("pre_tokenizer: expected ByteLevel last, found '" + printable(type) + "' after it");
    if (type == "Sequence") {
      for (const Json& p : entry(json, "pretokenizers", Json::value_t::array))
        read_pre_tokenizer(p);
    } else if (type == "ByteLevel") {
      parts_.byte_level = true;
      parts_.prefix_space = flag(json, "add_prefix_space", true);
      parts_.steps_before_prefix = parts_.steps.size();
      if (flag(json, "use_regex", true)) parts_.steps.push_back({});
    } else if (type == "Digits") {
      parts_.steps.push_back({flag(json, "individual_digits", false) ? SplitStep::Kind::kDigits
                                                                     : SplitStep::Kind::kDigitRuns,
                              {}});
    } else if (type == "Split") {
      read_split(json);
    } else {
      unsupported("pre_tokenizer", "ByteLevel, Split, Digits or Sequence", type);
    }
    limit("pre_tokenizer: steps", parts_.steps.size(), kMaxSteps);
  }

  void read_split(const Json& json) {
    const Json& pattern = entry(json, "pattern", Json::value_t::object);
    const Json* const regex = maybe(pattern, "Regex");
    const std::string text =
        regex != nullptr && regex->is_string() ? regex->get<std::string>() : "";
    const auto known = WordPattern::find(text);
    if (!known)
      unsupported("pre_tokenizer: Split: pattern", "the expression of GPT-2, Llama 3 or Qwen 2",
                  regex == nullptr ? pattern.dump(-1, ' ', true) : text);
    // The expressions cover all text: what matches are the words, and between them is nothing.
    const auto behavior = entry(json, "behavior", Json::value_t::string).get<std::string>();
    const bool invert = flag(json, "invert", false);
    if (behavior != "Isolated" && !(behavior == "Removed" && invert))
      unsupported("pre_tokenizer: Split: behavior", "Isolated", behavior);
    parts_.steps.push_back({SplitStep::Kind::kPattern, *known});
  }

  void read_post_processor(const Json& json) {
    const std::string type = type_of(json, "post_processor");
    if (type == "ByteLevel") return;  // concerns offsets alone
    if (type == "Sequence") {
      for (const Json& p : entry(json, "processors", Json::value_t::array)) read_post_processor(p);
      return;
    }
    if (type != "TemplateProcessing")
      unsupported("post_processor", "ByteLevel, TemplateProcessing or Sequence", type);
    const Json& specials = entry(json, "special_tokens", Json::value_t::object);
    bool text_seen = false;
    for (const Json& piece : entry(json, "single", Json::value_t::array)) {
      if (!piece.is_object())
        fail("post_processor: single: expected objects, found " + std::string(piece.type_name()));
      if (maybe(piece, "Sequence") != nullptr) {
        if (text_seen) fail("post_processor: single: expected the text once, found it twice");
        text_seen = true;
        continue;
      }
      const Json& special = entry(piece, "SpecialToken", Json::value_t::object);
      const auto name = entry(special, "id", Json::value_t::string).get<std::string>();
      const Json& ids =
          entry(entry(specials, name.c_str(), Json::value_t::object), "ids", Json::value_t::array);
      for (const Json& id : ids)
        (text_seen ? parts_.after : parts_.before).push_back(id_of(id, "post_processor: ids"));
      limit("post_processor: ids", parts_.before.size() + parts_.after.size(), kMaxAround);
    }
    if (!text_seen) fail("post_processor: single: expected the text, found it nowhere");
  }

  std::string label_;
  TokenizerParts& parts_;
};

SEQUIN_INLINE TokenizerParts TokenizerParts::parse(std::string_view text, const std::string& label,
                                                   const JsonLimits& limits) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  TokenizerParts parts;
  TokenizerReader(label, parts).read(parse_json_object(text, label, limits));
  return parts;
}

#endif

}  // namespace sequin::inline SEQUIN_ABI::detail
