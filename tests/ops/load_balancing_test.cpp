#include "sequin/ops/load_balancing.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "support/thread_replicas.hpp"

#include <array>
#include <vector>

namespace {

using namespace sequin;
using sequin_test::wavy;

double reference(const std::array<Tensor<double, 2>, 2>& layers, index_t k,
                 const Tensor<double, 1>& mask) {
  const index_t experts = layers[0].extent(1);
  std::vector<double> p(static_cast<std::size_t>(experts)), f = p;
  double tokens = 0;
  for (const auto& logits : layers) {
    const auto soft = softmax(logits);
    const auto top = top_k(soft, k);
    for (index_t i = 0; i < logits.extent(0); ++i) {
      const double m = mask.defined() ? mask(i) : 1;
      tokens += m;
      for (index_t e = 0; e < experts; ++e) p[static_cast<std::size_t>(e)] += m * soft(i, e);
      for (index_t j = 0; j < k; ++j) f[static_cast<std::size_t>(top.indices(i, j))] += m;
    }
  }
  double loss = 0;
  for (std::size_t e = 0; e < p.size(); ++e)
    loss += static_cast<double>(experts) * p[e] / tokens * f[e] / tokens;
  return loss;
}

}  // namespace

TEST_CASE("load_balancing_loss: is the definition for any k, a masked single choice twice that") {
  const std::array layers{wavy<double, 2>({6, 5}, 0.1), wavy<double, 2>({6, 5}, 2.0)};
  const Tensor<double, 1> mask({6}, {0, 1, 1, 0, 1, 1});
  for (index_t k = 1; k <= 5; ++k) {
    CHECK(load_balancing_loss<double>(layers, k).item() ==
          Approx(reference(layers, k, {})).epsilon(1e-13));
    CHECK(load_balancing_loss<double>(layers, k, mask).item() ==
          Approx((k == 1 ? 2 : 1) * reference(layers, k, mask)).epsilon(1e-13));
  }
}

TEST_CASE("load_balancing_loss: perfect balance gives k, nothing that counts gives 0") {
  const std::array layers{Tensor<float, 2>({4, 4}), Tensor<float, 2>({4, 4})};
  CHECK(load_balancing_loss<float>(layers, 4).item() == Approx(4));
  CHECK(load_balancing_loss<float>(layers, 2, Tensor<float, 1>({4})).item() == 0);
}

TEST_CASE("load_balancing_loss: the gradient is that of finite differences") {
  const Tensor<double, 1> mask({6}, {0, 1, 1, 0, 1, 1});
  const auto result = grad_check(
      [&](const auto& a, const auto& b) {
        const std::array layers{a, b};
        return load_balancing_loss<double>(layers, 2, mask);
      },
      wavy<double, 2>({6, 5}, 0.1), wavy<double, 2>({6, 5}, 2.0));
  INFO(result.where);
  CHECK(result.ok(1e-8));
}

TEST_CASE("load_balancing_loss: layers and masks that do not fit are named") {
  const std::array layers{Tensor<float, 2>({4, 5}), Tensor<float, 2>({4, 6})};
  CHECK_THROWS_WITH(load_balancing_loss<float>(layers, 2),
                    "load_balancing_loss: a layer's logits are [4, 6], expected [N, X=5] (X from "
                    "the first layer)");
  CHECK_THROWS_WITH(
      load_balancing_loss<float>(std::span(layers).first(1), 2, Tensor<float, 1>({3})),
      "load_balancing_loss: mask is [3], expected [N=4] (N from the logits [4, 5])");
}

TEST_CASE("load_balancing_loss: the mean over ranks by tokens is the loss of all tokens") {
  // Seven tokens: three of the first rank, four of the second; the third stands in with two more.
  const std::array layers{wavy<double, 2>({9, 5}, 0.1, 2), wavy<double, 2>({9, 5}, 2.0, 2)};
  const Tensor<double, 1> mask({9}, {0, 1, 1, 1, 0, 1, 1, 1, 1});
  constexpr std::array<index_t, 4> begins{0, 3, 7, 9};
  for (const bool masked : {false, true}) {
    INFO("masked " << masked);
    std::array<Tensor<double, 2>, 2> whole;
    for (std::size_t l = 0; l < 2; ++l) {
      whole[l] = slice(layers[l], 0, 0, 7).clone();
      whole[l].set_requires_grad();
    }
    const auto all_mask = masked ? slice(mask, 0, 0, 7).clone() : Tensor<double, 1>{};
    Tape tape;
    const auto expected =
        load_balancing_loss<double>(std::span<const Tensor<double, 2>>(whole), 2, all_mask);
    const Gradients expected_gradients = tape.gradients(expected);
    const double tokens = masked ? 5 : 7;
    std::array<double, 3> losses{};
    std::vector<double> worst(3);
    sequin_test::run_ranks(3, [&](Replicas& replicas) {
      const auto rank = static_cast<std::size_t>(replicas.rank());
      const StandIn stand_in(&replicas, rank == 2);
      const index_t begin = begins[rank], end = begins[rank + 1];
      std::array<Tensor<double, 2>, 2> mine;
      for (std::size_t l = 0; l < 2; ++l) {
        mine[l] = slice(layers[l], 0, begin, end).clone();
        mine[l].set_requires_grad();
      }
      const auto my_mask = masked ? slice(mask, 0, begin, end).clone() : Tensor<double, 1>{};
      const double share =
          rank == 2 ? 0
                    : (masked ? sum(my_mask).item() : static_cast<double>(end - begin)) / tokens;
      Tape own;
      const auto loss = load_balancing_loss<double>(std::span<const Tensor<double, 2>>(mine), 2,
                                                    my_mask, &replicas);
      losses[rank] = share * loss.item();
      const Gradients g = own.gradients(loss, Tensor<double, 0>({}, share));
      for (std::size_t l = 0; l < 2 && rank < 2; ++l)
        worst[rank] = (std::max)(
            worst[rank], sequin_test::largest_difference(
                             slice(expected_gradients.of(whole[l]), 0, begin, end), g.of(mine[l])));
    });
    CHECK(losses[0] + losses[1] == Approx(expected.item()).epsilon(1e-14));
    CHECK(worst[0] < 1e-14);
    CHECK(worst[1] < 1e-14);
  }
}
