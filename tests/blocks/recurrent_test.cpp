#include "common/allocation_count.hpp"
#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/causal_fsmn.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"
#include "sequin/core/module_trace.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/stream/session.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cstdlib>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

template <class Block>
Block drawn(const RecurrentConfig& config) {
  Block block(config);
  Generator generator(4);
  block.initialize(generator);
  return block;
}

RecurrentConfig sizes(index_t in, index_t hidden, index_t layers = 1, bool both = false) {
  RecurrentConfig c;
  c.input_size = in;
  c.hidden_size = hidden;
  c.num_layers = layers;
  c.bidirectional = both;
  return c;
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// Blocks with a memory, one after the other.
struct Chain {
  using value_type = float;
  Gru<float> gru = drawn<Gru<float>>(sizes(3, 4));
  Lstm<float> lstm = drawn<Lstm<float>>(sizes(4, 5, 2, true));
  CausalFsmn<float> fsmn = CausalFsmn<float>({.dim = 10, .hidden = 6, .lorder = 3});

  Tensor<float, 3> forward(const Tensor<float, 3>& x) const {
    return fsmn.forward(lstm.forward(gru.forward(x)));
  }
  void visit(Visitor<float>& v) {
    v.child("gru", gru);
    v.child("lstm", lstm);
    v.child("fsmn", fsmn);
  }
};

}  // namespace

TEST_CASE("recurrent blocks: a trace hears what they put out") {
  Chain chain;
  const ModuleTrace trace(chain);
  const auto y = chain.forward(wavy<float, 3>({2, 6, 3}, 0.1));
  std::vector<std::string> paths;
  for (const auto& m : trace.outputs()) paths.push_back(m.path);
  REQUIRE(paths == std::vector<std::string>{"gru", "lstm", "fsmn.project", "fsmn"});
  CHECK(trace.outputs()[0].shape == std::vector<index_t>{2, 6, 4});
  CHECK(trace.outputs()[1].shape == std::vector<index_t>{2, 6, 10});
  CHECK(std::equal(y.span().begin(), y.span().end(), trace.outputs()[3].values.begin()));
}

TEMPLATE_TEST_CASE("recurrent blocks: steps give the bits of the whole sequence", "", Gru<float>,
                   Lstm<float>, Gru<double>, Lstm<double>) {
  using T = typename TestType::value_type;
  for (const index_t hidden : {1, 8, 12, 16, 24, 32, 33, 64}) {
    for (const index_t layers : {1, 3}) {
      auto block = drawn<TestType>(sizes(3, hidden, layers));
      const auto x = wavy<T, 3>({5, 7, 3}, 0.1);
      auto state = block.initial_state(5);
      const auto unprepared = block.forward(x, &state);
      prepare(block);
      auto whole = block.initial_state(5);
      REQUIRE(identical(block.forward(x, &whole), unprepared));
      auto stepped = block.initial_state(5);
      Tensor<T, 2> y({5, hidden});
      for (index_t t = 0; t < 7; ++t) {
        const auto now = slice(x, 1, t, t + 1);
        REQUIRE(block.step(now.span(), stepped, y.span()));
        REQUIRE(identical(y, slice(unprepared, 1, t, t + 1).template reshaped<2>({5, hidden})));
      }
      for (std::size_t i = 0; i < stepped.h.size(); ++i)
        REQUIRE(identical(stepped.h[i], whole.h[i]));
    }
  }
}

TEMPLATE_TEST_CASE("recurrent blocks: a step and a session allocate nothing", "", Gru<float>,
                   Lstm<float>) {
  auto block = drawn<TestType>(sizes(2, 20, 2));
  std::vector<float> first;
  for (const bool prepared : {false, true}) {
    if (prepared) prepare(block);
    Session session(block, 3);
    const std::vector<float> x = {1, -1, 0.5f, 2, 0, 0.25f};
    const std::size_t before = sequin_examples::allocation_count();
    for (int t = 0; t < 5; ++t)
      if (session.step(x).size() != 60) std::abort();
    REQUIRE(sequin_examples::allocation_count() == before);
    const auto y = session.step(x);
    if (!prepared) first.assign(y.begin(), y.end());
    REQUIRE(std::equal(y.begin(), y.end(), first.begin(), first.end()));
  }
  auto state = block.initial_state(1);
  std::vector<float> y(20);
  const float x[2] = {0.3f, -0.2f};
  const std::size_t before = sequin_examples::allocation_count();
  for (int t = 0; t < 5; ++t)
    if (!block.step(x, state, y)) std::abort();
  REQUIRE(sequin_examples::allocation_count() == before);
}

TEMPLATE_TEST_CASE("recurrent blocks: a step that cannot be leaves the state alone", "", Gru<float>,
                   Lstm<float>) {
  auto block = drawn<TestType>(sizes(2, 5));
  auto state = block.initial_state(1);
  std::vector<float> x(2, 1.0f), y(5);
  REQUIRE_FALSE(block.step(x, state, y));  // not prepared
  prepare(block);
  REQUIRE(block.step(x, state, y));
  const auto kept = state;
  REQUIRE_FALSE(block.step(std::vector<float>(3), state, y));
  REQUIRE_FALSE(block.step(x, state, std::span<float>(y).first(4)));
  block.cells[0].bias_hh.fill(0.5f);
  REQUIRE_FALSE(block.step(x, state, y));  // prepared from other values
  REQUIRE(identical(kept.h[0], state.h[0]));
  auto both = drawn<TestType>(sizes(2, 5, 1, true));
  prepare(both);
  auto states = both.initial_state(1);
  REQUIRE_FALSE(both.step(x, states, y));
  Session session(block, 1);
  session.step(x);
  session.reset();
  REQUIRE(identical(session.state().h[0], Tensor<float, 2>({1, 5})));
}

TEMPLATE_TEST_CASE("recurrent blocks: parameters are listed under the official names", "",
                   Gru<float>, Lstm<float>) {
  auto block = drawn<TestType>(sizes(3, 4, 2, true));
  std::vector<std::string> names;
  double count = 0;
  for (const auto& p : parameters(block).items) {
    names.push_back(p.name);
    count += static_cast<double>(p.values.size());
  }
  REQUIRE(names == std::vector<std::string>{
                       "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0",
                       "weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse",
                       "bias_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1", "bias_ih_l1",
                       "bias_hh_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse",
                       "bias_ih_l1_reverse", "bias_hh_l1_reverse"});
  REQUIRE(count == block.config().parameter_count(block.cells[0].weight_hh.extent(0) / 4));
  REQUIRE(block.cells[2].weight_ih.extent(1) == 8);
}

TEMPLATE_TEST_CASE("recurrent blocks: gradients pass through layers, directions and the state", "",
                   Gru<double>, Lstm<double>) {
  auto block = drawn<TestType>(sizes(3, 4, 2, true));
  const auto r = grad_check(
      [&](const auto& x, const auto& h) {
        auto state = block.initial_state(2);
        // A copy that is tracked: without a tape the state's own memory is overwritten.
        state.h[3] = concat(slice(h, 0, 0, 1), slice(h, 0, 1, 2), 0);
        const auto y = block.forward(x, &state);
        const auto last = reshape<3>(concat(state.h[1], state.h[3], 1), {2, 1, 8});
        return concat(y, last, 1);
      },
      wavy<double, 3>({2, 3, 3}, 0.1), wavy<double, 2>({2, 4}, 0.5));
  INFO(r.where);
  REQUIRE(r.ok());
}

TEMPLATE_TEST_CASE("recurrent blocks: dropout acts between layers while training only", "",
                   Gru<float>, Lstm<float>) {
  auto config = sizes(3, 6, 2);
  config.dropout = 0.5;
  const auto block = drawn<TestType>(config);
  const auto x = wavy<float, 3>({1, 4, 3}, 0.1);
  Generator generator(1);
  ForwardContext<float> context;
  context.dropout_generator = &generator;
  const auto y = block.forward(x);
  REQUIRE(identical(block.forward(x), y));
  REQUIRE_FALSE(identical(block.forward(x, nullptr, context), y));
  config.num_layers = 1;
  const auto single = drawn<TestType>(config);
  REQUIRE(identical(single.forward(x, nullptr, context), single.forward(x)));
}

TEMPLATE_TEST_CASE("recurrent blocks: weights given up still run and refuse to train", "",
                   Gru<float>, Lstm<float>) {
  auto block = drawn<TestType>(sizes(3, 6, 2));
  auto x = wavy<float, 3>({2, 4, 3}, 0.1);
  const auto y = block.forward(x);
  prepare_for_inference(block);
  REQUIRE(identical(block.forward(x), y));
  std::vector<float> out(6);
  auto state = block.initial_state(1);
  REQUIRE(block.step(x.span().first(3), state, out));
  x.set_requires_grad();
  Tape tape;
  REQUIRE(message_of([&] { block.forward(x); }).find("was given up by prepare_for_inference") !=
          std::string::npos);
  REQUIRE_THROWS_AS(parameters(block), ConfigError);
}

TEST_CASE("recurrent blocks: wrong configurations and states are named") {
  CHECK(message_of([] { Gru<float> block(sizes(0, 4)); }) ==
        "Gru: input_size is 0, hidden_size 4 and num_layers 1, expected >= 1");
  auto config = sizes(2, 4);
  config.dropout = 1;
  CHECK(message_of([&] { Lstm<float> block(config); }) ==
        "Lstm: dropout is 1.000000, expected 0 <= dropout < 1");
  const Gru<float> block(sizes(2, 4, 2));
  auto state = block.initial_state(1);
  state.h.pop_back();
  CHECK(message_of([&] {
          block.forward(Tensor<float, 3>({1, 1, 2}), &state);
        }) == "Gru: the state has 1 tensors, expected 2 (num_layers * directions)");
  auto other = block.initial_state(3);
  auto mine = block.initial_state(1);
  CHECK(message_of([&] { mine.assign(other); }) ==
        "the state is of another model or batch: h.0 is [3, 4], expected [1, 4]");
}
