/// A file's contents in memory.
#pragma once

#include "sequin/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#if defined(_WIN32)
#include <fstream>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Throws LoadError naming the path when it is not a regular file.
inline void check_regular_file(const std::filesystem::path& path, const std::string& name) {
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (status.type() == std::filesystem::file_type::not_found)
    throw LoadError(name + ": expected a file, found none");
  if (failed) throw LoadError(name + ": " + failed.message());
  if (status.type() == std::filesystem::file_type::directory)
    throw LoadError(name + ": expected a file, found a directory");
  if (status.type() != std::filesystem::file_type::regular)
    throw LoadError(name + ": expected a regular file, found a device, pipe or socket");
}

#if !defined(_WIN32)
/// A regular file open for reading, and its size.
class OpenFile {
 public:
  OpenFile(const std::filesystem::path& path, const std::string& name) {
    check_regular_file(path, name);
    // Without O_NONBLOCK a pipe put there since would wait for a writer.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) throw LoadError(name + ": " + std::strerror(errno));
    struct stat info {};
    const bool regular = ::fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode);
    size_ = static_cast<std::size_t>(info.st_size);
    if (regular && size_ > 0) return;
    ::close(descriptor_);
    throw LoadError(name + (regular ? ": expected a file with contents, found an empty one"
                                    : ": expected a regular file"));
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { ::close(descriptor_); }

  int descriptor() const noexcept { return descriptor_; }
  std::size_t size() const noexcept { return size_; }

 private:
  int descriptor_ = -1;
  std::size_t size_ = 0;
};
#endif

}  // namespace detail

/// The contents of a file, read into memory, which somebody who truncates it meanwhile does not
/// change. Throws LoadError naming the path when it is not a readable regular file, holds nothing
/// or more than `limit` bytes, or became shorter.
inline std::string read_file(const std::filesystem::path& path, std::uint64_t limit) {
  const std::string name = detail::printable(path.string(), 400);
#if defined(_WIN32)
  detail::check_regular_file(path, name);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw LoadError(name + ": cannot be opened");
  const auto size = static_cast<std::size_t>(file.tellg());
  if (size == 0) throw LoadError(name + ": expected a file with contents, found an empty one");
#else
  const detail::OpenFile file(path, name);
  const std::size_t size = file.size();
#endif
  if (size > limit)
    throw LoadError(name + ": expected at most " + std::to_string(limit) + " bytes, found " +
                    std::to_string(size));
  std::string text(size, '\0');
#if defined(_WIN32)
  file.seekg(0);
  if (!file.read(text.data(), static_cast<std::streamsize>(size)))
    throw LoadError(name + ": cannot be read");
#else
  for (std::size_t at = 0; at < size;) {
    const auto got = ::read(file.descriptor(), text.data() + at, size - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw LoadError(name + ": cannot be read: " + std::strerror(errno));
    if (got == 0)
      throw LoadError(name + ": expected " + std::to_string(size) + " bytes, found " +
                      std::to_string(at) + " (it became shorter)");
    at += static_cast<std::size_t>(got);
  }
#endif
  return text;
}

}  // namespace sequin::inline SEQUIN_ABI
