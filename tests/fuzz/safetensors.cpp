#include "fuzz.hpp"

#include "sequin/io/safetensors.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace sequin_fuzz {

using namespace sequin;

namespace {

void check_entry(const SafetensorsFile& file, const TensorEntry& e) {
  std::uint64_t size = dtype_size(e.dtype);
  for (const std::int64_t n : e.shape) {
    require(n >= 0, "an extent is not negative");
    size *= static_cast<std::uint64_t>(n);
  }
  require(size == e.bytes.size(), "a tensor has the bytes of its shape and dtype");
  require(file.find(e.name) == &e, "a tensor is found by its name");
  const std::size_t count = e.bytes.size() / dtype_size(e.dtype);
  require(file.read<float>(e.name).size() == count, "every type reads as float");
  require(file.read<double>(e.name).size() == count, "every type reads as double");
  // Refused where an integer cannot hold an element.
  accepts([&] { file.read<std::int64_t>(e.name); });
  accepts([&] { file.read<std::int32_t>(e.name); });
  accepts([&] { file.read<std::uint8_t>(e.name); });
}

bool same(const TensorEntry& a, const TensorEntry& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape &&
         std::ranges::equal(a.bytes, b.bytes);
}

}  // namespace

void fuzz_safetensors(std::span<const std::byte> bytes) {
  std::optional<SafetensorsFile> file;
  if (!accepts([&] { file = SafetensorsFile::from_memory(bytes, "f"); })) return;
  std::size_t total = 0;
  for (const TensorEntry& e : file->tensors()) {
    require(within(e.bytes, bytes), "a tensor lies within the file");
    check_entry(*file, e);
    total += e.bytes.size();
  }
  require(total + 8 <= bytes.size(), "tensors do not overlap");

  const std::map<std::string, std::string> metadata(file->metadata().begin(),
                                                    file->metadata().end());
  const auto path = scratch("saved.safetensors");
  save_safetensors(path, file->tensors(), metadata);
  const SafetensorsFile again(path);
  require(std::ranges::equal(again.tensors(), file->tensors(), same),
          "what was saved is what was loaded");
  require(again.metadata() == file->metadata(), "metadata is saved as it was loaded");
}

}  // namespace sequin_fuzz
