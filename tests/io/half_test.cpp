#include "sequin/io/half.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;

namespace {

// The half nearest to `f` by search over all of them, ties to the even one: no shared arithmetic.
class NearestHalf {
 public:
  NearestHalf() {
    for (std::uint32_t h = 0; h < 0x7c00; ++h)
      values_.push_back(half_to_float(static_cast<std::uint16_t>(h)));
    values_.push_back(65536.0f);  // where infinity begins, for rounding
  }
  std::uint16_t operator()(float f) const {
    const unsigned sign = std::signbit(f) ? 0x8000u : 0u;
    const double x = std::abs(static_cast<double>(f));
    const auto above = std::lower_bound(values_.begin(), values_.end(), x,
                                        [](float v, double y) { return double(v) < y; });
    std::size_t h = above == values_.end() ? values_.size() - 1
                                           : static_cast<std::size_t>(above - values_.begin());
    if (h > 0 && above != values_.end()) {
      const double up = static_cast<double>(values_[h]) - x;
      const double down = x - static_cast<double>(values_[h - 1]);
      if (down < up || (down == up && (h - 1) % 2 == 0)) --h;
    }
    return static_cast<std::uint16_t>(sign | static_cast<unsigned>(h));
  }

 private:
  std::vector<float> values_;
};

}  // namespace

TEST_CASE("half: every half that is a number goes to float and back unchanged") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float f = half_to_float(h);
    if (std::isnan(f)) {
      const std::uint16_t back = float_to_half(f);
      if (!std::isnan(half_to_float(back)) || (back & 0x8000) != (h & 0x8000)) FAIL(bits);
    } else if (float_to_half(f) != h) {
      FAIL(bits);
    }
  }
}

TEST_CASE("half: a float becomes the nearest half, of two the even one") {
  const NearestHalf nearest;
  // Every half, the middle to the next one, and the floats beside both.
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float low = half_to_float(static_cast<std::uint16_t>(bits));
    const float high =
        bits + 1 == 0x7c00 ? 65536.0f : half_to_float(static_cast<std::uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact: a half has 13 bits less
    for (const float x : {low, middle}) {
      for (const float f : {std::nextafter(x, 0.0f), x, std::nextafter(x, 1e9f)})
        if (float_to_half(f) != nearest(f) || float_to_half(-f) != nearest(-f)) FAIL(f);
    }
  }
  // And floats all over the range, subnormal ones too.
  for (std::uint64_t bits = 0; bits < 0x7f800000; bits += 104729) {
    const auto f = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (float_to_half(f) != nearest(f)) FAIL(f);
  }
  CHECK(float_to_half(65519.996f) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(-std::numeric_limits<float>::infinity()) == 0xfc00);
  CHECK(float_to_half(-0.0f) == 0x8000);
  CHECK(float_to_half(0x1p-25f) == 0);
  CHECK(float_to_half(0x1.000002p-25f) == 1);
}

TEST_CASE("half: every bfloat16 goes to float and back, floats between go to the nearest") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto b = static_cast<std::uint16_t>(bits);
    const float f = bfloat16_to_float(b);
    if (std::isnan(f)) {
      if (!std::isnan(bfloat16_to_float(float_to_bfloat16(f)))) FAIL(bits);
      continue;
    }
    if (float_to_bfloat16(f) != b) FAIL(bits);
    if (std::isinf(f)) continue;
    const auto at = [&](std::uint32_t low) {
      return float_to_bfloat16(std::bit_cast<float>((bits << 16) | low));
    };
    const auto next = static_cast<std::uint16_t>(bits + 1);
    if (at(0x7fff) != b || at(0x8001) != next || at(0x8000) != (bits % 2 == 0 ? b : next))
      FAIL(bits);
  }
}

TEST_CASE("half: a NaN whose upper bits are clear stays a NaN") {
  const auto nan = std::bit_cast<float>(0x7f800001u);
  CHECK(std::isnan(half_to_float(float_to_half(nan))));
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(nan))));
}
