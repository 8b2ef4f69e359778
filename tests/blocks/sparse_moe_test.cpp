#include "sequin/blocks/sparse_moe.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/ops/activation.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

SparseMoeConfig small() {
  SparseMoeConfig c;
  c.hidden_size = 6;
  c.intermediate_size = 9;
  c.num_experts = 4;
  c.num_experts_per_tok = 2;
  return c;
}

template <class T>
SparseMoe<T> drawn(const SparseMoeConfig& c) {
  SparseMoe<T> block(c);
  Generator generator(3);
  block.initialize(generator);
  return block;
}

}  // namespace

TEST_CASE("SparseMoe: is the weighted sum over each token's own experts") {
  for (const bool normalize : {false, true})
    for (const bool shared : {false, true}) {
      SparseMoeConfig c = small();
      c.norm_topk_prob = normalize;
      c.shared_expert = shared;
      const auto block = drawn<double>(c);
      const auto x = wavy<double, 3>({2, 5, 6}, 0.4);
      Routing<double> routing;
      const auto y = block.forward(x, &routing);
      for (index_t n = 0; n < 10; ++n) {
        const Tensor<double, 2> token({1, 6}, x.span().subspan(static_cast<std::size_t>(n * 6), 6));
        Tensor<double, 2> expected({1, 6});
        double total = 0;
        for (index_t j = 0; j < 2; ++j) total += routing.routing_weights(n, j);
        if (normalize) CHECK(total == Approx(1));
        for (index_t j = 0; j < 2; ++j) {
          const auto e = static_cast<std::size_t>(routing.selected_experts(n, j));
          expected =
              expected + scale(block.experts[e].forward(token), routing.routing_weights(n, j));
        }
        if (shared)
          expected = expected + mul(block.shared_expert.forward(token),
                                    sigmoid(block.shared_expert_gate.forward(token)));
        for (index_t d = 0; d < 6; ++d)
          CHECK(y.data()[n * 6 + d] == Approx(expected(0, d)).epsilon(1e-12));
        // A token's result does not depend on those beside it.
        CHECK(largest_difference(block.forward(token), expected) < 1e-14);
      }
    }
}

TEST_CASE("SparseMoe: gradients of input and router are those of finite differences") {
  const auto block = drawn<double>(small());
  const auto result =
      grad_check([&](const auto& x) { return block.forward(x); }, wavy<double, 2>({5, 6}, 0.4));
  INFO(result.where);
  CHECK(result.ok(1e-8));
  const auto router = grad_check(
      [&](const auto& weight) {
        auto copy = block;
        copy.gate.weight = weight;
        return copy.forward(wavy<double, 2>({5, 6}, 0.4));
      },
      block.gate.weight.clone());
  INFO(router.where);
  CHECK(router.ok(1e-8));
}

TEST_CASE("SparseMoe: an expert that no token chose has gradients of zeros, not none") {
  auto block = drawn<float>(small());
  set_requires_grad(block);
  Routing<float> routing;
  Tape tape;
  const auto y = block.forward(wavy<float, 3>({1, 1, 6}, 0.4), &routing);
  const Gradients g = tape.gradients(y, wavy<float, 3>({1, 1, 6}, 0.9));
  for (std::int64_t e = 0; e < 4; ++e) {
    const auto& expert = block.experts[static_cast<std::size_t>(e)];
    const bool idle = routing.selected_experts(0, 0) != e && routing.selected_experts(0, 1) != e;
    for (const auto* map : {&expert.gate_proj, &expert.up_proj, &expert.down_proj}) {
      REQUIRE(g.has(map->weight));
      double size = 0;
      for (const float v : g.of(map->weight).span()) size += std::abs(v);
      CHECK((size == 0) == idle);
    }
  }
}

TEST_CASE("SparseMoe: the result does not depend on the number of threads or on recording") {
  SparseMoeConfig c = small();
  c.hidden_size = 64;
  c.intermediate_size = 128;
  auto block = drawn<float>(c);
  prepare(block);
  const auto x = wavy<float, 2>({77, 64}, 0.4);
  const auto alone = block.forward(x);
  {
    ThreadPool pool(3);
    const ExecutorScope scope(&pool);
    CHECK(identical(block.forward(x), alone));
  }
  set_requires_grad(block);
  const Tape tape;
  CHECK(identical(block.forward(x), alone));
}

TEST_CASE("SparseMoe: the count of its parameters is that of its tensors") {
  for (const bool shared : {false, true}) {
    SparseMoeConfig c = small();
    c.shared_expert = shared;
    SparseMoe<float> block(c);
    CHECK(static_cast<double>(parameters(block).count()) == c.parameter_count());
  }
}

TEST_CASE("SparseMoe: impossible sizes are refused") {
  SparseMoeConfig c = small();
  c.num_experts_per_tok = 5;
  CHECK_THROWS_WITH(SparseMoe<float>(c),
                    "SparseMoe: num_experts_per_tok is 5, expected 1 to num_experts = 4");
  c = small();
  c.intermediate_size = 1;
  CHECK_THROWS_WITH(SparseMoe<float>(c),
                    "SparseMoe: intermediate_size is 1, expected at least num_experts_per_tok = 2");
}
