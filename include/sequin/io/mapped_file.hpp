/// A file's bytes, mapped read-only.
#pragma once

#include "sequin/io/read_file.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#if defined(_WIN32)
#include <cstdint>
#include <limits>
#include <memory>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace sequin::inline SEQUIN_ABI {

/// Owns the mapping; moves, does not copy. The bytes are those of the file as it is: somebody who
/// truncates it meanwhile ends the program, so writers replace files by renaming (AtomicFile).
class MappedFile {
 public:
  /// Throws LoadError naming the path when it is not a readable regular file or holds nothing.
  explicit MappedFile(const std::filesystem::path& path) {
#if defined(_WIN32)
    copy_ =
        std::make_unique<std::string>(read_file(path, (std::numeric_limits<std::uint64_t>::max)()));
    data_ = reinterpret_cast<const std::byte*>(copy_->data());
    size_ = copy_->size();
#else
    const std::string name = detail::printable(path.string(), 400);
    const detail::OpenFile file(path, name);
    void* const at = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (at == MAP_FAILED) throw LoadError(name + ": cannot be mapped: " + std::strerror(errno));
    data_ = static_cast<const std::byte*>(at);
    size_ = file.size();
#endif
  }
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile() {
#if !defined(_WIN32)
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
#endif
  }

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Tells the system that `part` need not stay in memory; it stays readable. Bytes that are not
  /// this file's are left alone.
  void forget(std::span<const std::byte> part) const noexcept {
#if !defined(_WIN32)
    if (part.empty() || part.data() < data_ || part.data() + part.size() > data_ + size_) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = static_cast<std::size_t>(part.data() - data_) / page * page;
    const auto end = static_cast<std::size_t>(part.data() - data_) + part.size();
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
#else
    static_cast<void>(part);
#endif
  }

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
#if defined(_WIN32)
    std::swap(copy_, other.copy_);
#endif
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
#if defined(_WIN32)
  std::unique_ptr<const std::string> copy_;
#endif
};

}  // namespace sequin::inline SEQUIN_ABI
