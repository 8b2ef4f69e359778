/// Byte-pair encoding: a word's characters are merged pair by pair, the earliest learnt pair first.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/io/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Looks texts up without copying them.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const noexcept {
    return std::hash<std::string_view>{}(s);
  }
};
template <class V>
using TextMap = std::unordered_map<std::string, V, TextHash, std::equal_to<>>;

}  // namespace detail

/// The model "BPE" of a tokenizer.json: vocabulary and merges, as `models/bpe/model.rs` of
/// huggingface/tokenizers applies them. Sennrich et al., "Neural Machine Translation of Rare Words
/// with Subword Units", ACL 2016.
class BytePairs {
 public:
  detail::TextMap<std::int64_t> vocab;  ///< text of a token to its id
  std::optional<std::int64_t> unknown;  ///< what a character outside the vocabulary becomes
  bool fuse_unknown = false;            ///< a row of them becomes one
  bool byte_fallback = false;  ///< such a character becomes its bytes' tokens <0x00>..<0xFF>
  bool ignore_merges = false;  ///< a word of the vocabulary is taken as it is

  /// Adds the next merge. Throws LoadError beginning with `label` when a part or the whole is no
  /// token. A pair that comes again takes the later rank, as in the official code.
  void add_merge(std::string_view a, std::string_view b, const std::string& label) {
    const auto id = [&](const std::string& text) {
      const auto found = vocab.find(text);
      if (found == vocab.end())
        throw LoadError(label + ": merge " + std::to_string(count_ + 1) + ": expected the token '" +
                        detail::printable(text) + "' in the vocabulary, found none");
      return found->second;
    };
    const std::int64_t left = id(std::string(a)), right = id(std::string(b));
    merges_[key(left, right)] = Merge{count_++, id(std::string(a) + std::string(b))};
  }

  /// Appends the tokens of one word. Characters that are in no way in the vocabulary are left out,
  /// as in the official code. n log n for n characters.
  void encode(std::string_view word, std::vector<std::int64_t>& out) const {
    if (ignore_merges)
      if (const auto found = vocab.find(word); found != vocab.end()) {
        out.push_back(found->second);
        return;
      }
    std::vector<Symbol> symbols = characters(word);
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto consider = [&](std::size_t left) {
      const std::size_t right = symbols[left].next;
      if (right >= symbols.size()) return;
      if (const Merge* m = find(symbols[left].id, symbols[right].id))
        queue.push({m->rank, left, m->id});
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) consider(i);
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[top.left];
      if (left.merged || left.next >= symbols.size()) continue;
      Symbol& right = symbols[left.next];
      // What stood here may have become something else meanwhile.
      const Merge* const m = find(left.id, right.id);
      if (m == nullptr || m->id != top.id) continue;
      left.id = top.id;
      right.merged = true;
      left.next = right.next;
      if (left.next < symbols.size()) symbols[left.next].before = top.left;
      consider(top.left);
      if (left.before < symbols.size()) consider(left.before);
    }
    for (const Symbol& s : symbols)
      if (!s.merged) out.push_back(s.id);
  }

 private:
  struct Merge {
    std::uint32_t rank = 0;
    std::int64_t id = 0;
  };
  struct Symbol {
    std::int64_t id = 0;
    std::size_t before = 0, next = 0;  // out of range: none
    bool merged = false;               // into the one before
  };
  struct Candidate {
    std::uint32_t rank;
    std::size_t left;
    std::int64_t id;
    bool operator>(const Candidate& other) const noexcept {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  // Ids are below 2^31: see Tokenizer.
  static std::uint64_t key(std::int64_t a, std::int64_t b) noexcept {
    return static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint64_t>(b);
  }
  const Merge* find(std::int64_t a, std::int64_t b) const noexcept {
    const auto found = merges_.find(key(a, b));
    return found == merges_.end() ? nullptr : &found->second;
  }

  std::vector<Symbol> characters(std::string_view word) const {
    std::vector<Symbol> symbols;
    // As in the official code an unknown character waits for the next one of the vocabulary, so
    // that bytes which stand in for a character between the two come before it.
    bool waiting = false;
    const auto flush = [&] {
      if (waiting) symbols.push_back({*unknown});
      waiting = false;
    };
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view c = word.substr(at, detail::first_piece(word.substr(at)).length);
      at += c.size();
      if (const auto found = vocab.find(c); found != vocab.end()) {
        flush();
        symbols.push_back({found->second});
      } else if (!(byte_fallback && append_bytes(c, symbols)) && unknown) {
        if (!fuse_unknown) flush();
        waiting = true;
      }
    }
    flush();
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].before = i - 1;  // of the first: out of range
      symbols[i].next = i + 1;
    }
    return symbols;
  }

  bool append_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
    static constexpr char kHex[] = "0123456789ABCDEF";
    std::vector<Symbol> bytes;
    for (const char c : character) {
      const auto u = static_cast<unsigned char>(c);
      const auto found = vocab.find(std::string("<0x") + kHex[u >> 4] + kHex[u & 15] + ">");
      if (found == vocab.end()) return false;
      bytes.push_back({found->second});
    }
    symbols.insert(symbols.end(), bytes.begin(), bytes.end());
    return true;
  }

  std::unordered_map<std::uint64_t, Merge> merges_;
  std::uint32_t count_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
