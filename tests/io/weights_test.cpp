#include "sequin/io/weights.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

using namespace sequin;
using namespace sequin_test;

namespace {

/// A file of one-byte tensors of these names.
std::string bytes_named(std::initializer_list<const char*> names) {
  std::string header = "{";
  std::size_t at = 0;
  for (const char* name : names) {
    header += (at == 0 ? "\"" : ",\"") + std::string(name) +
              "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(at) + "," +
              std::to_string(at + 1) + "]}";
    ++at;
  }
  return file_of(header + "}", at);
}

/// A folder with the shards one (a, b) and two (c) and this index.
struct Sharded {
  explicit Sharded(std::string_view index) {
    put(folder / "one.safetensors", bytes_named({"a", "b"}));
    put(folder / "two.safetensors", bytes_named({"c"}));
    put(folder / "model.safetensors.index.json", index);
  }
  std::string refusal() const {
    return message_of<LoadError>([&] { open_weights(folder.path()); });
  }
  TemporaryFolder folder;
};

std::string refusal(std::string_view index) { return Sharded(index).refusal(); }

std::string index_of_c(const std::string& shard) {
  return R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":")" + shard + "\"}}";
}

}  // namespace

TEST_CASE("weights: a folder opens by any of the three names, a file by its own") {
  const TemporaryFolder folder;
  CHECK(contains(message_of<LoadError>([&] { open_weights(folder.path()); }),
                 "expected weights.safetensors, model.safetensors or"));
  CHECK(contains(message_of<LoadError>([&] { open_weights(folder / "none"); }), "found none"));
  put(folder / "model.safetensors", bytes_named({"a"}));
  CHECK(open_weights(folder.path()).find("a") != nullptr);
  put(folder / "weights.safetensors", bytes_named({"b", "c"}));
  const WeightsSource source = open_weights(folder.path());
  CHECK(source.find("a") == nullptr);
  CHECK(source.find("c") != nullptr);
  CHECK(source.element_count() == 2);
  CHECK(source.label() == (folder / "weights.safetensors").string());
  CHECK(open_weights(folder / "model.safetensors").tensors().size() == 1);
}

TEST_CASE("weights: memory serves as a file does") {
  const std::string text = bytes_named({"a"});
  const auto source = WeightsSource::from_memory(bytes_of(text), "firmware");
  CHECK(source.label() == "firmware");
  CHECK(source.find("a")->bytes[0] == std::byte{1});
  CHECK(contains(message_of<LoadError>([] { WeightsSource::from_memory({}, "firmware"); }),
                 "firmware: expected"));
}

TEST_CASE("weights: shards together are one source, and a copy outlives it") {
  const Sharded good(
      R"({"metadata":{"total_size":3},"weight_map":{"a":"one.safetensors","b":"one.safetensors",)"
      R"("c":"two.safetensors"}})");
  std::vector<WeightsSource> copies;
  copies.push_back(open_weights(good.folder.path()));
  CHECK(copies[0].tensors().size() == 3);
  CHECK(copies[0].element_count() == 3);
  CHECK(copies[0].find("c")->bytes[0] == std::byte{1});
}

TEST_CASE("weights: an index that is no map from names to files is refused") {
  for (const char* index : {"{}", "[]", "null", "x", R"({"weight_map":[]})",
                            R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":null}})",
                            R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})"}) {
    INFO(index);
    CHECK(contains(refusal(index), "model.safetensors.index.json: "));
  }
}

TEST_CASE("weights: a shard is a file beside the index and nothing else") {
  for (const char* shard : {"/etc/passwd", "../two.safetensors", "x/../two.safetensors", "..", ".",
                            "", "./two.safetensors", "two.safetensors\\u0000.x"}) {
    INFO(shard);
    CHECK(contains(refusal(index_of_c(shard)), "weight_map: expected the name of a file beside"));
  }
  CHECK(contains(refusal(index_of_c("three.safetensors")), "three.safetensors: expected a file"));
}

TEST_CASE("weights: an index that lies about its shards is refused") {
  CHECK(contains(refusal(index_of_c("one.safetensors")), "tensor 'c': expected"));
  CHECK(contains(refusal(R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})"),
                 "weight_map: expected the 3 tensors of its shards, found 2"));
  for (const char* size : {"4", "-3", "\"3\"", "1e300", "null", "3.5"}) {
    INFO(size);
    CHECK(contains(refusal(std::string("{\"metadata\":{\"total_size\":") + size + "}," +
                           index_of_c("two.safetensors").substr(1)),
                   "metadata.total_size: expected 3"));
  }
}

TEST_CASE("weights: the limits can be asked to be others") {
  const Sharded good(index_of_c("two.safetensors"));
  const auto refused = [&](const WeightsLimits& limits) {
    return message_of<LoadError>([&] { open_weights(good.folder.path(), limits); });
  };
  WeightsLimits limits;
  CHECK(refused(limits) == "nothing thrown");
  limits.index.bytes = 50;
  CHECK(contains(refused(limits), "index.json: expected at most 50 bytes, found"));
  limits = {};
  limits.file.tensors = 1;
  CHECK(contains(refused(limits), "one.safetensors: header: expected at most 1 tensors"));
  put(good.folder / "model.safetensors", bytes_named({"a", "b"}));
  CHECK(contains(refused(limits), "model.safetensors: header: expected at most 1 tensors"));
}

TEST_CASE("weights: a tensor in two shards is refused") {
  const Sharded folder(R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})");
  put(folder.folder / "two.safetensors", bytes_named({"c", "a"}));
  CHECK(contains(folder.refusal(), "tensor 'a': expected in one shard, found in two"));
}

#if !defined(_WIN32)
TEST_CASE("weights: a shard that links out of its folder is refused, but not in a cache") {
  const TemporaryFolder outside;
  const Sharded folder(index_of_c("link.safetensors"));
  const auto link = folder.folder / "link.safetensors";
  put(outside / "two", bytes_named({"c"}));
  std::filesystem::create_symlink(outside / "two", link);
  CHECK(contains(folder.refusal(), "expected a file of its folder, found a link out of it"));
  std::filesystem::remove(link);
  std::filesystem::create_symlink("two.safetensors", link);
  CHECK(folder.refusal() == "nothing thrown");

  const auto snapshot = outside / "snapshots/rev";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(outside / "blobs");
  put(outside / "blobs/1", bytes_named({"c"}));
  put(outside / "blobs/2", R"({"weight_map":{"c":"two.safetensors"}})");
  std::filesystem::create_symlink("../../blobs/1", snapshot / "two.safetensors");
  std::filesystem::create_symlink("../../blobs/2", snapshot / "model.safetensors.index.json");
  CHECK(open_weights(snapshot).find("c") != nullptr);
}
#endif
