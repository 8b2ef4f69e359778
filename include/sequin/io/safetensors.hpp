/// Reading and writing safetensors files.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/function_ref.hpp"
#include "sequin/io/atomic_file.hpp"
#include "sequin/io/json_text.hpp"
#include "sequin/io/mapped_file.hpp"
#include "sequin/io/safetensors_header.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// A named tensor of a file. The bytes belong to the file and need not be aligned.
struct TensorEntry {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

namespace detail {

/// All elements of an entry; nullptr stands for one that is not there.
template <class T>
std::vector<T> read_elements(const TensorEntry* entry, std::string_view name,
                             const std::string& label) {
  const std::string where = label + ": tensor '" + printable(name) + "': ";
  if (entry == nullptr) throw LoadError(where + "expected, found none");
  std::vector<T> values(entry->bytes.size() / dtype_size(entry->dtype));
  try {
    convert_elements<T>(entry->dtype, entry->bytes, std::span<T>(values));
  } catch (const LoadError& e) {
    throw LoadError(where + e.what());
  }
  return values;
}

}  // namespace detail

/// A safetensors file, mapped, its header checked whole before anything else: every tensor lies
/// within the data, has the size that its shape and type ask for, overlaps no other, and nothing is
/// left between or after them. A value; copies share the mapping.
class SafetensorsFile {
 public:
  /// Throws LoadError: "FILE: tensor 'name': expected ..., found ...".
  explicit SafetensorsFile(const std::filesystem::path& path, const SafetensorsLimits& limits = {});
  static SafetensorsFile open(const std::filesystem::path& path,
                              const SafetensorsLimits& limits = {}) {
    return SafetensorsFile(path, limits);
  }

  /// From memory that outlives the result; `label` begins the messages.
  static SafetensorsFile from_memory(std::span<const std::byte> bytes, std::string label = "memory",
                                     const SafetensorsLimits& limits = {});

  /// In the order of the header.
  const std::vector<TensorEntry>& tensors() const noexcept { return tensors_; }
  /// nullptr when there is none.
  const TensorEntry* find(std::string_view name) const noexcept {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }
  /// All elements of a tensor, row-major, converted as convert_elements does. Throws LoadError when
  /// there is none of that name or T cannot hold an element.
  template <class T>
  std::vector<T> read(std::string_view name) const {
    return detail::read_elements<T>(find(name), name, label_);
  }
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept {
    return metadata_;
  }
  /// Tells the system that these bytes of a mapped file need not stay in memory.
  void forget(std::span<const std::byte> part) const noexcept {
    if (mapping_ != nullptr) mapping_->forget(part);
  }
  /// The path, or what `from_memory` was told.
  const std::string& label() const noexcept { return label_; }

 private:
  SafetensorsFile() = default;

  void parse(std::span<const std::byte> bytes, const SafetensorsLimits& limits);

  [[noreturn]] void fail(const detail::HeaderEntry& e, const std::string& what) const;

  void check(const detail::HeaderEntry& e, std::uint64_t data_size) const;

  void check_tiling(const std::vector<detail::HeaderEntry>& entries, std::uint64_t data_size) const;

  std::string label_;
  std::shared_ptr<const MappedFile> mapping_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

/// Writes tensors, atomically (AtomicFile). The header names them in the order given; the data lie
/// wide types first, so that every tensor is aligned and readers that map the file can use it.
/// Throws LoadError when the file cannot be written, a name occurs twice, is no UTF-8 or
/// "__metadata__", or an entry's bytes are not those of its shape; an older file then stays.
void save_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata = {});

/// The same where the bytes come one by one: those of `entries` are not read, bytes_of(i) gives the
/// ones of entry i when its turn has come, once each. Throws also what bytes_of throws; an older
/// file then stays.
void save_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata,
                      detail::FunctionRef<std::span<const std::byte>(std::size_t)> bytes_of);

/// The bytes of that file. Throws LoadError as above.
std::vector<std::byte> safetensors_bytes(std::span<const TensorEntry> entries,
                                         const std::map<std::string, std::string>& metadata = {});

namespace detail {

/// What a file holds before its data, and the order in which the entries' data follow.
struct SafetensorsHead {
  std::string bytes;
  std::vector<std::size_t> order;
  std::vector<std::uint64_t> sizes;  ///< of each entry's data, by its shape
};

SafetensorsHead safetensors_head(const std::string& label, std::span<const TensorEntry> entries,
                                 const std::map<std::string, std::string>& metadata);

/// Throws LoadError when an entry's data are not as long as its shape asks for.
void check_data_size(const std::string& label, const TensorEntry& entry, std::uint64_t expected,
                     std::size_t found);

}  // namespace detail

#if SEQUIN_BODIES

SEQUIN_INLINE SafetensorsFile::SafetensorsFile(const std::filesystem::path& path,
                                               const SafetensorsLimits& limits)

    : label_(detail::printable(path.string(), 400)) {
  auto mapping = std::make_shared<MappedFile>(path);
  parse(mapping->bytes(), limits);
  mapping_ = std::move(mapping);
}

SEQUIN_INLINE SafetensorsFile SafetensorsFile::from_memory(std::span<const std::byte> bytes,
                                                           std::string label,
                                                           const SafetensorsLimits& limits) {
  SafetensorsFile file;
  file.label_ = std::move(label);
  file.parse(bytes, limits);
  return file;
}

SEQUIN_INLINE void SafetensorsFile::parse(std::span<const std::byte> bytes,
                                          const SafetensorsLimits& limits) {
  if (bytes.size() < 8)
    throw LoadError(label_ + ": expected a safetensors file of at least 8 bytes, found " +
                    std::to_string(bytes.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > limits.header_bytes)
    throw LoadError(label_ + ": header: expected at most " + std::to_string(limits.header_bytes) +
                    " bytes, found " + std::to_string(length));
  if (length > bytes.size() - 8)
    throw LoadError(label_ + ": header: expected " + std::to_string(length) + " bytes, found " +
                    std::to_string(bytes.size() - 8) + " in the file");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8,
                              static_cast<std::size_t>(length));
  detail::SafetensorsHeader header(text, label_, limits);
  const auto data = bytes.subspan(8 + static_cast<std::size_t>(length));
  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.entries.size());
  for (const detail::HeaderEntry& e : header.entries) check(e, data.size());
  check_tiling(header.entries, data.size());
  for (detail::HeaderEntry& e : header.entries) {
    by_name_.emplace(e.name, tensors_.size());
    tensors_.push_back({std::move(e.name), e.dtype, std::move(e.shape),
                        data.subspan(static_cast<std::size_t>(e.begin),
                                     static_cast<std::size_t>(e.end - e.begin))});
  }
}

SEQUIN_INLINE void SafetensorsFile::fail(const detail::HeaderEntry& e,
                                         const std::string& what) const {
  throw LoadError(label_ + ": tensor '" + detail::printable(e.name) + "': " + what);
}

SEQUIN_INLINE void SafetensorsFile::check(const detail::HeaderEntry& e,
                                          std::uint64_t data_size) const {
  const std::string found = "[" + std::to_string(e.begin) + ", " + std::to_string(e.end) + "]";
  if (e.begin > e.end || e.end > data_size)
    fail(e, "data_offsets: expected within the " + std::to_string(data_size) +
                " bytes of data, found " + found);
  std::uint64_t size = dtype_size(e.dtype);
  const bool empty = std::any_of(e.shape.begin(), e.shape.end(), [](auto n) { return n == 0; });
  for (const std::int64_t n : e.shape) {
    const auto extent = static_cast<std::uint64_t>(n);
    if (!empty && extent > data_size / size + 1)
      fail(e, "shape: expected elements for " + std::to_string(e.end - e.begin) +
                  " bytes, found an extent of " + std::to_string(n) + ", more than the file holds");
    size = empty ? 0 : size * extent;
  }
  if (size != e.end - e.begin)
    fail(e, "data_offsets: expected " + std::to_string(size) + " bytes (shape and dtype), found " +
                std::to_string(e.end - e.begin));
}

SEQUIN_INLINE void SafetensorsFile::check_tiling(const std::vector<detail::HeaderEntry>& entries,
                                                 std::uint64_t data_size) const {
  std::vector<const detail::HeaderEntry*> order;
  order.reserve(entries.size());
  for (const auto& e : entries) order.push_back(&e);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
  });
  std::uint64_t at = 0;
  for (const detail::HeaderEntry* e : order) {
    if (e->begin != at)
      fail(*e, "data_offsets: expected to begin at byte " + std::to_string(at) +
                   (e->begin < at ? " or later (it overlaps another)" : " (bytes are left out)") +
                   ", found " + std::to_string(e->begin));
    at = e->end;
  }
  if (at != data_size)
    throw LoadError(label_ + ": expected " + std::to_string(at) + " bytes of data, found " +
                    std::to_string(data_size));
}

SEQUIN_INLINE detail::SafetensorsHead detail::safetensors_head(
    const std::string& label, std::span<const TensorEntry> entries,
    const std::map<std::string, std::string>& metadata) {
  std::unordered_set<std::string_view> seen{"__metadata__"};
  std::vector<std::size_t> order(entries.size());
  std::vector<std::uint64_t> sizes(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const TensorEntry& e = entries[i];
    const auto fail = [&](const std::string& what) {
      throw LoadError(label + ": tensor '" + detail::printable(e.name) + "': " + what);
    };
    if (!detail::is_utf8(e.name) || !seen.insert(e.name).second)
      fail("expected a name of its own in UTF-8, found it twice or in other bytes");
    if (e.shape.size() > SafetensorsLimits{}.rank) fail("expected a rank that can be read back");
    std::uint64_t size = dtype_size(e.dtype);
    for (const std::int64_t n : e.shape) {
      if (n < 0 || (n > 0 && size > (std::uint64_t{1} << 63) / static_cast<std::uint64_t>(n)))
        fail("shape: expected extents of at least 0 and less than 2^63 bytes, found an extent of " +
             std::to_string(n));
      size *= static_cast<std::uint64_t>(n);
    }
    order[i] = i;
    sizes[i] = size;
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return dtype_size(entries[a].dtype) > dtype_size(entries[b].dtype);
  });
  std::vector<std::uint64_t> begin(entries.size());
  std::uint64_t at = 0;
  for (const std::size_t i : order) {
    begin[i] = at;
    at += sizes[i];
  }

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (!detail::is_utf8(key) || !detail::is_utf8(value))
        throw LoadError(label + ": metadata '" + detail::printable(key) +
                        "': expected UTF-8, found other bytes");
      if (header.back() != '{') header += ',';
      header += detail::json_text(key) + ':' + detail::json_text(value);
    }
    header += '}';
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const TensorEntry& e = entries[i];
    if (header.size() > 1) header += ',';
    header += detail::json_text(e.name) + ":{\"dtype\":\"" + std::string(dtype_name(e.dtype)) +
              "\",\"shape\":[";
    for (std::size_t k = 0; k < e.shape.size(); ++k)
      header += (k == 0 ? "" : ",") + std::to_string(e.shape[k]);
    header += "],\"data_offsets\":[" + std::to_string(begin[i]) + ',' +
              std::to_string(begin[i] + sizes[i]) + "]}";
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  const std::uint64_t length = header.size();
  std::string head(sizeof length, '\0');
  std::memcpy(head.data(), &length, sizeof length);
  return {head + header, std::move(order), std::move(sizes)};
}

SEQUIN_INLINE void detail::check_data_size(const std::string& label, const TensorEntry& entry,
                                           std::uint64_t expected, std::size_t found) {
  if (expected != found)
    throw LoadError(label + ": tensor '" + detail::printable(entry.name) + "': expected " +
                    std::to_string(expected) + " bytes (shape and dtype), found " +
                    std::to_string(found));
}

SEQUIN_INLINE void save_safetensors(const std::filesystem::path& path,
                                    std::span<const TensorEntry> entries,
                                    const std::map<std::string, std::string>& metadata) {
  const std::string label = detail::printable(path.string(), 400);
  const auto head = detail::safetensors_head(label, entries, metadata);
  for (std::size_t i = 0; i < entries.size(); ++i)
    detail::check_data_size(label, entries[i], head.sizes[i], entries[i].bytes.size());
  save_safetensors(path, entries, metadata, [&](std::size_t i) { return entries[i].bytes; });
}

SEQUIN_INLINE void save_safetensors(
    const std::filesystem::path& path, std::span<const TensorEntry> entries,
    const std::map<std::string, std::string>& metadata,
    detail::FunctionRef<std::span<const std::byte>(std::size_t)> bytes_of) {
  const std::string label = detail::printable(path.string(), 400);
  const auto head = detail::safetensors_head(label, entries, metadata);
  AtomicFile file(path);
  file.write(head.bytes);
  for (const std::size_t i : head.order) {
    const std::span<const std::byte> bytes = bytes_of(i);
    detail::check_data_size(label, entries[i], head.sizes[i], bytes.size());
    file.write(bytes);
  }
  file.commit();
}

SEQUIN_INLINE std::vector<std::byte> safetensors_bytes(
    std::span<const TensorEntry> entries, const std::map<std::string, std::string>& metadata) {
  const auto head = detail::safetensors_head("memory", entries, metadata);
  for (std::size_t i = 0; i < entries.size(); ++i)
    detail::check_data_size("memory", entries[i], head.sizes[i], entries[i].bytes.size());
  const auto first = std::as_bytes(std::span(head.bytes));
  std::vector<std::byte> bytes(first.begin(), first.end());
  for (const std::size_t i : head.order)
    bytes.insert(bytes.end(), entries[i].bytes.begin(), entries[i].bytes.end());
  return bytes;
}

#endif

}  // namespace sequin::inline SEQUIN_ABI
