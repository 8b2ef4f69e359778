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
  /// Throws LoadError when the folder cannot be written or `path` is something else than a file: a
  /// rename would replace a device. Where it is a link, the file that it leads to is written.
  explicit AtomicFile(const std::filesystem::path& path) : path_(path) {
    std::error_code ignored;
    const auto status = std::filesystem::status(path, ignored);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw LoadError(detail::printable(path.string(), 400) +
                      ": expected a file to write, found a " +
                      (std::filesystem::is_directory(status) ? "directory" : "device or pipe"));
    if (std::filesystem::is_symlink(path, ignored)) {
      auto target = std::filesystem::canonical(path, ignored);
      if (!ignored) path_ = std::move(target);
    }
    std::random_device random;
    temporary_ = path_;
    temporary_ += ".tmp" + std::to_string(random()) + std::to_string(random());
    file_ = std::fopen(temporary_.string().c_str(), "wbx");
    if (file_ == nullptr) fail("cannot be written", errno);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() { discard(); }

  /// Throws LoadError with the reason.
  void write(std::span<const std::byte> bytes) {
    if (file_ == nullptr) fail("cannot be written", EBADF);
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
      fail("cannot be written", errno);
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Makes the new contents the file's. Throws LoadError; the old contents then stay.
  void commit() {
    if (file_ == nullptr) fail("cannot be written", EBADF);
    int error = std::fflush(file_) == 0 ? 0 : errno;
#if !defined(_WIN32)
    if (error == 0 && ::fsync(::fileno(file_)) != 0) error = errno;
#endif
    if (std::fclose(file_) != 0 && error == 0) error = errno;
    file_ = nullptr;
    if (error != 0) fail("cannot be written", error);
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

/// Removes what a killed program left beside `path` while it was writing it with AtomicFile. For
/// those who know that nobody else is writing there; what cannot be removed stays.
inline void remove_leftovers(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::string stem = path.filename().string() + ".tmp";
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::filesystem::directory_iterator entry(folder, ignored), end;
  for (; !ignored && entry != end; entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (name.size() == stem.size() || !name.starts_with(stem) ||
        name.find_first_not_of("0123456789", stem.size()) != std::string::npos)
      continue;
    std::error_code failed;
    std::filesystem::remove(entry->path(), failed);
  }
}

}  // namespace sequin::inline SEQUIN_ABI
