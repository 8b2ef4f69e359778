#include "fuzz.hpp"

#include "sequin/io/weights.hpp"

#include <optional>
#include <string>

namespace sequin_fuzz {

using namespace sequin;
using sequin_test::file_of;
using sequin_test::put;

namespace {

/// A file of the one-byte tensors that are named by the letters.
std::string shard_of(std::string_view letters) {
  std::string header = "{";
  for (std::size_t i = 0; i < letters.size(); ++i)
    header += (i == 0 ? "\"" : ",\"") + std::string(1, letters[i]) +
              R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) + "," +
              std::to_string(i + 1) + "]}";
  return file_of(header + "}", letters.size());
}

/// Shards one (a, b) and two (c, d), a link to two, a link and a folder that lead out to x.
std::filesystem::path make_folder() {
  const auto folder = scratch("shards"), outside = scratch("outside");
  std::filesystem::create_directories(folder / "sub");
  std::filesystem::create_directories(outside);
  put(folder / "one", shard_of("ab"));
  put(folder / "two", shard_of("cd"));
  put(folder / "sub" / "in", shard_of("x"));
  put(outside / "x", shard_of("x"));
  std::error_code no_links;
  std::filesystem::create_symlink("two", folder / "link", no_links);
  std::filesystem::create_symlink(outside / "x", folder / "out", no_links);
  return folder;
}

}  // namespace

void fuzz_sharded_index(std::span<const std::byte> bytes) {
  static const std::filesystem::path folder = make_folder();
  put(folder / "model.safetensors.index.json", text_of(bytes));
  std::optional<WeightsSource> source;
  if (!accepts([&] { source = open_weights(folder); })) return;
  require(source->find("x") == nullptr, "no shard lies outside of the folder");
  require(source->tensors().size() <= 4, "no shard is taken twice");
  for (const TensorEntry& e : source->tensors()) {
    require(source->find(e.name)->bytes.data() == e.bytes.data(), "a tensor is found by its name");
    require(source->read<float>(e.name).at(0) == 1.0f, "a tensor has the value of its shard");
    require(text_of(bytes).find("weight_map") != std::string_view::npos ||
                text_of(bytes).find("\\u") != std::string_view::npos,
            "tensors come from the map");
  }
}

}  // namespace sequin_fuzz
