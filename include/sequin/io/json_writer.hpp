/// Writes JSON for metrics and configurations, without a JSON library.
#pragma once

#include "sequin/io/json_text.hpp"
#include "sequin/io/number_text.hpp"

#include <cmath>
#include <concepts>
#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// Calls follow the grammar: begin_object, key, value, ..., end_object; commas are put in between.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name) {
    separate();
    text_ += detail::json_text(name) + ": ";
    fresh_ = true;
    return *this;
  }
  /// The shortest text that reads back as the same number; null for infinity and NaN.
  JsonWriter& value(double number) {
    separate();
    if (!std::isfinite(number)) {
      text_ += "null";
      return *this;
    }
    text_ += detail::shortest_text(number);
    return *this;
  }
  /// A whole number, exactly; true or false for a bool.
  template <std::integral I>
  JsonWriter& value(I number) {
    separate();
    if constexpr (std::same_as<I, bool>)
      text_ += number ? "true" : "false";
    else
      text_ += std::to_string(number);
    return *this;
  }
  JsonWriter& null() {
    separate();
    text_ += "null";
    return *this;
  }
  JsonWriter& value(std::string_view text) {
    separate();
    text_ += detail::json_text(text);
    return *this;
  }
  const std::string& text() const noexcept { return text_; }

 private:
  JsonWriter& open(char c) {
    separate();
    text_ += c;
    fresh_ = true;
    return *this;
  }
  JsonWriter& close(char c) {
    text_ += c;
    fresh_ = false;
    return *this;
  }
  void separate() {
    if (!fresh_) text_ += ", ";
    fresh_ = false;
  }

  std::string text_;
  bool fresh_ = true;
};

}  // namespace sequin::inline SEQUIN_ABI
