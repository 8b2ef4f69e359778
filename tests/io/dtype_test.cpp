#include "sequin/io/dtype.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;
using namespace sequin_test;

namespace {

template <class T, class S>
std::vector<T> converted(DType dtype, const std::vector<S>& values) {
  // One byte into a buffer: nothing is aligned.
  std::vector<std::byte> bytes(1);
  for (const S& value : values) {
    const auto source = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), source.begin(), source.end());
  }
  std::vector<T> out(values.size());
  convert_elements<T>(dtype, std::span<const std::byte>(bytes).subspan(1), std::span<T>(out));
  return out;
}

}  // namespace

TEST_CASE("dtype: names and sizes go together") {
  for (int i = 0; i <= static_cast<int>(DType::BOOL); ++i) {
    const auto d = static_cast<DType>(i);
    CHECK(dtype_named(dtype_name(d)) == d);
  }
  CHECK(dtype_size(DType::F64) == 8);
  CHECK(dtype_size(DType::BF16) == 2);
  CHECK(dtype_size(DType::BOOL) == 1);
  CHECK(!dtype_named("f32"));
  CHECK(!dtype_named(""));
  CHECK(dtype_of<float> == DType::F32);
  CHECK(dtype_of<std::int64_t> == DType::I64);
}

TEST_CASE("dtype: every half converts exactly") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(h);
    const int exponent = (h >> 10) & 31;
    const int mantissa = h & 1023;
    double expected =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = std::numeric_limits<double>::infinity();
    const bool negative = (h & 0x8000) != 0;
    bool same = std::signbit(value) == negative;
    if (exponent == 31 && mantissa != 0)
      same = same && std::isnan(value);
    else
      same = same && static_cast<double>(value) == (negative ? -expected : expected);
    if (!same) FAIL("half " << bits);
  }
}

TEST_CASE("dtype: bfloat16 is the upper half of a float") {
  const auto out = converted<float, std::uint16_t>(DType::BF16, {0x3f80, 0xc049, 0x7f80, 0x0001});
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == -3.140625f);
  CHECK(std::isinf(out[2]));
  CHECK(out[3] == std::ldexp(1.0f, -133));
}

TEST_CASE("dtype: all types convert from unaligned bytes") {
  CHECK(converted<float, double>(DType::F64, {1.5, -0.1}) == std::vector<float>{1.5f, -0.1f});
  CHECK(converted<double, float>(DType::F32, {0.1f}) == std::vector<double>{double(0.1f)});
  CHECK(converted<double, std::uint16_t>(DType::F16, {0x3c01}) ==
        std::vector<double>{1.0009765625});
  CHECK(converted<float, std::int64_t>(DType::I64, {-3}) == std::vector<float>{-3.0f});
  CHECK(converted<std::int64_t, std::int32_t>(DType::I32, {-3, 7}) ==
        std::vector<std::int64_t>{-3, 7});
  CHECK(converted<std::int32_t, std::int64_t>(DType::I64, {-3, 7}) ==
        std::vector<std::int32_t>{-3, 7});
  CHECK(converted<std::int32_t, std::int16_t>(DType::I16, {-300}) ==
        std::vector<std::int32_t>{-300});
  CHECK(converted<std::int32_t, std::int8_t>(DType::I8, {-3}) == std::vector<std::int32_t>{-3});
  CHECK(converted<std::int64_t, std::uint32_t>(DType::U32, {4294967295u}) ==
        std::vector<std::int64_t>{4294967295});
  CHECK(converted<double, std::uint64_t>(DType::U64, {std::uint64_t{1} << 63}) ==
        std::vector<double>{9223372036854775808.0});
  CHECK(converted<float, std::uint16_t>(DType::U16, {65535}) == std::vector<float>{65535.0f});
  CHECK(converted<float, std::uint8_t>(DType::U8, {255}) == std::vector<float>{255.0f});
  CHECK(converted<float, std::uint8_t>(DType::BOOL, {0, 1, 2}) ==
        std::vector<float>{0.0f, 1.0f, 1.0f});
}

TEST_CASE("dtype: integers that do not fit and numbers of bytes that are not theirs are refused") {
  CHECK(contains(message_of<LoadError>([] {
                   converted<std::int32_t, std::int64_t>(DType::I64, {1, std::int64_t{1} << 31});
                 }),
                 "element 1: expected an integer of 4 bytes, found 2147483648"));
  CHECK(contains(message_of<LoadError>([] {
                   converted<std::int64_t, std::uint64_t>(DType::U64, {std::uint64_t{1} << 63});
                 }),
                 "found 9223372036854775808"));
  CHECK(contains(message_of<LoadError>([] { converted<std::int64_t, float>(DType::F32, {1.0f}); }),
                 "expected integers"));
  CHECK(contains(message_of<LoadError>([] { converted<float, float>(DType::F64, {1.0f}); }),
                 "expected 8 bytes of F64, found 4"));
}
