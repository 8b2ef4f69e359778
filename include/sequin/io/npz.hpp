/// Opt-in: NumPy's .npz archives of arrays, read and written. Needs zlib: in CMake,
/// find_package(ZLIB) and ZLIB::ZLIB.
#pragma once

#include "sequin/io/npy.hpp"
#include "sequin/io/zip_directory.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What an archive may ask of a reader.
struct NpzLimits {
  std::uint64_t members = 65536;
  std::uint64_t array_bytes = std::uint64_t{1} << 32;  ///< of a deflated member, unpacked
  NpyLimits array;
};

namespace detail {

inline std::uint32_t crc_of(std::span<const std::byte> bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(
      ::crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

/// Unpacks a member to exactly the bytes that it promises; false when they are none such.
inline bool inflate(std::span<const std::byte> packed, std::span<std::byte> out) {
  z_stream stream{};
  if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  // zlib counts in unsigned int.
  constexpr std::size_t kMost = std::size_t{1} << 30;
  std::size_t read = 0, made = 0;
  int result = Z_OK;
  Bytef none = 0;
  while (result == Z_OK) {
    const auto in = static_cast<uInt>((std::min)(kMost, packed.size() - read));
    const auto room = static_cast<uInt>((std::min)(kMost, out.size() - made));
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data() + read));
    stream.avail_in = in;
    stream.next_out = room > 0 ? reinterpret_cast<Bytef*>(out.data() + made) : &none;
    stream.avail_out = room;
    result = ::inflate(&stream, Z_NO_FLUSH);
    read += in - stream.avail_in;
    made += room - stream.avail_out;
  }
  ::inflateEnd(&stream);
  return result == Z_STREAM_END && read == packed.size() && made == out.size();
}

}  // namespace detail

/// An archive of `numpy.savez` or `numpy.savez_compressed`, mapped; its directory is checked when
/// it is opened, an array when it is asked for. A value; copies share the mapping. Members whose
/// name does not end with .npy are no arrays and passed over. A name is a key, nothing else: no
/// file is ever opened or written by it.
class NpzFile {
 public:
  /// Throws LoadError: "FILE: expected ..., found ...".
  explicit NpzFile(const std::filesystem::path& path, const NpzLimits& limits = {})
      : NpzFile(std::make_shared<const MappedFile>(path), detail::printable(path.string(), 400),
                limits) {}

  /// From memory that outlives the result and its arrays; `label` begins the messages.
  static NpzFile from_memory(std::span<const std::byte> bytes, std::string label = "memory",
                             const NpzLimits& limits = {}) {
    return NpzFile(bytes, std::move(label), limits);
  }

  /// Of the arrays, without .npy, in the archive's order.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& m : members_) all.emplace_back(key(m));
    return all;
  }
  bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }

  /// The array of this name; it keeps what it needs alive. Throws LoadError: there is none of this
  /// name, its checksum is another one, it does not unpack to its size, and as NpyFile.
  NpyFile array(std::string_view name) const {
    const detail::ZipMember* const m = find(name);
    if (m == nullptr)
      throw LoadError(label_ + ": expected an array '" + detail::printable(name) + "', found " +
                      (members_.empty() ? "no arrays" : listed()));
    const std::string label = label_ + ": '" + detail::printable(name) + "'";
    std::span<const std::byte> bytes = m->packed;
    std::shared_ptr<const void> owner = mapping_;
    if (m->deflated) {
      auto unpacked = unpack(*m, label);
      bytes = *unpacked;
      owner = std::move(unpacked);
    }
    if (const std::uint32_t found = detail::crc_of(bytes); found != m->crc)
      throw LoadError(label + ": expected the checksum " + std::to_string(m->crc) + ", found " +
                      std::to_string(found) + ": the file is damaged");
    return NpyFile::from_memory(bytes, label, limits_.array, std::move(owner));
  }

  /// The same as a tensor. Throws LoadError, also when it has not `Rank` axes.
  template <class T, std::size_t Rank>
  Tensor<T, Rank> tensor(std::string_view name) const {
    return array(name).tensor<T, Rank>();
  }

 private:
  NpzFile(std::shared_ptr<const MappedFile> mapping, std::string label, const NpzLimits& limits)
      : NpzFile(mapping->bytes(), std::move(label), limits) {
    mapping_ = std::move(mapping);
  }
  NpzFile(std::span<const std::byte> bytes, std::string label, const NpzLimits& limits)
      : label_(std::move(label)),
        limits_(limits),
        members_(detail::ZipDirectory(bytes, label_, limits.members).members()) {
    std::erase_if(members_, [](const auto& m) { return !m.name.ends_with(kSuffix); });
  }

  static std::string_view key(const detail::ZipMember& m) noexcept {
    return m.name.substr(0, m.name.size() - kSuffix.size());
  }
  const detail::ZipMember* find(std::string_view name) const noexcept {
    const auto found = std::find_if(members_.begin(), members_.end(),
                                    [&](const auto& m) { return key(m) == name; });
    return found == members_.end() ? nullptr : &*found;
  }
  std::string listed() const {
    constexpr std::size_t kShown = 8;
    std::string text;
    for (std::size_t i = 0; i < (std::min)(kShown, members_.size()); ++i)
      text += (i == 0 ? "'" : ", '") + detail::printable(key(members_[i])) + "'";
    if (members_.size() > kShown)
      text += " and " + std::to_string(members_.size() - kShown) + " more";
    return text;
  }

  std::shared_ptr<const std::vector<std::byte>> unpack(const detail::ZipMember& m,
                                                       const std::string& label) const {
    // Deflate packs 1032 bytes into one at best: a promise beyond that is not even allocated.
    constexpr std::uint64_t kBest = 1032;
    if (m.size / kBest > m.packed.size() || m.size > limits_.array_bytes)
      throw LoadError(label + ": expected at most " +
                      std::to_string((std::min)(limits_.array_bytes, m.packed.size() * kBest)) +
                      " bytes, found " + std::to_string(m.size));
    auto out = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(m.size));
    if (!detail::inflate(m.packed, *out))
      throw LoadError(label + ": expected " + std::to_string(m.size) +
                      " deflated bytes, found others: the file is damaged");
    return out;
  }

  static constexpr std::string_view kSuffix = ".npy";

  std::string label_;
  NpzLimits limits_;
  std::shared_ptr<const MappedFile> mapping_;
  std::vector<detail::ZipMember> members_;
};

/// Writes an archive that numpy.load reads, its arrays stored as they are, atomically (AtomicFile):
/// without `commit` there is no file, or the old one. At most 65535 arrays and 4 GiB in all.
class NpzWriter {
 public:
  /// Throws LoadError when the folder cannot be written.
  explicit NpzWriter(const std::filesystem::path& path)
      : label_(detail::printable(path.string(), 400)), file_(path) {}

  /// Throws LoadError when it cannot be written or the archive would be too large, ConfigError when
  /// the name is empty, longer than 1000 bytes, or there already.
  template <class T, std::size_t Rank>
  void add(std::string_view name, const Tensor<T, Rank>& array) {
    std::array<std::int64_t, Rank> shape;
    std::copy(array.shape().begin(), array.shape().end(), shape.begin());
    add(name, detail::npy_head(dtype_of<T>, shape), std::as_bytes(array.span()));
  }

  /// Makes the archive the file's contents. Throws LoadError; the old contents then stay.
  void commit() {
    const std::uint64_t directory = written_;
    for (const Entry& e : entries_) {
      number(0x02014b50, 4);
      number(20, 2);  // made by version 2.0, for MS-DOS as the simplest of hosts
      common_fields(e);
      number(0, 2);  // comment
      number(0, 2);  // part
      number(0, 2);  // attributes
      number(0, 4);
      number(e.offset, 4);
      put(e.name);
    }
    const std::uint64_t bytes = written_ - directory;
    number(0x06054b50, 4);
    number(0, 4);  // parts
    number(entries_.size(), 2);
    number(entries_.size(), 2);
    number(bytes, 4);
    number(directory, 4);
    number(0, 2);  // comment
    file_.commit();
  }

 private:
  struct Entry {
    std::string name;
    std::uint32_t crc = 0;
    std::uint64_t size = 0, offset = 0;
  };

  void add(std::string_view name, const std::string& head, std::span<const std::byte> data) {
    if (name.empty() || name.size() > 1000)
      throw ConfigError(label_ + ": expected a name of 1 to 1000 bytes, found " +
                        std::to_string(name.size()));
    Entry e{std::string(name) + ".npy", 0, head.size() + data.size(), written_};
    for (const Entry& other : entries_)
      if (other.name == e.name)
        throw ConfigError(label_ + ": expected each name once, found '" + detail::printable(name) +
                          "' twice");
    // With room for the directory, whose entries have 46 bytes and a name.
    constexpr std::uint64_t kMost = 0xffffffff, kDirectory = std::uint64_t{65536} * 1100;
    if (e.size > kMost - kDirectory || written_ + e.size > kMost - kDirectory ||
        entries_.size() == 65535)
      throw LoadError(label_ + ": expected less than 4 GiB in at most 65535 arrays, found more: " +
                      "save_safetensors has no such limit");
    const auto text = std::as_bytes(std::span(head.data(), head.size()));
    e.crc = detail::crc_of(data, detail::crc_of(text));
    number(0x04034b50, 4);
    common_fields(e);
    put(e.name);
    put(head);
    file_.write(data);
    written_ += data.size();
    entries_.push_back(std::move(e));
  }

  /// What a member's own header and the directory both say.
  void common_fields(const Entry& e) {
    number(20, 2);       // to read it takes version 2.0
    number(1 << 11, 2);  // the name is UTF-8
    number(0, 2);        // stored
    number(0, 2);        // midnight
    number(33, 2);       // of 1980-01-01
    number(e.crc, 4);
    number(e.size, 4);
    number(e.size, 4);
    number(e.name.size(), 2);
    number(0, 2);  // extra fields
  }
  void number(std::uint64_t value, unsigned bytes) {
    std::string text;
    for (unsigned i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 255);
    put(text);
  }
  void put(std::string_view text) {
    file_.write(text);
    written_ += text.size();
  }

  std::string label_;
  AtomicFile file_;
  std::uint64_t written_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace sequin::inline SEQUIN_ABI
