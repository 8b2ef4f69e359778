/// What each loader must do with any bytes: one function a loader, called by libFuzzer and by
/// ctest.
#pragma once

#include "sequin/core/error.hpp"

#include "io/file_helpers.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string_view>

namespace sequin_fuzz {

/// A loader did what it must not. Nothing here catches it: libFuzzer stops and a test fails.
class Broken : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

inline void require(bool holds, const char* what) {
  if (!holds) throw Broken(what);
}

/// Runs `f`; false when it throws what the library documents, with a text of one short line that
/// cannot change a terminal. Any other exception passes.
template <class F>
bool accepts(F f) {
  try {
    f();
    return true;
  } catch (const sequin::Error& e) {
    const std::string_view what = e.what();
    require(!what.empty() && what.size() < 8000, "a message is short");
    unsigned before = 0;
    for (const char c : what) {
      const unsigned u = static_cast<unsigned char>(c);
      require(u >= 0x20 && u != 0x7f && !(before == 0xc2 && u >= 0x80 && u < 0xa0),
              "a message is one plain line");
      before = u;
    }
    return false;
  }
}

/// True when `part` lies within `whole`.
inline bool within(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A folder for the files of this process.
inline std::filesystem::path scratch(std::string_view name) {
  static const sequin_test::TemporaryFolder folder;
  return folder / name;
}

// Each takes the bytes of a file. Throws Broken.
void fuzz_safetensors(std::span<const std::byte> bytes);
void fuzz_sharded_index(std::span<const std::byte> bytes);
void fuzz_config(std::span<const std::byte> bytes);
void fuzz_csv(std::span<const std::byte> bytes);
void fuzz_npy(std::span<const std::byte> bytes);
void fuzz_npz(std::span<const std::byte> bytes);
void fuzz_wav(std::span<const std::byte> bytes);
void fuzz_tokenizer(std::span<const std::byte> bytes);
void fuzz_checkpoint(std::span<const std::byte> bytes);
void fuzz_state(std::span<const std::byte> bytes);

}  // namespace sequin_fuzz
