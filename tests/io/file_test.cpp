#include "sequin/io/atomic_file.hpp"
#include "sequin/io/csv.hpp"
#include "sequin/io/mapped_file.hpp"
#include "sequin/io/safetensors.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <csignal>
#endif

using namespace sequin;
using namespace sequin_test;

namespace {

std::string map_refusal(const std::filesystem::path& path) {
  return message_of<LoadError>([&] { MappedFile file(path); });
}

}  // namespace

TEST_CASE("mapped file: the bytes are those of the file, also after a move") {
  const TemporaryFolder folder;
  MappedFile first(put(folder / "x", "abc"));
  MappedFile second(std::move(first));
  CHECK(first.bytes().empty());
  first = std::move(second);
  REQUIRE(first.bytes().size() == 3);
  CHECK(first.bytes()[2] == std::byte{'c'});
}

TEST_CASE("mapped file: what is no file with contents is refused by name and kind") {
  const TemporaryFolder folder;
  CHECK(contains(map_refusal(folder / "none"), "none: expected a file, found none"));
  CHECK(contains(map_refusal(folder.path()), "found a directory"));
  CHECK(contains(map_refusal(put(folder / "empty", "")), "empty: expected a file with contents"));
  CHECK(contains(map_refusal(put(folder / "file", "x") / "below"), "below: "));
  CHECK(contains(map_refusal(folder / std::string(300, 'n')), "nnn: "));
  std::error_code failed;
  std::filesystem::create_symlink("loop", folder / "loop", failed);
  if (!failed) CHECK(contains(map_refusal(folder / "loop"), "loop: "));
}

#if !defined(_WIN32)
TEST_CASE("mapped file: a pipe is refused without waiting for a writer") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(contains(map_refusal(folder / "pipe"), "pipe: expected a regular file, found a device"));
  CHECK(contains(map_refusal("/dev/null"), "/dev/null: expected a regular file"));
}

TEST_CASE("mapped file: a file that may not be read is refused") {
  if (::geteuid() == 0) return;  // nothing is forbidden to root
  const TemporaryFolder folder;
  put(folder / "x", "abc");
  std::filesystem::permissions(folder / "x", std::filesystem::perms::none);
  CHECK(contains(map_refusal(folder / "x"), "x: Permission denied"));
}
#endif

TEST_CASE("mapped file: a file that grows keeps the size it had") {
  const TemporaryFolder folder;
  const MappedFile file(put(folder / "x", "abc"));
  std::ofstream(folder / "x", std::ios::binary | std::ios::app) << "def";
  REQUIRE(file.bytes().size() == 3);
  CHECK(file.bytes()[2] == std::byte{'c'});
}

TEST_CASE("mapped file: a link leads to its file") {
  const TemporaryFolder folder;
  put(folder / "x", "abc");
  std::error_code failed;
  std::filesystem::create_symlink("x", folder / "link", failed);
  if (!failed) CHECK(MappedFile(folder / "link").bytes().size() == 3);
}

TEST_CASE("read file: the contents, unless it is no file, empty or too large") {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::filesystem::path& path, std::uint64_t limit) {
    return message_of<LoadError>([&] { read_file(path, limit); });
  };
  put(folder / "x", "abc");
  CHECK(read_file(folder / "x", 3) == "abc");
  CHECK(contains(refusal(folder / "x", 2), "x: expected at most 2 bytes, found 3"));
  CHECK(contains(refusal(folder / "none", 2), "none: expected a file, found none"));
  CHECK(contains(refusal(folder.path(), 2), "found a directory"));
  CHECK(contains(refusal(put(folder / "empty", ""), 2), "empty: expected a file with contents"));
}

TEST_CASE("read file: a file that shrinks meanwhile is read or refused") {
  const TemporaryFolder folder;
  const auto path = put(folder / "t.csv", "");
  std::string text = "a\n";
  for (int i = 0; i < 50'000; ++i) text += "1\n";
  std::atomic<bool> done{false};
  std::thread writer([&] {
    while (!done) {
      put(path, text);
      std::error_code ignored;
      std::filesystem::resize_file(path, 2, ignored);
    }
  });
  // Mapped, the program would end here with a bus error.
  int outcomes = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      outcomes += read_csv(path).rows() <= 50'000;
    } catch (const LoadError&) {
      ++outcomes;
    }
  }
  done = true;
  writer.join();
  CHECK(outcomes == 200);
}

TEST_CASE("atomic file: the old contents stay until commit") {
  const TemporaryFolder folder;
  put(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("ne");
    CHECK(contents(folder / "x") == "old");
    file.write(bytes_of("w"));
    file.write("");
    file.commit();
  }
  CHECK(contents(folder / "x") == "new");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: without commit nothing changes and nothing is left behind") {
  const TemporaryFolder folder;
  put(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("new");
    CHECK(folder.count() == 2);
  }
  CHECK(contents(folder / "x") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: two writers of one file do not disturb each other") {
  const TemporaryFolder folder;
  AtomicFile a(folder / "x"), b(folder / "x");
  a.write("aa");
  b.write("b");
  b.commit();
  CHECK(contents(folder / "x") == "b");
  a.commit();
  CHECK(contents(folder / "x") == "aa");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: after commit it is closed") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "x");
  file.write("a");
  file.commit();
  CHECK(contains(message_of<LoadError>([&] { file.write("b"); }), "x: cannot be written"));
  CHECK(contains(message_of<LoadError>([&] { file.commit(); }), "x: cannot be written"));
  CHECK(contents(folder / "x") == "a");
}

TEST_CASE("atomic file: a folder that is not there and a folder as target are refused") {
  const TemporaryFolder folder;
  CHECK(contains(message_of<LoadError>([&] { AtomicFile file(folder / "none/x"); }),
                 "x: cannot be written: "));
  CHECK(contains(message_of<LoadError>([&] { AtomicFile file(folder.path()); }),
                 "found a directory"));
  CHECK(folder.count() == 0);
}

#if !defined(_WIN32)
TEST_CASE("atomic file: a device is refused, not replaced by a file") {
  CHECK(contains(message_of<LoadError>([] { AtomicFile file("/dev/full"); }), "found a device"));
  struct stat info {};
  REQUIRE(::stat("/dev/full", &info) == 0);
  CHECK(S_ISCHR(info.st_mode));
}

TEST_CASE("atomic file: a link stays a link and its file is written") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "far");
  put(folder / "far/x", "old");
  std::filesystem::create_symlink("far/x", folder / "link");
  AtomicFile file(folder / "link");
  file.write("new");
  file.commit();
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(contents(folder / "far/x") == "new");
}

TEST_CASE("atomic file: a full disk leaves the older file and says so") {
  const TemporaryFolder folder;
  put(folder / "x", "old");
  put(folder / "y", "old");
  // A file that may not grow is a disk that is full. In a process of its own, as the limit stays.
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};
    int code = ::setrlimit(RLIMIT_FSIZE, &limit) == 0 ? 0 : 1;
    const std::vector<float> values(100'000);
    const std::string large = message_of<LoadError>([&] {
      save_safetensors(
          folder / "x",
          std::vector<TensorEntry>{
              {"a", DType::F32, {100'000}, std::as_bytes(std::span<const float>(values))}});
    });
    if (!contains(large, "x: cannot be written: File too large")) code |= 2;
    // Small enough for the buffer of the C library: only commit notices.
    const rlimit tiny{10, 10};
    if (::setrlimit(RLIMIT_FSIZE, &tiny) != 0) code |= 1;
    const std::string small = message_of<LoadError>([&] {
      AtomicFile file(folder / "y");
      file.write("more than ten bytes");
      file.commit();
    });
    if (!contains(small, "y: cannot be written: File too large")) code |= 4;
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(contents(folder / "x") == "old");
  CHECK(contents(folder / "y") == "old");
  CHECK(folder.count() == 2);
}
#endif
