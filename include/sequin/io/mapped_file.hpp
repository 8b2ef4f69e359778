/// A file's bytes, mapped read-only.
#pragma once

#include "sequin/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#if defined(_WIN32)
#include <fstream>
#include <vector>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace sequin::inline SEQUIN_ABI {

/// Owns the mapping; moves, does not copy. The bytes are those of the file as it is: somebody who
/// truncates it meanwhile ends the program, so writers replace files by renaming (AtomicFile).
class MappedFile {
 public:
  /// Throws LoadError naming the path when it is not a readable regular file or holds nothing.
  explicit MappedFile(const std::filesystem::path& path) {
    const std::string name = detail::printable(path.string(), 400);
    std::error_code failed;
    const auto status = std::filesystem::status(path, failed);
    if (status.type() == std::filesystem::file_type::not_found)
      throw LoadError(name + ": expected a file, found none");
    if (failed) throw LoadError(name + ": " + failed.message());
    if (status.type() == std::filesystem::file_type::directory)
      throw LoadError(name + ": expected a file, found a directory");
    if (status.type() != std::filesystem::file_type::regular)
      throw LoadError(name + ": expected a regular file, found a device, pipe or socket");
#if defined(_WIN32)
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw LoadError(name + ": cannot be opened");
    copy_.resize(static_cast<std::size_t>(file.tellg()));
    file.seekg(0);
    if (!file.read(reinterpret_cast<char*>(copy_.data()),
                   static_cast<std::streamsize>(copy_.size())))
      throw LoadError(name + ": cannot be read");
    data_ = copy_.data();
    size_ = copy_.size();
#else
    // Without O_NONBLOCK a pipe put there since would wait for a writer.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) throw LoadError(name + ": " + std::strerror(errno));
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(descriptor);
      throw LoadError(name + ": expected a regular file");
    }
    size_ = static_cast<std::size_t>(info.st_size);
    if (size_ > 0) {
      void* const at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
      const int error = errno;
      ::close(descriptor);
      if (at == MAP_FAILED) throw LoadError(name + ": cannot be mapped: " + std::strerror(error));
      data_ = static_cast<const std::byte*>(at);
    } else {
      ::close(descriptor);
    }
#endif
    if (size_ == 0) throw LoadError(name + ": expected a file with contents, found an empty one");
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
  std::vector<std::byte> copy_;
#endif
};

}  // namespace sequin::inline SEQUIN_ABI
