/// Opt-in: text to token ids and back, by the tokenizer.json that published language models come
/// with.
#pragma once

#include "sequin/io/tokenizer_file.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Byte-level byte-pair encoding as huggingface/tokenizers does it: GPT-NeoX and so Mamba, GPT-2,
/// Llama 3, Qwen 2. Supported are the model BPE, the normalizers NFC and NFD, the pre-tokenizers
/// ByteLevel, Digits and Split with those models' expressions, added tokens with all their flags,
/// the post-processors ByteLevel and TemplateProcessing and the decoder ByteLevel; a file with
/// anything else is refused with its name. `truncation` and `padding` of the file are not applied.
/// Thread-safe; a copy shares what was loaded. Not included by any other header.
class Tokenizer {
 public:
  /// A tokenizer.json. Throws LoadError naming file, entry, expected and found: no such file, more
  /// than the limits allow, a merge of tokens that are none, an id twice, an unsupported part.
  static Tokenizer load(const std::filesystem::path& path, const JsonLimits& limits = {}) {
    return parse(read_file(path, limits.bytes), detail::printable(path.string(), 400), limits);
  }
  /// The same from memory; `label` begins the messages.
  static Tokenizer parse(std::string_view text, const std::string& label = "tokenizer.json",
                         const JsonLimits& limits = {}) {
    return Tokenizer(detail::TokenizerParts::parse(text, label, limits));
  }

  /// The tokens of a text (UTF-8); those that the post-processor puts around it only when asked
  /// for. Added tokens such as <|endoftext|> are found in the text too. Throws ConfigError when the
  /// text is not UTF-8. n log n for n bytes.
  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens = true) const {
    if (const std::size_t at = find_broken_utf8(text); at != std::string_view::npos)
      throw ConfigError("tokenizer: text: expected UTF-8, found a broken character at byte " +
                        std::to_string(at));
    const detail::TokenizerParts& p = data_->parts;
    std::vector<std::int64_t> ids;
    if (add_special_tokens) ids = p.before;
    for (const auto& part : data_->as_given.split(text)) {
      if (part.token != nullptr) {
        ids.push_back(part.token->id);
        continue;
      }
      const std::string normal = data_->normalized(part.text);
      for (const auto& inner : data_->normalised.split(normal)) {
        if (inner.token != nullptr)
          ids.push_back(inner.token->id);
        else
          encode_plain(inner.text, ids);
      }
    }
    if (add_special_tokens) ids.insert(ids.end(), p.after.begin(), p.after.end());
    return ids;
  }

  /// The text of tokens; what is no UTF-8 becomes U+FFFD. Ids that are no token are left out, as in
  /// the official code, and special ones unless they are asked for.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens = true) const;

  /// The id of a token by its content, as the file spells it.
  std::optional<std::int64_t> find(std::string_view content) const {
    for (const AddedToken& t : data_->parts.added)
      if (t.content == content) return t.id;
    const auto found = data_->parts.model.vocab.find(content);
    if (found == data_->parts.model.vocab.end()) return std::nullopt;
    return found->second;
  }
  /// True for tokens that `decode` leaves out.
  bool is_special(std::int64_t id) const {
    const auto found = data_->tokens.find(id);
    return found != data_->tokens.end() && found->second.special;
  }
  /// One more than the largest id: a model needs at least so many rows of its embedding.
  std::int64_t size() const noexcept { return data_->size; }

  /// The bytes that a token stands for; nothing for an id that is no token.
  std::string_view bytes_of(std::int64_t id) const {
    const auto found = data_->tokens.find(id);
    return found == data_->tokens.end() ? std::string_view{}
                                        : std::string_view(found->second.bytes);
  }
  /// True when text is made by joining tokens with spaces: the file names no decoder.
  bool joins_with_spaces() const noexcept { return !data_->parts.byte_decoder; }

 private:
  struct Token {
    std::string bytes;
    bool special = false;
  };

  struct Data {
    detail::TokenizerParts parts;
    detail::AddedTokenFinder as_given, normalised;
    std::unordered_map<std::int64_t, Token> tokens;
    std::array<std::string, 256> characters;  // of the bytes, in the byte-level alphabet
    std::int64_t size = 0;

    std::string normalized(std::string_view text) const {
      std::string s(text);
      for (const NormalForm form : parts.normal_forms) s = normalize(s, form);
      return s;
    }
  };

  explicit Tokenizer(detail::TokenizerParts parts) {
    auto data = std::make_shared<Data>();
    data->parts = std::move(parts);
    // GPT-2's alphabet: bytes that print stand for themselves, the others for U+0100 and on.
    std::unordered_map<char32_t, char> byte_of;
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = prints ? b : next++;
      detail::append_utf8(data->characters[b], c);
      byte_of[c] = static_cast<char>(static_cast<unsigned char>(b));
    }
    const auto keep = [&](const std::string& content, std::int64_t id, bool special) {
      std::string bytes = content;
      if (data->parts.byte_decoder) {
        bytes.clear();
        for (std::size_t at = 0; at < content.size();) {
          const auto piece = detail::first_piece(std::string_view(content).substr(at));
          const auto found = byte_of.find(piece.code_point);
          at += piece.length;
          if (!piece.whole || found == byte_of.end()) {
            bytes = content;  // not in the alphabet: a token that was added as it is
            break;
          }
          bytes += found->second;
        }
      }
      data->tokens[id] = Token{std::move(bytes), special};
      data->size = (std::max)(data->size, id + 1);
    };
    for (const auto& [content, id] : data->parts.model.vocab) keep(content, id, false);
    for (const AddedToken& t : data->parts.added) {
      keep(t.content, t.id, t.special);
      if (t.normalized)
        data->normalised.add(t, data->normalized(t.content));
      else
        data->as_given.add(t, t.content);
    }
    data_ = std::move(data);
  }

  static std::vector<std::string_view> cut(std::string_view text, const detail::SplitStep& step) {
    using Kind = detail::SplitStep::Kind;
    if (step.kind == Kind::kPattern) return split_words(text, step.pattern);
    std::vector<std::string_view> pieces;
    std::size_t begin = 0;
    bool in_number = false;
    for (std::size_t at = 0; at < text.size();) {
      const auto piece = detail::first_piece(text.substr(at));
      const bool number = is_number(piece.code_point);
      if (at > begin && (number != in_number || (number && step.kind == Kind::kDigits))) {
        pieces.push_back(text.substr(begin, at - begin));
        begin = at;
      }
      in_number = number;
      at += piece.length;
    }
    if (begin < text.size()) pieces.push_back(text.substr(begin));
    return pieces;
  }

  /// Cuts by the steps from `step` on; each word goes through the model.
  void encode_word(std::string_view text, std::size_t step, std::vector<std::int64_t>& ids) const {
    const detail::TokenizerParts& p = data_->parts;
    std::string spaced;
    if (p.byte_level && p.prefix_space && step == p.steps_before_prefix && !text.starts_with(' ')) {
      spaced = " " + std::string(text);
      text = spaced;
    }
    if (step < p.steps.size()) {
      for (const std::string_view word : cut(text, p.steps[step])) encode_word(word, step + 1, ids);
      return;
    }
    if (!p.byte_level) {
      p.model.encode(text, ids);
      return;
    }
    std::string mapped;
    for (const char c : text) mapped += data_->characters[static_cast<unsigned char>(c)];
    p.model.encode(mapped, ids);
  }
  void encode_plain(std::string_view text, std::vector<std::int64_t>& ids) const {
    encode_word(text, 0, ids);
  }

  std::shared_ptr<const Data> data_;
};

/// Text from tokens as they come: `push` gives what is complete, a character whose bytes are spread
/// over several tokens is held back until its last one.
class TokenStream {
 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special_tokens = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special_tokens) {}

  std::string push(std::int64_t id) {
    if (skip_special_ && tokenizer_.is_special(id)) return {};
    const std::string_view bytes = tokenizer_.bytes_of(id);
    std::string text;
    if (tokenizer_.joins_with_spaces() && !bytes.empty()) {
      if (!first_) text = utf8_.push(" ");
      first_ = false;
    }
    return text + utf8_.push(bytes);
  }
  /// What is held back, as U+FFFD. The stream then begins anew.
  std::string finish() {
    first_ = true;
    return utf8_.finish();
  }

 private:
  Tokenizer tokenizer_;
  Utf8Stream utf8_;
  bool skip_special_ = true, first_ = true;
};

inline std::string Tokenizer::decode(std::span<const std::int64_t> ids,
                                     bool skip_special_tokens) const {
  TokenStream stream(*this, skip_special_tokens);
  std::string text;
  for (const std::int64_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

}  // namespace sequin::inline SEQUIN_ABI
