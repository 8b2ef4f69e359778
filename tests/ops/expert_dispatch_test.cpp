#include "sequin/ops/expert_dispatch.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/ops/elementwise.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace sequin;
using sequin_test::largest_difference;
using sequin_test::wavy;

/// Five tokens, three choices, six experts of which number 3 gets nothing.
Tensor<std::int64_t, 2> some_choice() {
  return {{5, 3}, {0, 1, 2, 5, 4, 0, 2, 0, 1, 4, 5, 2, 0, 4, 1}};
}

/// y = sum over choices of weight * (expert + 1) * x.
template <class T>
Tensor<T, 2> dispatched(const Tensor<T, 2>& x, const Tensor<T, 2>& weights) {
  const ExpertPlan plan(some_choice(), 6);
  Tensor<T, 2> y(x.shape());
  for (index_t e = 0; e < plan.experts(); ++e) {
    const Tensor<T, 2> mine = gather_tokens(x, plan, e);
    y = add_expert(std::move(y), scale(mine, static_cast<T>(e + 1)), weights, plan, e);
  }
  return y;
}

}  // namespace

TEST_CASE("ExpertPlan: lists the tokens of each expert in their order") {
  const ExpertPlan plan(some_choice(), 6);
  const index_t counts[] = {4, 3, 3, 0, 3, 2};
  index_t total = 0;
  for (index_t e = 0; e < 6; ++e) {
    REQUIRE(plan.count(e) == counts[e]);
    for (index_t i = 0; i < plan.count(e); ++i) {
      CHECK(some_choice().data()[plan.slots(e)[i]] == e);
      if (i > 0) CHECK(plan.slots(e)[i] > plan.slots(e)[i - 1]);
    }
    total += plan.count(e);
  }
  CHECK(total == 15);
}

TEST_CASE("expert dispatch: gathers, weighs and adds, as the loop over tokens") {
  for (const index_t width : {1, 7, 8, 19}) {
    const auto x = wavy<float, 2>({5, width}, 0.2);
    const auto weights = wavy<float, 2>({5, 3}, 1.1);
    Tensor<double, 2> expected(x.shape());
    const auto choice = some_choice();
    for (index_t t = 0; t < 5; ++t)
      for (index_t j = 0; j < 3; ++j)
        for (index_t d = 0; d < width; ++d)
          expected(t, d) += static_cast<double>(weights(t, j)) *
                            static_cast<double>(choice(t, j) + 1) * static_cast<double>(x(t, d));
    // Sums of three terms up to 6.
    CHECK(largest_difference(dispatched(x, weights), expected) < 3e-6);
  }
}

TEST_CASE("expert dispatch: gradients are those of finite differences") {
  const auto result =
      grad_check([](const auto& x, const auto& weights) { return dispatched(x, weights); },
                 wavy<double, 2>({5, 7}, 0.2), wavy<double, 2>({5, 3}, 1.1));
  INFO(result.where);
  CHECK(result.ok(1e-8));
}

TEST_CASE("expert dispatch: wrong experts and extents are named") {
  const Tensor<std::int64_t, 2> bad({2, 1}, {0, 6});
  CHECK_THROWS_WITH(ExpertPlan(bad, 6),
                    "ExpertPlan: token 1 selects expert 6, expected 0 to X - 1 = 5");
  const ExpertPlan plan(some_choice(), 6);
  CHECK_THROWS_WITH(gather_tokens(Tensor<float, 2>({4, 2}), plan, 0),
                    "gather_tokens: x is [4, 2], expected [N=5, ...]");
  CHECK_THROWS_WITH(add_expert(Tensor<float, 2>({5, 2}), Tensor<float, 2>({4, 3}),
                               Tensor<float, 2>({5, 3}), plan, 0),
                    "add_expert: y is [4, 3], expected [count=4, D=2]");
  CHECK_THROWS_WITH(add_expert(Tensor<float, 2>({5, 2}), Tensor<float, 2>({4, 2}),
                               Tensor<float, 2>({5, 2}), plan, 0),
                    "add_expert: weights is [5, 2], expected [5, 3]");
}
