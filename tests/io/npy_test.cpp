#include "sequin/io/npy.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <cstring>
#include <limits>
#include <numeric>

using namespace sequin;
using namespace sequin_test;

namespace {

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

/// A file of version `major`.0 with this dictionary.
std::string npy(const std::string& dictionary, const std::string& data, int major = 1) {
  const std::string header = dictionary + "\n";
  std::string file("\x93NUMPY", 6);
  file += static_cast<char>(major);
  file += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i)
    file += static_cast<char>(header.size() >> (8 * i) & 255);
  return file + header + data;
}
std::string npy_of(const std::string& descr, const std::string& shape, const std::string& data) {
  return npy("{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + ", }", data);
}

NpyFile open(const std::string& file) {
  return NpyFile::from_memory(std::as_bytes(std::span(file)), "a.npy");
}
std::string refusal(const std::string& file) {
  return message_of<LoadError>([&] { open(file); });
}
const std::string kSix = bytes_of<float>({0, 1, 2, 3, 4, 5});

}  // namespace

TEST_CASE("npy: numbers come out as NumPy wrote them, from every version") {
  for (const int major : {1, 2, 3}) {
    const auto file =
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   ", kSix, major);
    const auto opened = open(file);
    CHECK(opened.dtype() == DType::F32);
    CHECK(opened.shape() == std::vector<std::int64_t>{2, 3});
    CHECK_FALSE(opened.fortran_order());
    const auto x = opened.tensor<double, 2>();
    CHECK(x(0, 2) == 2);
    CHECK(x(1, 0) == 3);
  }
}

TEST_CASE("npy: keys in any order, quotes of either kind and Python 2's integers are read") {
  const auto x = open(npy("{\"shape\":(3L,2L),'fortran_order':False,'descr':\"<f4\"}", kSix))
                     .tensor<float, 2>();
  CHECK(x(2, 1) == 5);
}

TEST_CASE("npy: Fortran order is put row-major") {
  const auto x = open(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", kSix))
                     .tensor<float, 2>();
  const float rows[] = {0, 2, 4, 1, 3, 5};
  CHECK(std::equal(x.span().begin(), x.span().end(), rows));

  std::vector<double> values(2 * 3 * 5);
  std::iota(values.begin(), values.end(), 0);
  const auto y = open(npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3, 5)}",
                          {reinterpret_cast<const char*>(values.data()), values.size() * 8}))
                     .tensor<double, 3>();
  for (index_t i = 0; i < 2; ++i)
    for (index_t j = 0; j < 3; ++j)
      for (index_t k = 0; k < 5; ++k) CHECK(y(i, j, k) == static_cast<double>(i + 2 * j + 6 * k));
}

TEST_CASE("npy: every element type that is read is converted") {
  const auto first = [](const std::string& descr, const std::string& data) {
    return open(npy_of("'" + descr + "'", "(1,)", data)).tensor<double, 1>()(0);
  };
  CHECK(first("<f8", bytes_of({-2.5})) == -2.5);
  CHECK(first("<f2", bytes_of<std::uint16_t>({0xc100})) == -2.5);
  CHECK(first("<i8", bytes_of<std::int64_t>({-7})) == -7);
  CHECK(first("<i4", bytes_of<std::int32_t>({-7})) == -7);
  CHECK(first("<i2", bytes_of<std::int16_t>({-7})) == -7);
  CHECK(first("|i1", bytes_of<std::int8_t>({-7})) == -7);
  CHECK(first("<u8", bytes_of<std::uint64_t>({7})) == 7);
  CHECK(first("<u4", bytes_of<std::uint32_t>({7})) == 7);
  CHECK(first("<u2", bytes_of<std::uint16_t>({7})) == 7);
  CHECK(first("|u1", bytes_of<std::uint8_t>({200})) == 200);
  CHECK(first("|b1", bytes_of<std::uint8_t>({1})) == 1);
  const auto file = npy_of("'<f4'", "(1,)", bytes_of<float>({0.5F}));
  CHECK(message_of<LoadError>([&] { open(file).tensor<std::int64_t, 1>(); }) ==
        "a.npy: expected integers, found floating-point numbers");
}

TEST_CASE("npy: scalars and arrays without elements are legal") {
  CHECK(open(npy_of("'<f4'", "()", bytes_of<float>({3}))).shape().empty());
  const auto empty = open(npy_of("'<f4'", "(0, 9223372036854775807)", ""));
  CHECK(empty.bytes().empty());
}

TEST_CASE("npy: what was written is read back, also by the bytes of NumPy's own header") {
  const TemporaryFolder folder;
  Tensor<double, 3> x({2, 1, 3});
  std::iota(x.span().begin(), x.span().end(), 0.25);
  write_npy(folder / "x.npy", x);
  const auto back = read_npy<double, 3>(folder / "x.npy");
  CHECK(std::equal(back.span().begin(), back.span().end(), x.span().begin()));
  const std::string text = contents(folder / "x.npy");
  CHECK(text.size() == 128 + 6 * sizeof(double));
  CHECK(text.substr(10, 58) == "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1, 3");
  CHECK(text[127] == '\n');
  write_npy(folder / "v.npy", Tensor<std::int64_t, 1>({4}));
  CHECK(contents(folder / "v.npy").find("(4,), }") != std::string::npos);
  CHECK(message_of<LoadError>([&] {
          read_npy<double, 2>(folder / "x.npy");
        }).ends_with("x.npy: shape: expected 2 axes, found 3"));
}

TEST_CASE("npy: files that are none, or of another version, are refused") {
  CHECK(refusal("\x93NUMP") == "a.npy: expected a NumPy file (.npy), found 5 bytes");
  CHECK(refusal("PK\x03\x04 an archive") ==
        "a.npy: expected a NumPy file (.npy), found another one");
  for (const int major : {0, 4, 9, 255})
    CHECK(refusal(npy("{}", "", major)).find("expected version 1.0, 2.0 or 3.0") !=
          std::string::npos);
  auto minor = npy_of("'<f4'", "(6,)", kSix);
  minor[7] = 1;
  CHECK(refusal(minor).ends_with("found 1.1"));
}

TEST_CASE("npy: a header length that the file cannot have is refused") {
  auto file = npy_of("'<f4'", "(6,)", kSix);
  file[8] = file[9] = '\xff';
  CHECK(refusal(file).find("header: expected 65535 bytes, found") != std::string::npos);
  auto second = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", kSix, 2);
  std::memset(&second[8], 0xff, 4);
  CHECK(refusal(second) == "a.npy: header: expected at most 65536 bytes, found 4294967295");
  NpyLimits limits;
  limits.header_bytes = 8;
  const auto good = npy_of("'<f4'", "(6,)", kSix);
  CHECK(message_of<LoadError>([&] {
          NpyFile::from_memory(std::as_bytes(std::span(good)), "a.npy", limits);
        }).find("expected at most 8 bytes") != std::string::npos);
}

TEST_CASE("npy: every truncation is refused") {
  const auto file = npy_of("'<f4'", "(2, 3)", kSix);
  for (std::size_t n = 0; n < file.size(); ++n) CHECK_FALSE(refusal(file.substr(0, n)).empty());
}

TEST_CASE("npy: a header that is no dictionary of the three keys is refused") {
  const std::string order = "'fortran_order': False", shape = "'shape': (6,)",
                    type = "'descr': '<f4'";
  for (const auto& [dictionary, what] : std::vector<std::pair<std::string, std::string>>{
           {"", "expected '{'"},
           {"[1]", "expected '{'"},
           {"{" + order + ", " + shape + "}", "expected 'descr', found none"},
           {"{" + type + ", " + shape + "}", "expected 'fortran_order', found none"},
           {"{" + type + ", " + order + "}", "expected 'shape', found none"},
           {"{" + type + ", " + order + ", " + shape + ", 'x': 1}", "found 'x'"},
           {"{" + type + ", " + type + ", " + order + ", " + shape + "}", "'descr' once"},
           {"{" + type + ", 'fortran_order': 0, " + shape + "}", "True or False"},
           {"{" + type + ", " + order + ", 'shape': (2*3,)}", "',' or ')'"},
           {"{" + type + ", " + order + ", 'shape': (6)}", "expected a tuple"},
           {"{" + type + ", " + order + ", 'shape': [6]}", "expected '('"},
           {"{" + type + ", " + order + ", 'shape': (-6,)}", "at least 0"},
           {"{" + type + ", " + order + ", 'shape': (6.0,)}", "',' or ')'"},
           {"{" + type + ", " + order + ", 'shape': (1e30,)}", "',' or ')'"},
           {"{" + type + ", " + order + ", 'shape': (9223372036854775808,)}", "at least 0"},
           {"{" + type + ", " + order + ", 'shape': (1,1,1,1,1,1,1,1,6)}", "at most 8 axes"},
           {"{'descr': __import__('os'), " + order + ", " + shape + "}", "a text in quotes"},
           {"{'des\\x63r': '<f4', " + order + ", " + shape + "}", "without escapes"},
           {"{" + type + ", " + order + ", " + shape + "} + {}", "found more"}}) {
    INFO(dictionary);
    CHECK_THAT(refusal(npy(dictionary, kSix)), Catch::Contains(what));
  }
  auto no_break = npy_of("'<f4'", "(6,)", kSix);
  no_break[no_break.find('\n')] = ' ';
  CHECK(refusal(no_break).find("a line break at its end") != std::string::npos);
}

TEST_CASE("npy: Python objects are never read, nor are types that are no plain numbers") {
  for (const std::string type : {"'|O'", "'|O8'", "'O'"})
    CHECK_THAT(refusal(npy_of(type, "(6,)", kSix)), Catch::Contains("pickled code"));
  CHECK_THAT(refusal(npy_of("'>f4'", "(6,)", kSix)), Catch::Contains("astype('<f4')"));
  CHECK_THAT(refusal(npy_of("[('a', '<f4')]", "(6,)", kSix)), Catch::Contains("structured"));
  for (const std::string type :
       {"''", "'<ixy'", "'<c8'", "'<U3'", "'<f16'", "'f4'", "'|f4'", "'<V4'", "'<f4\x1b[2J'"}) {
    INFO(type);
    const auto what = refusal(npy_of(type, "(6,)", kSix));
    CHECK_THAT(what, Catch::Contains("descr: expected <f8"));
    CHECK(what.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("npy: a shape that is not that of the data is refused") {
  for (const std::string shape : {"(5,)", "(7,)", "(2, 4)", "()", "(0,)"}) {
    INFO(shape);
    CHECK_FALSE(refusal(npy_of("'<f4'", shape, kSix)).empty());
  }
  // Products that wrap to the right number of elements.
  CHECK_THAT(refusal(npy_of("'<f4'", "(4611686018427387904, 4, 6)", kSix)),
             Catch::Contains("more than the file holds"));
  CHECK_THAT(refusal(npy_of("'<f4'", "(3, 4294967296, 4294967298)", kSix)),
             Catch::Contains("more than the file holds"));
}
