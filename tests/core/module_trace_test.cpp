#include "sequin/core/module_trace.hpp"

#include "common/allocation_count.hpp"
#include "support/catch.hpp"

#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace sequin;

namespace {

/// y = factor * x
struct Scale {
  using value_type = float;
  using module_type = Scale;
  Tensor<float, 1> factor{{1}, 2.0F};

  Tensor<float, 1> forward(const Tensor<float, 1>& x) const {
    auto y = Tensor<float, 1>::empty(x.shape());
    for (index_t i = 0; i < x.size(); ++i) y(i) = factor(0) * x(i);
    return probe(*this, std::move(y));
  }
  void visit(Visitor<float>& v) { v.parameter("factor", factor); }
};

/// The same under another name.
struct NamedScale : Scale {};

/// Its first member lies where it lies itself.
struct Pair {
  using value_type = float;
  Scale first, second;

  Tensor<float, 1> forward(const Tensor<float, 1>& x) const {
    return probe(*this, second.forward(first.forward(x)));
  }
  void visit(Visitor<float>& v) {
    v.child("first", first);
    v.child("second", second);
  }
};

struct Net {
  using value_type = float;
  std::vector<Pair> layers{2};
  Scale head;

  Tensor<float, 1> forward(Tensor<float, 1> x) const {
    for (const Pair& layer : layers) x = layer.forward(x);
    return head.forward(x);
  }
  void visit(Visitor<float>& v) {
    v.children("layers", layers);
    v.child("block.head", head);
  }
};

const Tensor<float, 1> kInput({3}, {1, 2, 3});

std::vector<std::string> paths_of(const ModuleTrace<float>& trace) {
  std::vector<std::string> paths;
  for (const auto& m : trace.outputs()) paths.push_back(m.path);
  return paths;
}

}  // namespace

TEST_CASE("module_trace: blocks are heard under their paths, inner ones first") {
  Net net;
  const ModuleTrace trace(net);
  net.forward(kInput);
  CHECK(paths_of(trace) == std::vector<std::string>{"layers.0.first", "layers.0.second", "layers.0",
                                                    "layers.1.first", "layers.1.second", "layers.1",
                                                    "block.head"});
  CHECK(trace.outputs()[2].shape == std::vector<index_t>{3});
  CHECK(trace.outputs()[2].values == std::vector<float>{4, 8, 12});
  CHECK(trace.outputs()[6].values == std::vector<float>{32, 64, 96});
}

TEST_CASE("module_trace: only the first output of a block is kept") {
  Net net;
  const ModuleTrace trace(net);
  net.forward(kInput);
  net.forward(Tensor<float, 1>({1}, {100}));
  REQUIRE(trace.outputs().size() == 7);
  CHECK(trace.outputs()[0].values == std::vector<float>{2, 4, 6});
}

TEST_CASE("module_trace: only the blocks that are wanted are kept") {
  Net net;
  const ModuleTrace trace(net, [](std::string_view path) { return path.ends_with("second"); });
  net.forward(kInput);
  CHECK(paths_of(trace) == std::vector<std::string>{"layers.0.second", "layers.1.second"});
}

TEST_CASE("module_trace: another model, another thread and NoProbe are not heard") {
  Net net;
  Net other;
  const ModuleTrace trace(net);
  other.forward(kInput);
  std::thread([&] { net.forward(kInput); }).join();
  {
    const NoProbe<float> quiet;
    net.forward(kInput);
  }
  CHECK(trace.outputs().empty());
  net.head.forward(kInput);
  CHECK(trace.outputs().size() == 1);
}

TEST_CASE("module_trace: the inner of two traces hears, the outer one after it") {
  Net net;
  const ModuleTrace outer(net);
  {
    const ModuleTrace inner(net);
    net.layers[0].forward(kInput);
    CHECK(inner.outputs().size() == 3);
  }
  CHECK(outer.outputs().empty());
  net.head.forward(kInput);
  CHECK(outer.outputs().size() == 1);
}

TEST_CASE(
    "module_trace: a block and its first member are told apart, a class and its other name not") {
  const Pair pair;
  CHECK(static_cast<const void*>(&pair) == static_cast<const void*>(&pair.first));
  CHECK(module_id(pair) != module_id(pair.first));
  const NamedScale named;
  CHECK(module_id(named) == module_id(static_cast<const Scale&>(named)));
}

TEST_CASE(
    "module_trace: without a trace a probe allocates nothing and hands on the same elements") {
  const Scale block;
  Tensor<float, 1> y({3}, {1, 2, 3});
  const float* const data = std::as_const(y).data();
  const auto version = y.version();
  const std::size_t before = sequin_examples::allocation_count();
  const Tensor<float, 1> z = probe(block, std::move(y));
  CHECK(sequin_examples::allocation_count() == before);
  CHECK(z.data() == data);
  CHECK(z.version() == version);
}
