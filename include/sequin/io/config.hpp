/// Hyper-parameters from config.json, every value checked where it is taken.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/io/json.hpp"
#include "sequin/io/read_file.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// A JSON object. Getters take the key, a default for when it is absent or null, and the range that
/// the value must lie in; they throw ConfigError: "FILE: key: expected an integer 1 to 4096, found
/// 8.5".
class Config {
 public:
  /// Throws LoadError when the file is not there, is no JSON object or is beyond the limits.
  static Config load(const std::filesystem::path& path, const JsonLimits& limits = {});
  /// `label` begins the messages.
  static Config parse(std::string_view text, std::string label, const JsonLimits& limits = {});

  const std::string& label() const noexcept { return label_; }
  /// The text that was parsed; empty for a section.
  const std::string& text() const noexcept { return text_; }

  /// True when the key is there and not null.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_string(std::string_view key) const;
  bool is_list(std::string_view key) const;
  /// True when the key is there and null, which getters take as absent.
  bool is_null(std::string_view key) const;
  std::vector<std::string> keys() const;
  /// Throws ConfigError naming the first key that is not in the list.
  void reject_unknown(std::initializer_list<std::string_view> known) const;

  /// A whole number in [low, high].
  index_t get_int(std::string_view key, index_t low, index_t high) const;
  index_t get_int(std::string_view key, index_t fallback, index_t low, index_t high) const;
  /// A list of whole numbers; empty when absent.
  std::vector<index_t> get_int_list(std::string_view key) const;
  /// A number, which may be infinite.
  double get_double(std::string_view key, double fallback) const {
    return get_double(key, fallback, -kInfinity, kInfinity);
  }
  /// A number in [low, high]; NaN never.
  double get_double(std::string_view key, double low, double high) const;
  double get_double(std::string_view key, double fallback, double low, double high) const;
  /// true, false, 1 or 0.
  bool get_bool(std::string_view key, bool fallback) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;
  std::string get_string(std::string_view key) const;
  /// The object under a key; an empty one when absent.
  Config section(std::string_view key) const;

 private:
  using Json = nlohmann::json;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Json* find(std::string_view key) const;

  [[noreturn]] void fail(std::string_view key, const std::string& expected,
                         const std::string& found) const;
  static std::string shown(const Json& v);
  static std::string integers(index_t low, index_t high);
  static std::string numbers(double low, double high);

  double number(std::string_view key, const Json& v, double low, double high) const;

  index_t integer(std::string_view key, const Json& v, index_t low, index_t high) const;

  std::shared_ptr<const Json> json_;  // an object, or none
  std::string label_;
  std::string text_;
};

#if SEQUIN_BODIES

SEQUIN_INLINE Config Config::load(const std::filesystem::path& path, const JsonLimits& limits) {
  return parse(read_file(path, limits.bytes), detail::printable(path.string(), 400), limits);
}

SEQUIN_INLINE Config Config::parse(std::string_view text, std::string label,
                                   const JsonLimits& limits) {
  Config c;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  c.json_ = std::make_shared<const Json>(detail::parse_json_object(text, label, limits));
  c.label_ = std::move(label);
  c.text_ = std::string(text);
  return c;
}

SEQUIN_INLINE bool Config::is_string(std::string_view key) const {
  const Json* const v = find(key);
  return v != nullptr && v->is_string();
}

SEQUIN_INLINE bool Config::is_list(std::string_view key) const {
  const Json* const v = find(key);
  return v != nullptr && v->is_array();
}

SEQUIN_INLINE bool Config::is_null(std::string_view key) const {
  return json_ != nullptr && json_->contains(std::string(key)) && find(key) == nullptr;
}

SEQUIN_INLINE std::vector<std::string> Config::keys() const {
  std::vector<std::string> names;
  if (json_ == nullptr) return names;
  for (const auto& item : json_->items()) names.push_back(item.key());
  return names;
}

SEQUIN_INLINE void Config::reject_unknown(std::initializer_list<std::string_view> known) const {
  for (const std::string& key : keys()) {
    bool found = false;
    for (const std::string_view k : known) found = found || k == key;
    if (found) continue;
    std::string all;
    for (const std::string_view k : known) all += (all.empty() ? "" : ", ") + std::string(k);
    throw ConfigError(label_ + ": expected one of " + all + ", found '" + detail::printable(key) +
                      "'");
  }
}

SEQUIN_INLINE index_t Config::get_int(std::string_view key, index_t low, index_t high) const {
  const Json* const v = find(key);
  if (v == nullptr) fail(key, integers(low, high), "nothing");
  return integer(key, *v, low, high);
}

SEQUIN_INLINE index_t Config::get_int(std::string_view key, index_t fallback, index_t low,
                                      index_t high) const {
  const Json* const v = find(key);
  return v == nullptr ? fallback : integer(key, *v, low, high);
}

SEQUIN_INLINE std::vector<index_t> Config::get_int_list(std::string_view key) const {
  std::vector<index_t> list;
  const Json* const v = find(key);
  if (v == nullptr) return list;
  if (!v->is_array()) fail(key, "a list of integers", shown(*v));
  constexpr index_t kAny = (std::numeric_limits<index_t>::max)();
  for (const Json& item : *v) list.push_back(integer(key, item, -kAny, kAny));
  return list;
}

SEQUIN_INLINE double Config::get_double(std::string_view key, double low, double high) const {
  const Json* const v = find(key);
  if (v == nullptr) fail(key, numbers(low, high), "nothing");
  return number(key, *v, low, high);
}

SEQUIN_INLINE double Config::get_double(std::string_view key, double fallback, double low,
                                        double high) const {
  const Json* const v = find(key);
  return v == nullptr ? fallback : number(key, *v, low, high);
}

SEQUIN_INLINE bool Config::get_bool(std::string_view key, bool fallback) const {
  const Json* const v = find(key);
  if (v == nullptr) return fallback;
  if (v->is_boolean()) return v->get<bool>();
  if (v->is_number_integer() && (*v == 0 || *v == 1)) return *v == 1;
  fail(key, "true, false, 1 or 0", shown(*v));
}

SEQUIN_INLINE std::string Config::get_string(std::string_view key,
                                             std::string_view fallback) const {
  return find(key) == nullptr ? std::string(fallback) : get_string(key);
}

SEQUIN_INLINE std::string Config::get_string(std::string_view key) const {
  const Json* const v = find(key);
  if (v == nullptr) fail(key, "a text", "nothing");
  if (!v->is_string()) fail(key, "a text", shown(*v));
  return v->get<std::string>();
}

SEQUIN_INLINE Config Config::section(std::string_view key) const {
  Config c;
  c.label_ = label_ + ": " + detail::printable(key);
  const Json* const v = find(key);
  if (v == nullptr) return c;
  if (!v->is_object()) fail(key, "an object", shown(*v));
  c.json_ = std::shared_ptr<const Json>(json_, v);
  return c;
}

SEQUIN_INLINE const Config::Json* Config::find(std::string_view key) const {
  if (json_ == nullptr) return nullptr;
  const auto found = json_->find(std::string(key));
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

SEQUIN_INLINE void Config::fail(std::string_view key, const std::string& expected,
                                const std::string& found) const {
  throw ConfigError(label_ + ": " + detail::printable(key) + ": expected " + expected + ", found " +
                    found);
}

SEQUIN_INLINE std::string Config::shown(const Json& v) {
  if (v.is_number_float() && !std::isfinite(v.get<double>())) {
    const double number = v.get<double>();
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
  return detail::printable(v.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

SEQUIN_INLINE std::string Config::integers(index_t low, index_t high) {
  return "an integer " + std::to_string(low) + " to " + std::to_string(high);
}

SEQUIN_INLINE std::string Config::numbers(double low, double high) {
  if (low == -kInfinity && high == kInfinity) return "a number";
  return "a number " + shown(low) + " to " + shown(high);
}

SEQUIN_INLINE double Config::number(std::string_view key, const Json& v, double low,
                                    double high) const {
  const double found = v.is_number() ? v.get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(found >= low && found <= high)) fail(key, numbers(low, high), shown(v));
  return found;
}

SEQUIN_INLINE index_t Config::integer(std::string_view key, const Json& v, index_t low,
                                      index_t high) const {
  const bool too_large =
      v.is_number_unsigned() &&
      v.get<std::uint64_t>() > static_cast<std::uint64_t>((std::numeric_limits<index_t>::max)());
  if (!v.is_number_integer() || too_large || v.get<index_t>() < low || v.get<index_t>() > high)
    fail(key, integers(low, high), shown(v));
  return v.get<index_t>();
}

#endif

}  // namespace sequin::inline SEQUIN_ABI
