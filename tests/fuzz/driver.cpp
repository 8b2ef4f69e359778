// Joins a function of fuzz.hpp, SEQUIN_FUZZ_TARGET, with libFuzzer.
#include <cstddef>
#include <cstdint>
#include <span>

namespace sequin_fuzz {
void SEQUIN_FUZZ_TARGET(std::span<const std::byte> bytes);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sequin_fuzz::SEQUIN_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
  return 0;
}
