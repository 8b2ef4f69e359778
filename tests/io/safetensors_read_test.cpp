#include "sequin/io/weights.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

using namespace sequin;
using namespace sequin_test;

namespace {

// An odd header and a first tensor of one byte: all that follow are misaligned.
std::string mixed_file() {
  std::string text = file_of(R"({"flag":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},)"
                             R"("half":{"dtype":"F16","shape":[3],"data_offsets":[1,7]},)"
                             R"("none":{"dtype":"F32","shape":[0,7],"data_offsets":[7,7]},)"
                             R"("one":{"dtype":"F64","shape":[],"data_offsets":[7,15]},)"
                             R"("ids":{"dtype":"U64","shape":[2],"data_offsets":[15,31]}} )",
                             0);
  const auto append = [&](auto value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    text.append(bytes, sizeof value);
  };
  append(std::uint8_t{1});
  for (const unsigned h : {0x3c00u, 0xfc00u, 0x7e01u}) append(static_cast<std::uint16_t>(h));
  append(0.1);
  append(std::uint64_t{7});
  append(std::numeric_limits<std::uint64_t>::max());
  return text;
}

std::string with_shape(const TemporaryFolder& folder, std::vector<std::int64_t> shape,
                       std::span<const std::byte> bytes) {
  return message_of<LoadError>([&] {
    save_safetensors(folder / "x",
                     std::vector<TensorEntry>{{"a", DType::F32, std::move(shape), bytes}});
  });
}

}  // namespace

TEST_CASE("safetensors read: values come out converted, wherever the bytes begin") {
  const std::string text = mixed_file();
  for (std::size_t shift = 0; shift < 8; ++shift) {
    const std::string moved = std::string(shift, 'x') + text;
    const auto file = SafetensorsFile::from_memory(bytes_of(moved).subspan(shift), "f");
    CHECK(file.read<std::int32_t>("flag") == std::vector<std::int32_t>{1});
    const auto half = file.read<float>("half");
    REQUIRE(half.size() == 3);
    CHECK(half[0] == 1.0f);
    CHECK(half[1] == -std::numeric_limits<float>::infinity());
    CHECK(std::isnan(half[2]));
    CHECK(file.read<float>("none").empty());
    CHECK(file.read<double>("one") == std::vector<double>{0.1});
    CHECK(file.read<float>("one") == std::vector<float>{0.1f});
    CHECK(file.read<double>("ids")[0] == 7.0);
  }
  CHECK(WeightsSource::from_memory(bytes_of(text)).read<double>("one")[0] == 0.1);
}

TEST_CASE("safetensors read: what is missing or does not fit is named with its file") {
  const std::string text = mixed_file();
  const auto file = SafetensorsFile::from_memory(bytes_of(text), "f");
  const auto source = WeightsSource::from_memory(bytes_of(text), "w");
  CHECK(message_of<LoadError>([&] { file.read<float>("on\ne"); }) ==
        "f: tensor 'on\\x0ae': expected, found none");
  CHECK(message_of<LoadError>([&] { source.read<float>("two"); }) ==
        "w: tensor 'two': expected, found none");
  CHECK(message_of<LoadError>([&] { file.read<std::int64_t>("ids"); }) ==
        "f: tensor 'ids': element 1: expected an integer of 8 bytes, found 18446744073709551615");
  CHECK(message_of<LoadError>([&] { source.read<std::int64_t>("half"); }) ==
        "w: tensor 'half': expected integers, found floating-point numbers");
}

TEST_CASE("safetensors read: metadata beyond the limit of keys is refused") {
  const std::string text = file_of(R"({"__metadata__":{"a":"","b":"","c":""}})", 0);
  SafetensorsLimits limits;
  limits.metadata = 3;
  CHECK(SafetensorsFile::from_memory(bytes_of(text), "f", limits).metadata().size() == 3);
  limits.metadata = 2;
  CHECK(message_of<LoadError>([&] { SafetensorsFile::from_memory(bytes_of(text), "f", limits); }) ==
        "f: __metadata__: expected at most 2 keys");
}

TEST_CASE("safetensors read: shapes that only wrap to the right size are not written") {
  const TemporaryFolder folder;
  const float four[] = {1, 2, 3, 4};
  const auto bytes = std::as_bytes(std::span(four));
  CHECK(contains(with_shape(folder, {-2, -2}, bytes), "tensor 'a': shape: expected extents"));
  CHECK(contains(with_shape(folder, {-1}, {}), "found an extent of -1"));
  CHECK(contains(with_shape(folder, {std::int64_t{1} << 62, 4}, {}), "found an extent of 4"));
  CHECK(contains(with_shape(folder, {std::int64_t{1} << 62}, {}), "tensor 'a': shape"));
  CHECK(folder.count() == 0);
  CHECK(with_shape(folder, {0, std::int64_t{1} << 62, 4}, {}) == "nothing thrown");
  CHECK(SafetensorsFile(folder / "x").find("a")->bytes.empty());
}

TEST_CASE("safetensors read: a tensor that the index leaves out is named") {
  const TemporaryFolder folder;
  put(folder / "one.safetensors",
      file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
              R"("left out":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
              2));
  put(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  CHECK(contains(message_of<LoadError>([&] { open_weights(folder.path()); }),
                 "expected the 2 tensors of its shards, found 1 and no 'left out'"));
}
