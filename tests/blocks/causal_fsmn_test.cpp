#include "sequin/blocks/causal_fsmn.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/ops/shape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

template <class T>
CausalFsmn<T> drawn(index_t dim, index_t hidden, index_t lorder) {
  CausalFsmnConfig config;
  config.dim = dim;
  config.hidden = hidden;
  config.lorder = lorder;
  CausalFsmn<T> block(config);
  Generator generator(3);
  block.initialize(generator);
  return block;
}

}  // namespace

TEST_CASE("causal_fsmn: any chunking equals the batch result bit for bit", "[causal_fsmn]") {
  for (const index_t lorder : {1, 2, 5, 20, 30}) {
    auto block = drawn<float>(9, 12, lorder);
    prepare(block);
    const auto x = wavy<float, 3>({2, 23, 9}, 0.1);
    auto whole_state = block.initial_state(2);
    const auto whole = block.forward(x, &whole_state);
    REQUIRE(identical(block.forward(x), whole));
    for (const index_t chunk : {1, 4, 7}) {
      auto state = block.initial_state(2);
      Tensor<float, 3> y({2, 0, 9});
      for (index_t t = 0; t < 23; t += chunk)
        y = concat(y, block.forward(slice(x, 1, t, (std::min)(t + chunk, index_t{23})), &state), 1);
      REQUIRE(identical(y, whole));
      REQUIRE(identical(state.memory, whole_state.memory));
    }
  }
}

TEST_CASE("causal_fsmn: the output equals the formula", "[causal_fsmn]") {
  const auto block = drawn<double>(3, 4, 3);
  const auto x = wavy<double, 3>({1, 6, 3}, 0.1);
  const auto y = block.forward(x);
  const auto p = block.project.forward(block.linear.forward(x, Activation::relu));
  for (index_t t = 0; t < 6; ++t)
    for (index_t c = 0; c < 3; ++c) {
      double sum = x(0, t, c) + p(0, t, c);
      for (index_t i = 0; i < 3 && i <= t; ++i) sum += block.memory(c, 0, 2 - i) * p(0, t - i, c);
      REQUIRE(y(0, t, c) == Approx(sum).epsilon(1e-13));
    }
}

TEST_CASE("causal_fsmn: the gradient of the input equals finite differences", "[causal_fsmn]") {
  const auto block = drawn<double>(3, 4, 3);
  const auto r =
      grad_check([&](const auto& x) { return block.forward(x); }, wavy<double, 3>({2, 5, 3}, 0.1));
  INFO(r.where);
  REQUIRE(r.ok());
}

TEST_CASE("causal_fsmn: wrong sizes are named", "[causal_fsmn]") {
  std::string message;
  try {
    CausalFsmn<float> block(CausalFsmnConfig{4, 0, 3});
  } catch (const ConfigError& e) {
    message = e.what();
  }
  CHECK(message == "CausalFsmn: dim is 4, hidden 0 and lorder 3, expected >= 1");
}
