#include "sequin/io/safetensors.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <limits>

using namespace sequin;
using namespace sequin_test;

namespace {

/// What opening this file from memory throws.
std::string refusal(const std::string& file) {
  return message_of<LoadError>([&] { SafetensorsFile::from_memory(bytes_of(file), "f"); });
}
std::string header_refusal(std::string_view header, std::size_t data = 8) {
  return refusal(file_of(header, data));
}
/// What an entry "a" with this dtype, shape and data_offsets gives.
std::string entry_refusal(const std::string& dtype, const std::string& shape,
                          const std::string& offsets, std::size_t data = 8) {
  return header_refusal(
      "{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
      data);
}
std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + rest;
}

const std::string kGood =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("a":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]}})";

}  // namespace

TEST_CASE("safetensors: a file holds what was saved") {
  const TemporaryFolder folder;
  const float weights[] = {1.5f, -2.0f, std::numeric_limits<float>::quiet_NaN()};
  const std::int64_t ids[] = {1, -7};
  const std::uint8_t flags[] = {1};
  const std::vector<TensorEntry> entries = {
      {"flag/\"\\\n\x01\xc3\xa9", DType::U8, {}, std::as_bytes(std::span(flags))},
      {"weights", DType::F32, {3, 1}, std::as_bytes(std::span(weights))},
      {"none", DType::F32, {0, 7}, {}},
      {"ids", DType::I64, {2}, std::as_bytes(std::span(ids))},
      {"", DType::BOOL, {1}, std::as_bytes(std::span(flags))}};
  save_safetensors(folder / "x.safetensors", entries, {{"k\t", "v\"\xe2\x82\xac"}, {"l", ""}});
  CHECK(folder.count() == 1);
  const auto file = SafetensorsFile::open(folder / "x.safetensors");
  REQUIRE(file.tensors().size() == entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const TensorEntry& read = file.tensors()[i];
    CHECK(read.name == entries[i].name);
    CHECK(read.dtype == entries[i].dtype);
    CHECK(read.shape == entries[i].shape);
    CHECK(std::ranges::equal(read.bytes, entries[i].bytes));
    CHECK(file.find(entries[i].name) == &read);
    // Mapped, so that a reader may use it in place.
    CHECK(reinterpret_cast<std::uintptr_t>(read.bytes.data()) % dtype_size(read.dtype) == 0);
  }
  CHECK(file.find("weight") == nullptr);
  CHECK(file.metadata().size() == 2);
  CHECK(file.metadata().find("k\t")->second == "v\"\xe2\x82\xac");
}

TEST_CASE("safetensors: a copy keeps the mapping alive") {
  const TemporaryFolder folder;
  put(folder / "x", file_of(kGood, 12));
  std::vector<SafetensorsFile> files;
  {
    const SafetensorsFile file(folder / "x");
    files.push_back(file);
  }
  CHECK(files[0].find("a")->bytes[3] == std::byte{1});
}

TEST_CASE("safetensors: spaces after the header, escapes and line breaks in it are legal") {
  CHECK(header_refusal(kGood + "      ", 12) == "nothing thrown");
  CHECK(header_refusal("{}", 0) == "nothing thrown");
  CHECK(header_refusal("{ \n\"\\u0061\\ud83d\\ude00\" :\t{ \"shape\" : [ 1 ,\n 2\n] ,\r\n"
                       "\"dtype\":\"F32\",\"data_offsets\":[\t0,8 ] } }") == "nothing thrown");
  const std::string text = file_of(
      R"({"\u0061\u00e9\u20ac\ud83d\ude00\/":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4);
  const auto file = SafetensorsFile::from_memory(bytes_of(text));
  CHECK(file.find("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80/") != nullptr);
}

TEST_CASE("safetensors: every truncation is refused") {
  const std::string good = file_of(kGood, 12);
  REQUIRE(refusal(good) == "nothing thrown");
  for (std::size_t n = 0; n < good.size(); ++n) {
    // A copy of its own, so that the address sanitizer sees one byte too far.
    const std::string part(good.substr(0, n));
    INFO(n);
    CHECK(contains(refusal(part), "f: "));
    CHECK(refusal(part) != "nothing thrown");
  }
}

TEST_CASE("safetensors: any changed byte is read or refused, and nothing else") {
  const std::string good = file_of(kGood, 12);
  for (std::size_t at = 0; at < good.size() - 12; ++at) {
    for (const int value : std::initializer_list<int>{0, 1, 0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d,
                                                      0x2c, 0x2d, 0x39, 0x7f, 0x80, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(value);
      const std::string what = refusal(bad);
      CHECK((what == "nothing thrown" || what.starts_with("f: ")));
    }
  }
}

TEST_CASE("safetensors: a header length that the file cannot have is refused") {
  const std::string rest = "{}";
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{99'999'999},
        std::uint64_t{100'000'001}, std::uint64_t{1} << 63, ~std::uint64_t{0},
        ~std::uint64_t{0} - 7}) {
    INFO(length);
    CHECK(contains(refusal(with_length(length, rest)), "f: header: expected"));
  }
  CHECK(contains(refusal(with_length(~std::uint64_t{0}, rest)), "18446744073709551615"));
}

TEST_CASE("safetensors: a header that is no object of objects is refused") {
  for (const char* header : {"[]",
                             "null",
                             "\"a\"",
                             "1",
                             "",
                             " {}",
                             "\xef\xbb\xbf{}",
                             "{",
                             "{}}",
                             "{} x",
                             "{},",
                             "{}\t",
                             "{\"a\"}",
                             "{\"a\":}",
                             "{\"a\":null}",
                             "{\"a\":[]}",
                             "{\"a\":1}",
                             "{a:{}}",
                             "{,}",
                             "{\"a\":{},}",
                             "{\"a\":{}}",
                             "{\"\\x\":{}}",
                             "{\"\\u12g4\":{}}",
                             "{\"\\ud800\":{}}",
                             "{\"\\udc00\":{}}",
                             "{\"\\ud800\\u0041\":{}}",
                             "{\"a\n\":{}}",
                             "{\"a",
                             "{\"a\\",
                             "{\"\\u1",
                             "{\"\xff\":{}}",
                             "{\"\xc0\xaf\":{}}",
                             "{\"\xed\xa0\x80\":{}}",
                             "{\"\xf4\x90\x80\x80\":{}}",
                             "{\"\xe2\x82"}) {
    INFO(header);
    CHECK(contains(header_refusal(header, 0), "f: "));
  }
  CHECK(contains(header_refusal(std::string_view("{}\0\0\0", 5), 0), "nothing but spaces"));
  CHECK(contains(header_refusal(std::string_view("{\0}\0", 4), 0), "expected"));
  CHECK(contains(header_refusal("\xff\xfe{\0}", 0), "UTF-8"));
}

TEST_CASE("safetensors: deep nesting is refused without recursion") {
  std::string deep = "{\"a\":";
  deep.append(100'000, '[');
  CHECK(contains(header_refusal(deep), "tensor 'a': expected an object"));
  deep = "";
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  CHECK(contains(header_refusal(deep), "tensor 'a'"));
}

TEST_CASE("safetensors: a key that is there twice is refused, the last does not win") {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(contains(header_refusal("{" + a + "," + a + "}"), "'a' twice"));
  CHECK(contains(header_refusal("{" + a + R"(,"\u0061":{})" + "}"), "'a' twice"));
  CHECK(contains(header_refusal(R"({"a":{"dtype":"F32","dtype":"F32"}})"), "'dtype' once"));
  CHECK(contains(header_refusal(R"({"a":{"shape":[],"shape":[]}})"), "'shape' once"));
  CHECK(contains(header_refusal(R"({"__metadata__":{"k":"v","k":"w"}})", 0), "'k' twice"));
  CHECK(contains(header_refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice"));
}

TEST_CASE("safetensors: an entry needs dtype, shape and data_offsets and nothing else") {
  CHECK(contains(header_refusal(R"({"a":{"shape":[2],"data_offsets":[0,8]}})"), "found no dtype"));
  CHECK(contains(header_refusal(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})"), "no shape"));
  CHECK(contains(header_refusal(R"({"a":{"dtype":"F32","shape":[2]}})"), "no data_offsets"));
  CHECK(contains(header_refusal(R"({"a":{"strides":[2]}})"), "found 'strides'"));
}

TEST_CASE("safetensors: an element type that is not known is refused") {
  for (const char* dtype : {"\"f32\"", "\"F8_E4M3\"", "\"F4\"", "\"F32 \"", "\"\"", "\"C64\""})
    CHECK(contains(entry_refusal(dtype, "[2]", "[0,8]"), "f: tensor 'a': dtype: expected F64"));
  CHECK(contains(entry_refusal("32", "[2]", "[0,8]"), "dtype: expected a text"));
  CHECK(contains(entry_refusal("null", "[2]", "[0,8]"), "dtype: expected a text"));
}

TEST_CASE("safetensors: a shape that is no list of sizes is refused") {
  for (const char* shape : {"2",
                            "null",
                            "\"2\"",
                            "[-2]",
                            "[2.0]",
                            "[2.5]",
                            "[\"2\"]",
                            "[1e30]",
                            "[2e0]",
                            "[02]",
                            "[+2]",
                            "[9223372036854775808]",
                            "[99999999999999999999999]",
                            "[2",
                            "[2,]",
                            "[,2]",
                            "[[2]]",
                            "[2 2]",
                            "[true]",
                            "[0x2]",
                            "[1,1,1,1,1,1,1,1,2]"}) {
    INFO(shape);
    CHECK(contains(entry_refusal("\"F32\"", shape, "[0,8]"), "f: tensor 'a': shape: expected"));
  }
  CHECK(contains(entry_refusal("\"F32\"", "[-2]", "[0,8]"), "found '-2'"));
}

TEST_CASE("safetensors: sizes whose product wraps to the right one are refused") {
  // 2^62 * 4 * 4 bytes is 2^66: 0 modulo 2^64; with a 2 in front of 2^63 + 1: 2.
  for (const char* shape : {"[4611686018427387904,4]", "[4294967296,4294967296]",
                            "[6148914691236517206,3]", "[9223372036854775807,9223372036854775807]",
                            "[2147483649,8589934588]", "[3]", "[1]", "[1000000000]"}) {
    INFO(shape);
    CHECK(contains(entry_refusal("\"F32\"", shape, "[0,8]"), "f: tensor 'a':"));
    CHECK(contains(entry_refusal("\"F32\"", shape, "[0,0]", 0), "f: tensor 'a':"));
  }
}

TEST_CASE("safetensors: scalars, no elements and eight axes are legal") {
  CHECK(entry_refusal("\"F64\"", "[]", "[0,8]") == "nothing thrown");
  CHECK(entry_refusal("\"F64\"", "[0]", "[0,0]", 0) == "nothing thrown");
  CHECK(entry_refusal("\"F64\"", "[9223372036854775807,0,9223372036854775807]", "[0,0]", 0) ==
        "nothing thrown");
  CHECK(entry_refusal("\"F64\"", "[1,1,1,1,1,1,1,1]", "[0,8]") == "nothing thrown");
  CHECK(contains(entry_refusal("\"F64\"", "[0]", "[0,8]"), "expected 0 bytes"));
}

TEST_CASE("safetensors: data_offsets outside the data are refused") {
  for (const char* offsets :
       {"[]", "[8]", "[0,8,8]", "[8,0]", "[-8,0]", "[0.0,8.0]", "[0,16]", "[8,16]", "null", "8",
        "[0,18446744073709551615]", "[18446744073709551608,18446744073709551615]",
        "[18446744073709551608,18446744073709551616]", "[\"0\",\"8\"]", "[0,4]", "[4,8]", "{}"}) {
    INFO(offsets);
    CHECK(contains(entry_refusal("\"F32\"", "[2]", offsets), "f: tensor 'a': data_offsets"));
  }
  CHECK(
      contains(entry_refusal("\"F32\"", "[2]", "[0,8]", 12), "expected 8 bytes of data, found 12"));
  CHECK(contains(entry_refusal("\"F32\"", "[2]", "[0,8]", 7), "found [0, 8]"));
}

TEST_CASE("safetensors: overlaps and holes are refused, order and misalignment are not") {
  const auto two = [](const char* a, const char* b, std::size_t data) {
    return header_refusal(std::string(R"({"a":{"dtype":"I16","shape":[2],"data_offsets":)") + a +
                              R"(},"b":{"dtype":"I8","shape":[3],"data_offsets":)" + b + "}}",
                          data);
  };
  CHECK(two("[0,4]", "[4,7]", 7) == "nothing thrown");
  CHECK(two("[3,7]", "[0,3]", 7) == "nothing thrown");
  CHECK(contains(two("[0,4]", "[3,6]", 6), "tensor 'b': data_offsets"));
  CHECK(contains(two("[0,4]", "[0,3]", 4), "overlaps"));
  CHECK(contains(two("[0,4]", "[5,8]", 8), "left out"));
  CHECK(contains(two("[1,5]", "[5,8]", 8), "left out"));
}

TEST_CASE("safetensors: metadata is texts under texts") {
  for (const char* metadata : {"null", "[]", "\"x\"", "{\"k\":1}", "{\"k\":null}", "{\"k\":{}}"})
    CHECK(contains(header_refusal(std::string("{\"__metadata__\":") + metadata + "}", 0),
                   "f: __metadata__: "));
}

TEST_CASE("safetensors: names are printed so that they cannot change the terminal") {
  const std::string what = header_refusal(R"({"a\u001b[2J\u0000\n":{}})");
  CHECK(contains(what, "a\\x1b[2J\\x00\\x0a"));
  CHECK(header_refusal("{\"" + std::string(100'000, 'n') + "\":{}}").size() < 300);
}

TEST_CASE("safetensors: a hundred thousand tensors open quickly") {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i)
    header += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) +
              "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(i) + "," +
              std::to_string(i + 1) + "]}";
  const std::string text = file_of(header + "}", 100'000);
  const auto start = std::chrono::steady_clock::now();
  const auto file = SafetensorsFile::from_memory(bytes_of(text));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(file.tensors().size() == 100'000);
  // Takes 0.1 s; quadratic time would be minutes. Sanitizers and a loaded machine are allowed for.
  CHECK(seconds.count() < 5);
  SafetensorsLimits limits;
  limits.tensors = 99'999;
  CHECK(contains(
      message_of<LoadError>([&] { SafetensorsFile::from_memory(bytes_of(text), "f", limits); }),
      "at most 99999 tensors"));
}

TEST_CASE("safetensors: a sparse file of 5 GiB costs no memory") {
  const TemporaryFolder folder;
  const std::uint64_t size = std::uint64_t{5} << 30;
  put(folder / "x", file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(size) +
                                "],\"data_offsets\":[0," + std::to_string(size) + "]}}",
                            0));
  std::error_code failed;
  std::filesystem::resize_file(folder / "x", std::filesystem::file_size(folder / "x") + size,
                               failed);
  if (failed) return;  // the file system has no such files
  const SafetensorsFile file(folder / "x");
  CHECK(file.find("a")->bytes.size() == size);
}

TEST_CASE("safetensors: what could not be read back is not saved") {
  const TemporaryFolder folder;
  const float one[] = {1.0f};
  const auto bytes = std::as_bytes(std::span(one));
  const auto refused = [&](std::vector<TensorEntry> entries,
                           const std::map<std::string, std::string>& metadata = {}) {
    put(folder / "x", "old");
    const std::string what =
        message_of<LoadError>([&] { save_safetensors(folder / "x", entries, metadata); });
    CHECK(contents(folder / "x") == "old");
    CHECK(folder.count() == 1);
    return what;
  };
  CHECK(contains(refused({{"a", DType::F32, {2}, bytes}}), "tensor 'a': expected 8 bytes"));
  CHECK(contains(refused({{"a", DType::F32, {1}, bytes}, {"a", DType::F32, {1}, bytes}}), "'a'"));
  CHECK(contains(refused({{"__metadata__", DType::F32, {1}, bytes}}), "__metadata__"));
  CHECK(contains(refused({{"\xff", DType::F32, {1}, bytes}}), "UTF-8"));
  CHECK(contains(refused({{"a", DType::F32, {1, 1, 1, 1, 1, 1, 1, 1, 1}, bytes}}), "rank"));
  CHECK(contains(refused({}, {{"k", "\xff"}}), "metadata 'k'"));
}

TEST_CASE("safetensors: bytes that come one by one make the same file, or none") {
  const TemporaryFolder folder;
  const std::vector<float> a{1, 2, 3};
  const std::vector<double> b{4, 5};
  std::vector<TensorEntry> entries{
      {"a", DType::F32, {3}, std::as_bytes(std::span<const float>(a))},
      {"b", DType::F64, {2}, std::as_bytes(std::span<const double>(b))}};
  const std::map<std::string, std::string> metadata{{"k", "v"}};
  save_safetensors(folder / "whole", entries, metadata);
  const std::vector<std::span<const std::byte>> bytes{entries[0].bytes, entries[1].bytes};
  for (TensorEntry& e : entries) e.bytes = {};
  std::vector<std::size_t> asked;
  save_safetensors(folder / "parts", entries, metadata, [&](std::size_t i) {
    asked.push_back(i);
    return bytes[i];
  });
  CHECK(contents(folder / "parts") == contents(folder / "whole"));
  CHECK(asked == std::vector<std::size_t>{1, 0});  // wide types first, each once
  CHECK(message_of<LoadError>([&] {
          save_safetensors(folder / "parts", entries, metadata,
                           [&](std::size_t i) { return bytes[i].first(8); });
        }).find("tensor 'b': expected 16 bytes (shape and dtype), found 8") != std::string::npos);
  CHECK_THROWS_WITH(save_safetensors(folder / "parts", entries, metadata,
                                     [&](std::size_t i) -> std::span<const std::byte> {
                                       if (i == 0) throw std::runtime_error("lost");
                                       return bytes[i];
                                     }),
                    "lost");
  CHECK(contents(folder / "parts") == contents(folder / "whole"));
  CHECK(folder.count() == 2);
}
