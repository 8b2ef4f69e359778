#include "sequin/io/npz.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <numeric>

using namespace sequin;
using namespace sequin_test;

namespace {

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 255);
  return text;
}

/// The .npy file of some numbers.
std::string npy_of(const std::vector<float>& values) {
  const std::int64_t shape[] = {static_cast<std::int64_t>(values.size())};
  return detail::npy_head(DType::F32, shape) +
         std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::uint32_t checksum(const std::string& text) {
  return detail::crc_of(std::as_bytes(std::span(text)));
}

std::string deflated(const std::string& text) {
  std::string out(text.size() + 100, '\0');
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// A member and what an archive says of it; what is not set is as it should be.
struct Member {
  std::string name, packed;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  int flags = 0, method = 0;
  std::string own_name = name;  ///< in the member's own header
  bool zip64 = false;           ///< its sizes stand in an extra field
  bool sizes_follow = false;    ///< a data descriptor, as for archives written to a pipe
  std::uint64_t packed_size = packed.size();

  static Member stored(const std::string& name, const std::string& data) {
    return {name, data, data.size(), checksum(data)};
  }
  static Member packed_by_zlib(const std::string& name, const std::string& data) {
    Member m{name, deflated(data), data.size(), checksum(data)};
    m.method = 8;
    return m;
  }
};

/// The archive of these members; `count` and `comment` stand at its end.
struct Archive {
  std::vector<Member> members;
  std::string comment = {};
  std::uint64_t count = members.size();
  bool zip64 = false;
  int part = 0;

  std::string bytes() const {
    std::string file, directory;
    for (const Member& m : members) {
      const auto at = file.size();
      const auto fields = [&](bool own) {
        const bool unknown = own && m.sizes_follow;
        const bool moved = m.zip64 && !unknown;
        return little(45, 2) +
               little(static_cast<unsigned>(m.flags | (m.sizes_follow ? 8 : 0)), 2) +
               little(static_cast<unsigned>(m.method), 2) + little(0, 4) +
               little(unknown ? 0 : m.crc, 4) +
               little(moved     ? 0xffffffff
                      : unknown ? 0
                                : m.packed_size,
                      4) +
               little(moved     ? 0xffffffff
                      : unknown ? 0
                                : m.size,
                      4) +
               little(own ? m.own_name.size() : m.name.size(), 2) + little(moved ? 24 : 0, 2);
      };
      const std::string extra = little(0x7777, 2) + little(0, 2) + little(1, 2) + little(16, 2) +
                                little(m.size, 8) + little(m.packed_size, 8);
      file += "PK\x03\x04" + fields(true) + m.own_name + (m.zip64 && !m.sizes_follow ? extra : "") +
              m.packed;
      if (m.sizes_follow)
        file += "PK\x07\x08" + little(m.crc, 4) + little(m.packed_size, 4) + little(m.size, 4);
      directory += "PK\x01\x02" + little(45, 2) + fields(false) + little(0, 2) + little(0, 8) +
                   little(at, 4) + m.name + (m.zip64 ? extra : "");
    }
    const auto at = file.size();
    file += directory;
    if (zip64) {
      const auto end = file.size();
      file += "PK\x06\x06" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) +
              little(count, 8) + little(count, 8) + little(directory.size(), 8) + little(at, 8);
      file += "PK\x06\x07" + little(0, 4) + little(end, 8) + little(1, 4);
    }
    return file + "PK\x05\x06" + little(static_cast<unsigned>(part), 4) +
           (zip64 ? std::string(12, '\xff')
                  : little(count, 2) + little(count, 2) + little(directory.size(), 4) +
                        little(at, 4)) +
           little(comment.size(), 2) + comment;
  }
};

NpzFile open(const std::string& file, const NpzLimits& limits = {}) {
  return NpzFile::from_memory(std::as_bytes(std::span(file)), "a.npz", limits);
}
/// The message with which the archive, or its array x, is refused; empty when it is read.
std::string refusal(const std::string& file, const NpzLimits& limits = {}) {
  try {
    const NpzFile archive = open(file, limits);
    if (archive.contains("x")) archive.array("x");
    return {};
  } catch (const LoadError& e) {
    return e.what();
  }
}
std::string refusal(const Member& m) { return refusal(Archive{{m}}.bytes()); }

const std::string kThree = npy_of({1, 2, 3});

}  // namespace

TEST_CASE("npz: archives of NumPy are read, stored and compressed") {
  for (const std::string file : {"stored.npz", "compressed.npz"}) {
    INFO(file);
    const NpzFile archive(std::filesystem::path(SEQUIN_TEST_DATA) / "npz" / file);
    CHECK(archive.names() == std::vector<std::string>{"x", "layers.0/weight", "count"});
    CHECK(archive.contains("x"));
    CHECK_FALSE(archive.contains("x.npy"));
    const auto x = archive.tensor<float, 2>("x");
    CHECK(x.shape() == Shape<2>{2, 3});
    CHECK(x(1, 2) == 1.25F);
    const auto w = archive.tensor<double, 2>("layers.0/weight");
    CHECK(w(1, 0) == 4);
    CHECK(archive.array("layers.0/weight").fortran_order());
    CHECK(archive.array("count").shape().empty());
  }
}

TEST_CASE("npz: an array outlives the archive that it came from") {
  for (const std::string file : {"stored.npz", "compressed.npz"}) {
    const auto array = NpzFile(std::filesystem::path(SEQUIN_TEST_DATA) / "npz" / file).array("x");
    CHECK(array.tensor<double, 2>()(0, 1) == 0.25);
  }
}

TEST_CASE("npz: what was written is read back") {
  const TemporaryFolder folder;
  Tensor<double, 3> x({2, 1, 3});
  std::iota(x.span().begin(), x.span().end(), 0.25);
  NpzWriter writer(folder / "a.npz");
  writer.add("x", x);
  writer.add("empty", Tensor<float, 1>({0}));
  writer.add("ids", Tensor<std::int64_t, 1>({4}, 9));
  CHECK(message_of<ConfigError>([&] { writer.add("x", x); }).ends_with("found 'x' twice"));
  CHECK_THROWS_AS(writer.add("", x), ConfigError);
  CHECK_FALSE(std::filesystem::exists(folder / "a.npz"));
  writer.commit();
  CHECK(folder.count() == 1);
  const NpzFile back(folder / "a.npz");
  CHECK(back.names() == std::vector<std::string>{"x", "empty", "ids"});
  const auto y = back.tensor<double, 3>("x");
  CHECK(y.shape() == x.shape());
  CHECK(std::equal(y.span().begin(), y.span().end(), x.span().begin()));
  CHECK(back.tensor<float, 1>("empty").size() == 0);
  CHECK(back.tensor<std::int64_t, 1>("ids")(3) == 9);
  CHECK_THROWS_AS((back.tensor<double, 2>("x")), LoadError);
}

TEST_CASE("npz: without a commit the old archive stays") {
  const TemporaryFolder folder;
  put(folder / "a.npz", "old");
  {
    NpzWriter writer(folder / "a.npz");
    writer.add("x", Tensor<float, 1>({3}));
  }
  CHECK(contents(folder / "a.npz") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("npz: ZIP64, data descriptors, comments and other members are legal") {
  Member wide = Member::stored("x.npy", kThree);
  wide.zip64 = true;
  Member piped = Member::packed_by_zlib("x.npy", kThree);
  piped.sizes_follow = true;
  for (Archive archive :
       {Archive{{wide}}, Archive{{piped}}, Archive{{Member::stored("x.npy", kThree)}, "a note"},
        Archive{
            {Member::stored("notes.txt", "no array"), Member::packed_by_zlib("x.npy", kThree)}}})
    for (const bool zip64 : {false, true}) {
      archive.zip64 = zip64;
      const std::string file = archive.bytes();
      const NpzFile read = open(file);
      CHECK(read.names() == std::vector<std::string>{"x"});
      CHECK(read.tensor<float, 1>("x")(2) == 3);
    }
  CHECK(open(Archive{}.bytes()).names().empty());
}

TEST_CASE("npz: a name is a key and never a path") {
  const std::string file =
      Archive{{Member::stored("../../x.npy", kThree), Member::stored("/etc/x.npy", kThree)}}
          .bytes();
  CHECK(open(file).names() == std::vector<std::string>{"../../x", "/etc/x"});
  const auto what = message_of<LoadError>([&] { open(file).array("x"); });
  CHECK(what == "a.npz: expected an array 'x', found '../../x', '/etc/x'");
  CHECK(message_of<LoadError>([&] {
          open(Archive{{Member::stored("\x1b[2J.npy", kThree)}}.bytes()).array("x");
        }).find('\x1b') == std::string::npos);
}

TEST_CASE("npz: files that are no archive, and every truncation, are refused") {
  CHECK(refusal("PK") == "a.npz: expected a ZIP archive (.npz), found 2 bytes");
  CHECK_THAT(refusal(kThree), Catch::Contains("found no directory at its end"));
  for (const bool zip64 : {false, true}) {
    Archive archive{{Member::packed_by_zlib("x.npy", kThree), Member::stored("y.npy", kThree)}};
    archive.zip64 = zip64;
    const std::string file = archive.bytes();
    REQUIRE(refusal(file).empty());
    for (std::size_t n = 0; n < file.size(); ++n) CHECK_FALSE(refusal(file.substr(0, n)).empty());
  }
}

TEST_CASE("npz: sizes that are not those of the member are refused") {
  Member m = Member::stored("x.npy", kThree);
  m.size += 1;
  CHECK_THAT(refusal(m), Catch::Contains("stored bytes, found"));
  m = Member::stored("x.npy", kThree);
  m.size = m.packed_size = 100000;
  CHECK_THAT(refusal(m), Catch::Contains("bytes before the directory"));
  for (const int more : {-1, 1}) {
    m = Member::packed_by_zlib("x.npy", kThree);
    m.size = static_cast<std::uint64_t>(static_cast<int>(m.size) + more);
    CHECK_THAT(refusal(m), Catch::Contains("deflated bytes, found others"));
  }
  m = Member::packed_by_zlib("x.npy", kThree);
  m.packed += "more";
  m.packed_size += 4;
  CHECK_THAT(refusal(m), Catch::Contains("deflated bytes, found others"));
}

TEST_CASE("npz: a member that promises more than deflate can hold is not unpacked") {
  Member bomb = Member::packed_by_zlib("x.npy", kThree);
  bomb.zip64 = true;
  bomb.size = std::uint64_t{1} << 60;
  CHECK_THAT(refusal(bomb), Catch::Contains("expected at most"));
  const std::string zeros(std::size_t{1} << 20, '\0');
  NpzLimits limits;
  limits.array_bytes = 65536;
  const auto packed = Archive{{Member::packed_by_zlib("x.npy", zeros)}}.bytes();
  CHECK(packed.size() < 2000);
  CHECK(refusal(packed, limits) == "a.npz: 'x': expected at most 65536 bytes, found 1048576");
}

TEST_CASE("npz: damage is found by the checksum") {
  Member m = Member::stored("x.npy", kThree);
  m.packed.back() ^= 1;
  CHECK_THAT(refusal(m), Catch::Contains("the file is damaged"));
  m = Member::packed_by_zlib("x.npy", kThree);
  m.crc ^= 1;
  CHECK_THAT(refusal(m), Catch::Contains("expected the checksum"));
}

TEST_CASE("npz: encrypted members, other methods, duplicates and other parts are refused") {
  Member m = Member::stored("x.npy", kThree);
  m.flags = 1;
  CHECK_THAT(refusal(m), Catch::Contains("encrypted"));
  m = Member::stored("x.npy", kThree);
  m.method = 12;
  CHECK_THAT(refusal(m), Catch::Contains("found 12"));
  m = Member::stored("x.npy", kThree);
  m.own_name = "y.npy";
  CHECK_THAT(refusal(m), Catch::Contains("the same name"));
  m = Member::stored("x.npy", kThree);
  CHECK_THAT(refusal(Archive{{m, m}}.bytes()), Catch::Contains("found 'x.npy' twice"));
  Archive parts{{m}};
  parts.part = 1;
  CHECK_THAT(refusal(parts.bytes()), Catch::Contains("in one part"));
}

TEST_CASE("npz: more members than there are, or than a limit allows, are refused") {
  const Member m = Member::stored("x.npy", kThree);
  Archive more{{m}};
  more.count = 2;
  CHECK_THAT(refusal(more.bytes()), Catch::Contains("found none") || Catch::Contains("room"));
  more.count = 60000;
  CHECK_THAT(refusal(more.bytes()), Catch::Contains("expected room for 60000 members"));
  more.zip64 = true;
  more.count = std::uint64_t{1} << 62;
  CHECK_THAT(refusal(more.bytes()), Catch::Contains("expected at most 65536 members"));
  more.count = 0;
  CHECK_THAT(refusal(more.bytes()), Catch::Contains("after its last member"));
  NpzLimits limits;
  limits.members = 1;
  const auto two = Archive{{m, Member::stored("y.npy", kThree)}}.bytes();
  CHECK(refusal(two, limits) == "a.npz: expected at most 1 members, found 2");
}

TEST_CASE("npz: an array inside is read as strictly as a file of its own") {
  CHECK_THAT(refusal(Member::stored("x.npy", "no array at all")),
             Catch::Contains("a.npz: 'x': expected a NumPy file"));
  std::string objects = kThree;
  objects.replace(objects.find("<f4"), 3, "|O4");
  CHECK_THAT(refusal(Member::packed_by_zlib("x.npy", objects)), Catch::Contains("pickled code"));
}
