// Plays the files of corpus/ and regressions/ through the functions of fuzz.hpp.
#include "fuzz.hpp"

#include "support/catch.hpp"

#include <string>

using namespace sequin_fuzz;

namespace {

void replay(const char* target, void (*f)(std::span<const std::byte>)) {
  int seeds = 0;
  for (const char* kind : {"corpus", "regressions"}) {
    const auto folder = std::filesystem::path(SEQUIN_FUZZ_DATA) / kind / target;
    if (!std::filesystem::exists(folder)) continue;  // no regression yet
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string text = sequin_test::contents(entry.path());
      // On the heap and no longer than the file, so that sanitizers see one byte too far.
      const std::vector<char> bytes(text.begin(), text.end());
      INFO(entry.path().string());
      CHECK_NOTHROW(f(std::as_bytes(std::span(bytes))));
      seeds += std::string(kind) == "corpus";
    }
  }
  CHECK(seeds > 0);
}

}  // namespace

TEST_CASE("fuzz: files of tensors are read or refused") { replay("safetensors", fuzz_safetensors); }
TEST_CASE("fuzz: indexes of shards are read or refused") {
  replay("sharded_index", fuzz_sharded_index);
}
TEST_CASE("fuzz: configurations are read or refused") { replay("config", fuzz_config); }
TEST_CASE("fuzz: tables are read or refused") { replay("csv", fuzz_csv); }
TEST_CASE("fuzz: arrays of NumPy are read or refused") { replay("npy", fuzz_npy); }
TEST_CASE("fuzz: tokenizers are read or refused") { replay("tokenizer", fuzz_tokenizer); }
TEST_CASE("fuzz: checkpoints are read or refused") { replay("checkpoint", fuzz_checkpoint); }
TEST_CASE("fuzz: states of streams are read or refused") { replay("state", fuzz_state); }
#if SEQUIN_FUZZ_ZLIB
TEST_CASE("fuzz: archives of NumPy are read or refused") { replay("npz", fuzz_npz); }
#endif
#if SEQUIN_FUZZ_AUDIO
TEST_CASE("fuzz: audio files are read or refused") { replay("wav", fuzz_wav); }
#endif

TEST_CASE("fuzz: a property that does not hold is noticed") {
  CHECK_THROWS_AS(require(false, "never"), Broken);
  CHECK_THROWS_AS(accepts([] { throw sequin::LoadError("two\nlines"); }), Broken);
  CHECK_THROWS_AS(accepts([] { throw sequin::LoadError("\xc2\x9b"); }), Broken);
  CHECK_THROWS_AS(accepts([] { throw std::out_of_range("map::at"); }), std::out_of_range);
  CHECK_FALSE(accepts([] { throw sequin::LoadError("f: expected a, found b"); }));
  const std::byte bytes[4] = {};
  const std::span<const std::byte> whole(bytes);
  CHECK(within(whole.subspan(1, 3), whole));
  CHECK_FALSE(within(whole, whole.subspan(1)));
  CHECK_FALSE(within(whole, whole.first(3)));
}
