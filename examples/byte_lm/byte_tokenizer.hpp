/// A tokenizer.json whose tokens are the 256 bytes, so that `sequin generate` reads and writes
/// text.
#pragma once

#include "sequin/io/json_writer.hpp"
#include "sequin/io/utf8.hpp"

#include <string>

namespace sequin_bytes {

/// Byte-pair encoding without a pair: token i is byte i, under the visible character that GPT-2's
/// `bytes_to_unicode` gives it.
inline std::string byte_tokenizer_json() {
  sequin::JsonWriter w;
  w.begin_object().key("model").begin_object().key("type").value("BPE");
  w.key("vocab").begin_object();
  char32_t hidden = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool visible =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string name;
    sequin::detail::append_utf8(name, visible ? byte : hidden++);
    w.key(name).value(static_cast<int>(byte));
  }
  w.end_object().key("merges").begin_array().end_array().end_object();
  w.key("pre_tokenizer").begin_object().key("type").value("ByteLevel");
  w.key("add_prefix_space").value(false).key("use_regex").value(false).end_object();
  w.key("decoder").begin_object().key("type").value("ByteLevel").end_object();
  return w.end_object().text() + "\n";
}

}  // namespace sequin_bytes
