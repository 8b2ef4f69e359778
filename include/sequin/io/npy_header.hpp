/// The header of NumPy's .npy files, read strictly: a dictionary of three entries, spelt in Python,
/// of which nothing is ever evaluated.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/io/dtype.hpp"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What a file may ask of a reader.
struct NpyLimits {
  std::uint64_t header_bytes = 65536;
  std::size_t rank = 8;
};

namespace detail {

/// What a header says, checked against the number of bytes that follow it.
struct NpyHeader {
  DType dtype = DType::F32;
  bool fortran_order = false;  ///< the first axis is the fastest
  std::vector<std::int64_t> shape;
  std::size_t data = 0;  ///< where the elements begin
};

/// Versions 1.0, 2.0 and 3.0 of numpy.lib.format. Throws LoadError beginning with `label`.
NpyHeader parse_npy(std::span<const std::byte> file, const std::string& label,
                    const NpyLimits& limits);

/// The bytes before the elements of a row-major array, a multiple of 64 long: version 1.0.
std::string npy_head(DType dtype, std::span<const std::int64_t> shape);

/// NumPy's name of an element type; empty for bfloat16, of which it knows none.
constexpr std::string_view npy_dtype(DType d) noexcept {
  constexpr std::string_view names[] = {"<f8", "<f4", "<f2", "",    "<i8", "<i4", "<i2",
                                        "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"};
  return names[static_cast<std::size_t>(d)];
}

#if SEQUIN_BODIES

/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } and nothing else.
class NpyHeaderReader {
 public:
  NpyHeaderReader(std::string_view text, const std::string& label, const NpyLimits& limits)
      : text_(text), label_(label), limits_(limits) {}

  NpyHeader read() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (peek() != '}') {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr") {
        once(key, descr);
        header.dtype = dtype();
      } else if (key == "fortran_order") {
        once(key, order);
        header.fortran_order = boolean();
      } else if (key == "shape") {
        once(key, shape);
        header.shape = extents();
      } else {
        fail("expected descr, fortran_order and shape, found '" + printable(key) + "'");
      }
      if (peek() != ',') break;
      ++at_;
    }
    expect('}');
    if (peek() != '\0' || at_ != text_.size())
      fail("expected spaces and a line break after the dictionary, found more");
    for (const auto& [found, key] :
         {std::pair(descr, "descr"), std::pair(order, "fortran_order"), std::pair(shape, "shape")})
      if (!found) fail("expected '" + std::string(key) + "', found none");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw LoadError(label_ + ": header: " + what);
  }
  [[noreturn]] void fail_here(const std::string& expected) const {
    fail("expected " + expected + " at byte " + std::to_string(at_) +
         (at_ < text_.size() ? ", found '" + printable(text_.substr(at_, 24)) + "'"
                             : ", found the end"));
  }

  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char c) {
    if (peek() != c || at_ == text_.size()) fail_here("'" + std::string(1, c) + "'");
    ++at_;
  }
  void once(std::string_view key, bool& seen) const {
    if (seen) fail("expected '" + std::string(key) + "' once, found it twice");
    seen = true;
  }

  std::string_view quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail_here("a text in quotes");
    const std::size_t begin = at_ + 1, end = text_.find(quote, begin);
    if (end == std::string_view::npos || text_.substr(begin, end - begin).find('\\') < end)
      fail_here("a text without escapes that ends");
    at_ = end + 1;
    return text_.substr(begin, end - begin);
  }

  bool boolean() {
    peek();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    fail_here("True or False");
  }

  DType dtype() {
    if (peek() == '[') fail("descr: expected one element type, found a structured one");
    const std::string_view name = quoted();
    if (name.find('O') != std::string_view::npos)
      fail("descr: expected numbers, found Python objects ('" + printable(name) +
           "'): they are pickled code, which is never read");
    for (int i = 0; i <= static_cast<int>(DType::BOOL); ++i) {
      const auto d = static_cast<DType>(i);
      const std::string_view known = npy_dtype(d);
      if (known.empty() || name.size() != 3 || name.substr(1) != known.substr(1)) continue;
      if (name[0] == known[0] || (dtype_size(d) == 1 && name[0] == '<')) return d;
      if (name[0] == '>')
        fail("descr: expected little-endian numbers, found '" + printable(name) +
             "' (array.astype('<" + std::string(known.substr(1)) + "') converts)");
    }
    fail("descr: expected <f8, <f4, <f2, <i8, <i4, <i2, |i1, <u8, <u4, <u2, |u1 or |b1, found '" +
         printable(name) + "'");
  }

  /// (), (3,), (3, 4); Python 2 wrote 3L.
  std::vector<std::int64_t> extents() {
    std::vector<std::int64_t> shape;
    expect('(');
    bool comma = true;
    while (peek() != ')') {
      if (!comma) fail_here("',' or ')'");
      std::int64_t n = -1;
      const char* const begin = text_.data() + at_;
      const auto [stop, error] = std::from_chars(begin, text_.data() + text_.size(), n);
      if (error != std::errc{} || n < 0) fail_here("shape: an extent of at least 0");
      if (shape.size() == limits_.rank)
        fail("shape: expected at most " + std::to_string(limits_.rank) + " axes, found more");
      shape.push_back(n);
      at_ += static_cast<std::size_t>(stop - begin);
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;
      comma = peek() == ',';
      if (comma) ++at_;
    }
    if (shape.size() == 1 && !comma) fail("shape: expected a tuple, found a number in brackets");
    ++at_;
    return shape;
  }

  std::string_view text_;
  const std::string& label_;
  const NpyLimits& limits_;
  std::size_t at_ = 0;
};

SEQUIN_INLINE NpyHeader parse_npy(std::span<const std::byte> file, const std::string& label,
                                  const NpyLimits& limits) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  constexpr std::string_view magic("\x93NUMPY", 6);
  if (file.size() < 10 || text.substr(0, magic.size()) != magic)
    throw LoadError(label + ": expected a NumPy file (.npy), found " +
                    (file.size() < 10 ? std::to_string(file.size()) + " bytes" : "another one"));
  const auto major = static_cast<unsigned>(file[6]), minor = static_cast<unsigned>(file[7]);
  if (major < 1 || major > 3 || minor != 0)
    throw LoadError(label + ": expected version 1.0, 2.0 or 3.0 of the format, found " +
                    std::to_string(major) + "." + std::to_string(minor));
  const std::size_t begin = major == 1 ? 10 : 12;
  std::uint64_t length = 0;
  for (std::size_t i = begin; i-- > 8;)
    length = length << 8 | (i < file.size() ? static_cast<std::uint64_t>(file[i]) : 0);
  if (length > limits.header_bytes)
    throw LoadError(label + ": header: expected at most " + std::to_string(limits.header_bytes) +
                    " bytes, found " + std::to_string(length));
  if (file.size() < begin || length > file.size() - begin)
    throw LoadError(label + ": header: expected " + std::to_string(length) + " bytes, found " +
                    std::to_string(file.size() - (std::min)(begin, file.size())) + " in the file");
  const std::string_view header = text.substr(begin, static_cast<std::size_t>(length));
  if (!header.ends_with('\n'))
    throw LoadError(label + ": header: expected a line break at its end, found none");
  NpyHeader found = NpyHeaderReader(header, label, limits).read();
  found.data = begin + header.size();

  const std::uint64_t bytes = file.size() - found.data;
  std::uint64_t size = dtype_size(found.dtype);
  bool empty = false;
  for (const std::int64_t n : found.shape) empty = empty || n == 0;
  for (const std::int64_t n : found.shape) {
    const auto extent = static_cast<std::uint64_t>(n);
    if (!empty && extent > bytes / size)
      throw LoadError(label + ": shape: expected elements for " + std::to_string(bytes) +
                      " bytes, found an extent of " + std::to_string(n) +
                      ", more than the file holds");
    size = empty ? 0 : size * extent;
  }
  if (size != bytes)
    throw LoadError(label + ": expected " + std::to_string(size) +
                    " bytes of elements (shape and descr), found " + std::to_string(bytes));
  return found;
}

SEQUIN_INLINE std::string npy_head(DType dtype, std::span<const std::int64_t> shape) {
  std::string header =
      "{'descr': '" + std::string(npy_dtype(dtype)) + "', 'fortran_order': False, 'shape': (";
  for (std::size_t i = 0; i < shape.size(); ++i)
    header += (i == 0 ? "" : " ") + std::to_string(shape[i]) +
              (i + 1 < shape.size() || shape.size() == 1 ? "," : "");
  header += "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  head += static_cast<char>(header.size() & 255);
  head += static_cast<char>(header.size() >> 8);
  return head + header;
}

#endif

}  // namespace detail
}  // namespace sequin::inline SEQUIN_ABI
