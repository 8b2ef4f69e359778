#include "sequin/ops/rotary.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

const RotaryLayout kLayouts[] = {RotaryLayout::half_split, RotaryLayout::interleaved};

}  // namespace

TEST_CASE("rotate: turns each pair by its angle and leaves the rest") {
  const Tensor<std::int64_t, 2> positions({2, 3}, {0, 5, 4000, 7, 7, 1});
  for (const index_t turned : {2, 6, 16, 18})
    for (const RotaryLayout layout : kLayouts) {
      const auto table = rotary_table<float>(positions, turned, 500);
      const auto x = wavy<float, 4>({2, 3, 2, 19}, 0.2);
      Tensor<double, 4> expected = x.cast<double>();
      for (index_t b = 0; b < 2; ++b)
        for (index_t t = 0; t < 3; ++t)
          for (index_t h = 0; h < 2; ++h)
            for (index_t i = 0; i < turned / 2; ++i) {
              const bool half = layout == RotaryLayout::half_split;
              const index_t a = half ? i : 2 * i;
              const index_t c = half ? i + turned / 2 : 2 * i + 1;
              const double angle =
                  static_cast<double>(positions(b, t)) *
                  std::pow(500, -2.0 * static_cast<double>(i) / static_cast<double>(turned));
              const auto u = static_cast<double>(x(b, t, h, a));
              const auto v = static_cast<double>(x(b, t, h, c));
              expected(b, t, h, a) = u * std::cos(angle) - v * std::sin(angle);
              expected(b, t, h, c) = v * std::cos(angle) + u * std::sin(angle);
            }
      CHECK(largest_difference(rotate(x, table, layout), expected) < 3e-7);
    }
}

TEST_CASE("rotate: one table for all sequences is that table for each") {
  const Tensor<std::int64_t, 2> one({1, 3}, {3, 4, 5});
  const Tensor<std::int64_t, 2> each({2, 3}, {3, 4, 5, 3, 4, 5});
  const auto x = wavy<double, 4>({2, 3, 2, 8}, 0.2);
  CHECK(identical(rotate(x, rotary_table<double>(one, 8, 1e4)),
                  rotate(x, rotary_table<double>(each, 8, 1e4))));
}

TEST_CASE("rotate: the gradient is that of finite differences") {
  const Tensor<std::int64_t, 2> positions({2, 3}, {0, 5, 40, 7, 7, 1});
  for (const RotaryLayout layout : kLayouts) {
    const auto table = rotary_table<double>(positions, 6, 100);
    const auto result = grad_check([&](const auto& x) { return rotate(x, table, layout); },
                                   wavy<double, 4>({2, 3, 2, 7}, 0.2));
    INFO(result.where);
    CHECK(result.ok(1e-8));
  }
}

TEST_CASE("rotate: odd widths and tables that do not fit are named") {
  const Tensor<std::int64_t, 2> positions({1, 3});
  CHECK_THROWS_WITH(rotary_table<float>(positions, 5, 1e4),
                    "rotary_table: width is 5, expected an even number >= 2");
  const auto table = rotary_table<float>(positions, 6, 1e4);
  CHECK_THROWS_WITH(rotate(Tensor<float, 4>({2, 4, 1, 6}), table),
                    "rotate: the table is [1, 3, 3] and [1, 3, 3], expected [B or 1, T, R / 2] "
                    "with R <= P (from x [B, T, H, P] = [2, 4, 1, 6])");
}
