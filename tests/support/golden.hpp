/// Reads the reference cases in tests/data/golden: config.json and io.safetensors of a block.
#pragma once

#include "sequin/core/tensor.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef SEQUIN_TEST_DATA
#define SEQUIN_TEST_DATA (sequin_test::data_folder())
#endif

namespace sequin_test {

using sequin::index_t;

/// tests/data beside this file.
inline std::string data_folder() {
  const std::string file = __FILE__;
  return file.substr(0, file.find_last_of("/\\")) + "/../data";
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The text of a JSON value that follows `"key":`, empty when the key is absent. Enough for the
/// flat files of the reference cases; strings keep their quotes.
inline std::string json_value(const std::string& json, const std::string& key) {
  std::size_t at = json.find('"' + key + "\":");
  if (at == std::string::npos) return {};
  at += key.size() + 3;
  while (json[at] == ' ') ++at;
  int depth = 0;
  std::size_t end = at;
  for (; end < json.size(); ++end) {
    const char c = json[end];
    if (depth == 0 && (c == ',' || c == '}' || c == '\n')) break;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && --depth == 0) {
      ++end;
      break;
    }
  }
  return json.substr(at, end - at);
}

inline std::vector<index_t> json_integers(const std::string& text) {
  std::vector<index_t> values;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] >= '0' && text[i] <= '9') {
      std::size_t used = 0;
      values.push_back(static_cast<index_t>(std::stoll(text.substr(i), &used)));
      i += used;
    } else {
      ++i;
    }
  }
  return values;
}

/// One reference case.
class GoldenCase {
 public:
  /// `name` as "blocks/selective_scan/full".
  explicit GoldenCase(const std::string& name) {
    const std::string folder = std::string(SEQUIN_TEST_DATA) + "/golden/" + name;
    config_ = read_file(folder + "/config.json");
    const std::string file = read_file(folder + "/io.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    header_ = file.substr(8, static_cast<std::size_t>(length));
    bytes_ = file.substr(8 + static_cast<std::size_t>(length));
  }

  bool flag(const std::string& key) const { return json_value(config_, key) == "true"; }
  /// A string without its quotes; "null" for null, empty when absent.
  std::string text(const std::string& key) const {
    std::string value = json_value(config_, key);
    if (!value.empty() && value.front() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  std::vector<index_t> integers(const std::string& key) const {
    return json_integers(json_value(config_, key));
  }

  bool has(const std::string& name) const { return !json_value(header_, name).empty(); }

  /// Extents of a tensor of the case.
  std::vector<index_t> shape(const std::string& name) const {
    return json_integers(json_value(entry(name), "shape"));
  }

  /// A tensor of the case, undefined when the case has none of that name.
  template <class T, std::size_t Rank>
  sequin::Tensor<T, Rank> tensor(const std::string& name) const {
    if (!has(name)) return {};
    const std::vector<index_t> extents = shape(name);
    if (extents.size() != Rank) throw std::runtime_error(name + " has another rank");
    sequin::Shape<Rank> shape{};
    std::copy(extents.begin(), extents.end(), shape.begin());
    sequin::Tensor<T, Rank> t(shape);
    const std::string what = entry(name);
    const char* from = bytes_.data() + json_integers(json_value(what, "data_offsets"))[0];
    const bool integer = json_value(what, "dtype") == "\"I32\"";
    for (T& value : t.span()) {
      float f = 0;
      std::int32_t i = 0;
      std::memcpy(&f, from, 4);
      std::memcpy(&i, from, 4);
      value = integer ? static_cast<T>(i) : static_cast<T>(f);
      from += 4;
    }
    return t;
  }

 private:
  std::string entry(const std::string& name) const {
    const std::string text = json_value(header_, name);
    if (text.empty()) throw std::runtime_error("no tensor " + name);
    return text;
  }

  std::string config_, header_, bytes_;
};

/// max |a - b| / max |b|; infinity when the extents differ or something is not a number.
template <class T, class U, std::size_t Rank>
double relative_error(const sequin::Tensor<T, Rank>& a, const sequin::Tensor<U, Rank>& b) {
  if (a.shape() != b.shape() || !a.defined()) return INFINITY;
  double worst = 0;
  double scale = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
    if (std::isnan(error)) return INFINITY;
    worst = (std::max)(worst, error);
    scale = (std::max)(scale, std::abs(static_cast<double>(b.data()[i])));
  }
  return scale > 0 ? worst / scale : worst;
}

}  // namespace sequin_test
