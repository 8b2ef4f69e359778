#include "sequin/ops/load_balancing.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <array>

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
