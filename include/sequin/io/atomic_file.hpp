/// Files that are either written whole or not at all.
#pragma once

#include "sequin/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace sequin::inline SEQUIN_ABI {

/// Writes beside the target and renames on `commit()`. Without a commit, or when writing fails
/// (disk full), the target stays as it was and nothing is left behind.
class AtomicFile {
 public:
  /// Throws LoadError when the folder cannot be written.
  explicit AtomicFile(const std::filesystem::path& path) : path_(path) {
    std::random_device random;
    temporary_ = path;
    temporary_ += ".tmp" + std::to_string(random()) + std::to_string(random());
    file_ = std::fopen(temporary_.string().c_str(), "wbx");
    if (file_ == nullptr) fail("cannot be written", errno);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() { discard(); }

  /// Throws LoadError with the reason.
  void write(std::span<const std::byte> bytes) {
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
      fail("cannot be written", errno);
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Makes the new contents the file's. Throws LoadError; the old contents then stay.
  void commit() {
    bool good = std::fflush(file_) == 0;
#if !defined(_WIN32)
    good = good && ::fsync(::fileno(file_)) == 0;
#endif
    int error = errno;
    good = std::fclose(file_) == 0 && good;
    file_ = nullptr;
    if (!good) fail("cannot be written", error);
    std::error_code failed;
    std::filesystem::rename(temporary_, path_, failed);
    if (failed) fail("cannot be replaced", failed.value());
    temporary_.clear();
#if !defined(_WIN32)
    // The rename itself has to reach the disk too.
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    const int descriptor = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
      ::fsync(descriptor);
      ::close(descriptor);
    }
#endif
  }

 private:
  [[noreturn]] void fail(const char* what, int error) {
    discard();
    throw LoadError(detail::printable(path_.string(), 400) + ": " + what + ": " +
                    std::strerror(error));
  }

  void discard() noexcept {
    if (file_ != nullptr) std::fclose(file_);
    file_ = nullptr;
    if (temporary_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    temporary_.clear();
  }

  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace sequin::inline SEQUIN_ABI
