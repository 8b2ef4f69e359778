// A mutator for safetensors: half of the time the length before the header is made right again, and
// the data as long as the header wants. Without it nearly all inputs end at those two checks.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t room);

namespace {

/// Where the object that begins the text ends; 0 when it does not.
std::size_t object_end(std::span<const std::uint8_t> text) {
  int depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_text) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        in_text = false;
      continue;
    }
    in_text = text[i] == '"';
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return i + 1;
  }
  return 0;
}

/// The largest number that ends a list: of the data_offsets, unless a shape has a larger one.
std::size_t largest_end(std::span<const std::uint8_t> text) {
  std::size_t largest = 0, number = 0;
  for (const std::uint8_t c : text) {
    if (c >= '0' && c <= '9' && number < 1'000'000)
      number = number * 10 + (c - '0');
    else {
      if (c == ']' && number > largest) largest = number;
      number = 0;
    }
  }
  return largest;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t room, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, room);
  if (size < 10 || seed % 2 == 0) return size;
  const std::uint64_t length = object_end({data + 8, size - 8});
  if (length == 0) return size;
  std::memcpy(data, &length, sizeof length);
  const std::size_t header = 8 + static_cast<std::size_t>(length);
  const std::size_t wanted = header + largest_end({data + 8, header - 8});
  if (seed % 4 == 1 || wanted > room) return size;
  if (wanted > size) std::memset(data + size, 1, wanted - size);
  return wanted;
}
