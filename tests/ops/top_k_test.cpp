#include "sequin/ops/top_k.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace {

using namespace sequin;
using sequin_test::wavy;

}  // namespace

TEST_CASE("top_k: is the head of each row sorted downwards") {
  for (const index_t n : {1, 2, 7, 16, 33})
    for (index_t k = 0; k <= n; ++k) {
      const auto x = wavy<float, 2>({5, n}, 0.3);
      const auto top = top_k(x, k);
      REQUIRE(top.values.shape() == Shape<2>{5, k});
      for (index_t r = 0; r < 5; ++r) {
        std::vector<index_t> order(static_cast<std::size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](index_t a, index_t b) { return x(r, a) > x(r, b); });
        for (index_t j = 0; j < k; ++j) {
          REQUIRE(top.indices(r, j) == order[static_cast<std::size_t>(j)]);
          REQUIRE(top.values(r, j) == x(r, top.indices(r, j)));
        }
      }
    }
}

TEST_CASE("top_k: of equal entries the first comes first, and NaN is the largest") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float, 2> x({1, 6}, {1, 3, nan, 3, 3, 2});
  const auto top = top_k(x, 4);
  CHECK(top.indices(0, 0) == 2);
  CHECK(top.indices(0, 1) == 1);
  CHECK(top.indices(0, 2) == 3);
  CHECK(top.indices(0, 3) == 4);
  CHECK(std::isnan(top.values(0, 0)));
}

TEST_CASE("top_k: the gradient goes to where the values came from") {
  const auto result =
      grad_check([](const auto& x) { return top_k(x, 3).values; }, wavy<double, 2>({4, 7}, 0.1));
  INFO(result.where);
  CHECK(result.ok(1e-8));
}

TEST_CASE("top_k: more than there is is refused") {
  CHECK_THROWS_WITH(top_k(Tensor<float, 2>({2, 3}), 4),
                    "top_k: k is 4, expected 0 to X=3 (X from x [2, 3])");
}
