/// The table of contents of a ZIP archive, read strictly: what is said twice has to agree.
#pragma once

#include "sequin/core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI::detail {

/// A member of an archive; its bytes lie within the file.
struct ZipMember {
  std::string_view name;  ///< as it is written; never a path for us
  bool deflated = false;  ///< else stored
  std::uint32_t crc = 0;  ///< of the bytes as they were before packing
  std::uint64_t size = 0;
  std::span<const std::byte> packed;
};

/// Reads the directory at the end of a file (PKWARE's APPNOTE.TXT 6.3.10), ZIP64 included. Archives
/// in several parts, encrypted members, methods other than stored and deflated, duplicate names,
/// and members that the file does not hold are refused.
class ZipDirectory {
 public:
  /// `label` begins the messages. Throws LoadError.
  ZipDirectory(std::span<const std::byte> file, std::string label, std::uint64_t most_members)
      : file_(file), label_(std::move(label)) {
    const End end = find_end();
    if (end.count > most_members)
      fail("expected at most " + std::to_string(most_members) + " members, found " +
           std::to_string(end.count));
    // Each takes 46 bytes at least: no allocation for what the file cannot hold.
    if (end.count > end.size / 46)
      fail("expected room for " + std::to_string(end.count) + " members in its directory, found " +
           std::to_string(end.size) + " bytes");
    members_.reserve(static_cast<std::size_t>(end.count));
    std::uint64_t at = end.offset;
    const std::uint64_t stop = end.offset + end.size;
    for (std::uint64_t i = 0; i < end.count; ++i) at = read_member(at, stop);
    if (at != stop) fail("expected the directory's end after its last member, found more");
    refuse_duplicates();
  }

  /// In the order of the directory.
  const std::vector<ZipMember>& members() const noexcept { return members_; }

 private:
  struct End {
    std::uint64_t count = 0, size = 0, offset = 0;
  };

  [[noreturn]] void fail(const std::string& what) const { throw LoadError(label_ + ": " + what); }

  /// The `bytes` bytes at `at`, which the caller knows to be there, lowest first.
  std::uint64_t number(std::uint64_t at, unsigned bytes) const {
    std::uint64_t n = 0;
    for (unsigned i = bytes; i-- > 0;)
      n = n << 8 | static_cast<std::uint64_t>(file_[static_cast<std::size_t>(at + i)]);
    return n;
  }
  bool holds(std::uint64_t at, std::uint64_t bytes, std::uint64_t stop) const noexcept {
    return at <= stop && bytes <= stop - at;
  }

  End find_end() const {
    constexpr std::uint64_t kEnd = 22, kComment = 65535;
    const std::uint64_t size = file_.size();
    if (size < kEnd)
      fail("expected a ZIP archive (.npz), found " + std::to_string(size) + " bytes");
    const std::uint64_t last = size - kEnd;
    for (std::uint64_t at = last;; --at) {
      if (number(at, 4) == 0x06054b50 && number(at + 20, 2) == last - at) return read_end(at);
      if (at == 0 || last - at == kComment) break;
    }
    fail("expected a ZIP archive (.npz), found no directory at its end");
  }

  End read_end(std::uint64_t at) const {
    End end{number(at + 10, 2), number(at + 12, 4), number(at + 16, 4)};
    if (number(at + 4, 2) != 0 || number(at + 6, 2) != 0 || number(at + 8, 2) != end.count)
      fail("expected an archive in one part, found one of several");
    std::uint64_t stop = at;
    if (at >= 20 && number(at - 20, 4) == 0x07064b50) {
      stop = number(at - 12, 8);
      if (!holds(stop, 56, at - 20) || number(stop, 4) != 0x06064b50)
        fail("expected its ZIP64 directory at byte " + std::to_string(stop) + ", found none");
      end = {number(stop + 32, 8), number(stop + 40, 8), number(stop + 48, 8)};
    }
    if (!holds(end.offset, end.size, stop))
      fail("expected its directory, " + std::to_string(end.size) + " bytes at byte " +
           std::to_string(end.offset) + ", before byte " + std::to_string(stop) +
           ", found that it is not");
    return end;
  }

  /// Reads the entry at `at` and gives where the next one begins.
  std::uint64_t read_member(std::uint64_t at, std::uint64_t stop) {
    const auto which = [&] { return "entry " + std::to_string(members_.size()) + ": "; };
    if (!holds(at, 46, stop) || number(at, 4) != 0x02014b50)
      fail(which() + "expected one at byte " + std::to_string(at) +
           " of the directory, found none");
    const std::uint64_t name = number(at + 28, 2), extra = number(at + 30, 2);
    const std::uint64_t next = 46 + name + extra + number(at + 32, 2);
    if (!holds(at, next, stop)) fail(which() + "expected it within the directory, found it beyond");
    ZipMember m;
    m.name = text(at + 46, name);
    const std::string called = "'" + printable(m.name) + "': ";
    if ((number(at + 8, 2) & 1) != 0) fail(called + "expected plain bytes, found encrypted ones");
    const std::uint64_t method = number(at + 10, 2);
    if (method != 0 && method != 8)
      fail(called + "expected method 0 (stored) or 8 (deflated), found " + std::to_string(method));
    m.deflated = method == 8;
    m.crc = static_cast<std::uint32_t>(number(at + 16, 4));
    std::uint64_t packed = number(at + 20, 4), offset = number(at + 42, 4);
    m.size = number(at + 24, 4);
    read_zip64(at + 46 + name, extra, called, m.size, packed, offset);
    if (!m.deflated && packed != m.size)
      fail(called + "expected " + std::to_string(m.size) + " stored bytes, found " +
           std::to_string(packed));
    m.packed = member_bytes(offset, packed, m.name, called, at);
    members_.push_back(m);
    return at + next;
  }

  /// What does not fit into four bytes stands in extra field 1, in this order.
  void read_zip64(std::uint64_t at, std::uint64_t bytes, const std::string& called,
                  std::uint64_t& size, std::uint64_t& packed, std::uint64_t& offset) const {
    const std::uint64_t stop = at + bytes;
    std::uint64_t* const values[] = {&size, &packed, &offset};
    const auto missing = [](const std::uint64_t* v) { return *v == 0xffffffff; };
    if (std::none_of(std::begin(values), std::end(values), missing)) return;
    while (holds(at, 4, stop)) {
      const std::uint64_t kind = number(at, 2), length = number(at + 2, 2);
      at += 4;
      if (!holds(at, length, stop)) break;
      if (kind != 1) {
        at += length;
        continue;
      }
      const std::uint64_t field_stop = at + length;
      for (std::uint64_t* v : values) {
        if (!missing(v)) continue;
        if (!holds(at, 8, field_stop)) fail(called + "expected its sizes in ZIP64, found fewer");
        *v = number(at, 8);
        at += 8;
      }
      return;
    }
    fail(called + "expected its sizes in a ZIP64 field, found none");
  }

  /// The packed bytes behind the member's own header, which has to be of the same name.
  std::span<const std::byte> member_bytes(std::uint64_t offset, std::uint64_t packed,
                                          std::string_view name, const std::string& called,
                                          std::uint64_t stop) const {
    if (!holds(offset, 30, stop) || number(offset, 4) != 0x04034b50)
      fail(called + "expected its header at byte " + std::to_string(offset) + ", found none");
    const std::uint64_t name_bytes = number(offset + 26, 2), extra = number(offset + 28, 2);
    const std::uint64_t head = 30 + name_bytes + extra;
    if (!holds(offset, head, stop) || text(offset + 30, name_bytes) != name)
      fail(called + "expected the same name in its header, found another one");
    if (!holds(offset + head, packed, stop))
      fail(called + "expected " + std::to_string(packed) + " bytes before the directory, found " +
           std::to_string(stop - offset - head));
    return file_.subspan(static_cast<std::size_t>(offset + head), static_cast<std::size_t>(packed));
  }

  std::string_view text(std::uint64_t at, std::uint64_t bytes) const {
    return {reinterpret_cast<const char*>(file_.data()) + at, static_cast<std::size_t>(bytes)};
  }

  void refuse_duplicates() const {
    std::vector<std::string_view> names;
    for (const auto& m : members_) names.push_back(m.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
      fail("expected each name once, found '" + printable(*twice) + "' twice");
  }

  std::span<const std::byte> file_;
  std::string label_;
  std::vector<ZipMember> members_;
};

}  // namespace sequin::inline SEQUIN_ABI::detail
