/// The only header that includes a JSON library.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/error.hpp"

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What a JSON file may ask of a reader.
struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  int depth = 64;  ///< of objects and lists in each other
};

}  // namespace sequin::inline SEQUIN_ABI

#if SEQUIN_BODIES
#include <nlohmann/json.hpp>

namespace sequin::inline SEQUIN_ABI::detail {

/// A text in JSON's escapes that `text` does not contain; empty when there is no short one.
inline std::string unused_mark(std::string_view text) {
  std::string mark;
  for (int i = 0; i < 8; ++i) {
    mark += "\\u0001";
    if (text.find(mark) == std::string_view::npos) return mark;
  }
  return {};
}

/// Python's `json` writes Infinity, -Infinity and NaN as bare words; they become texts that begin
/// with `mark`.
inline std::string quote_bare_words(std::string_view text, const std::string& mark) {
  std::string out;
  out.reserve(text.size() + 16);
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      out += c;
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      if (c == '"') in_text = false;
      continue;
    }
    in_text = c == '"';
    bool replaced = false;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (text.substr(i, word.size()) != word) continue;
      out += '"' + mark + std::string(word) + '"';
      i += word.size() - 1;
      replaced = true;
      break;
    }
    if (!replaced) out += c;
  }
  return out;
}

/// Parses an object. Refuses, with a LoadError that begins with `label`: what is beyond the limits,
/// a key twice in an object, and what is no JSON (but Infinity, -Infinity and NaN).
inline nlohmann::json parse_json_object(std::string_view text, const std::string& label,
                                        const JsonLimits& limits) {
  const auto fail = [&](const std::string& what) { throw LoadError(label + ": " + what); };
  if (text.size() > limits.bytes)
    fail("expected at most " + std::to_string(limits.bytes) + " bytes of JSON, found " +
         std::to_string(text.size()));
  // The parser takes it for the end and never sees what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail("expected JSON, found a NUL byte at byte " + std::to_string(nul));
  // Depth first: a parser's own recursion (and that of destruction) is then bounded.
  int depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
      continue;
    }
    in_text = c == '"';
    if ((c == '[' || c == '{') && ++depth > limits.depth)
      fail("expected nesting of at most " + std::to_string(limits.depth) + ", found more");
    if (c == ']' || c == '}') --depth;
  }
  using Json = nlohmann::json;
  const std::string mark = unused_mark(text);
  if (mark.empty()) fail("expected texts, found a row of control characters");
  const std::string parsed_mark(mark.size() / 6, '\x01');
  std::vector<std::unordered_set<std::string>> keys;
  const Json::parser_callback_t once = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string key = parsed.get<std::string>();
      if (key.starts_with(parsed_mark))
        fail("expected a key, found " + key.substr(parsed_mark.size()));
      if (!keys.back().insert(key).second)
        fail("'" + printable(key) + "': expected once, found twice");
    }
    if (event == Json::parse_event_t::value && parsed.is_string()) {
      const auto& s = parsed.get_ref<const std::string&>();
      if (s.starts_with(parsed_mark)) {
        using Limits = std::numeric_limits<double>;
        const std::string word = s.substr(parsed_mark.size());
        parsed = word == "NaN" ? Limits::quiet_NaN()
                               : (word == "Infinity" ? 1.0 : -1.0) * Limits::infinity();
      }
    }
    return true;
  };
  Json value;
  try {
    value = Json::parse(quote_bare_words(text, mark), once);
  } catch (const Json::exception& e) {
    std::string what = e.what();
    if (const auto bracket = what.find("] "); bracket != std::string::npos)
      what = what.substr(bracket + 2);
    fail("expected JSON, found " + printable(what, 200));
  }
  if (!value.is_object()) fail("expected a JSON object, found " + std::string(value.type_name()));
  return value;
}

}  // namespace sequin::inline SEQUIN_ABI::detail
#else
#include <nlohmann/json_fwd.hpp>
#endif
