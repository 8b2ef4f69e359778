#include "sequin/core/parameter.hpp"

#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <set>

using namespace sequin;
using sequin_test::wavy;

namespace {

struct Norm {
  using value_type = float;
  Tensor<float, 1> weight = wavy<float, 1>({5}, 0.1);
  Tensor<float, 1> bias;  // absent
  Tensor<float, 1> running = wavy<float, 1>({2}, 0.3);
  int refreshed = 0;

  void visit(Visitor<float>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.buffer("running", running);
    v.unused("num_batches");
    v.derived(*this);
  }
  void refresh_derived() { ++refreshed; }
};

struct Model {
  using value_type = float;
  Tensor<float, 3> conv = wavy<float, 3>({4, 5, 1}, 0.2);
  Tensor<float, 0> temperature = Tensor<float, 0>({}, 2.f);
  Norm norm;
  std::vector<Norm> layers = std::vector<Norm>(2);

  void visit(Visitor<float>& v) {
    v.parameter("conv.weight", conv);
    v.parameter("temperature", temperature);
    v.child("norm", norm);
    v.children("layers", layers);
    v.alias("head.weight", "conv.weight");
  }
};

std::vector<std::string> names(const ParameterList<float>& list) {
  std::vector<std::string> out;
  for (const auto& p : list.items) out.push_back(p.name);
  return out;
}

}  // namespace

TEST_CASE("parameter: names carry the path, in the order of visit, absent tensors are skipped",
          "[parameter]") {
  Model model;
  REQUIRE(names(parameters(model)) ==
          std::vector<std::string>{"conv.weight", "temperature", "norm.weight", "norm.running",
                                   "layers.0.weight", "layers.0.running", "layers.1.weight",
                                   "layers.1.running"});
  model.norm.bias = Tensor<float, 1>({5});
  REQUIRE(names(parameters(model))[3] == "norm.bias");
}

TEST_CASE("parameter: aliases and unused names carry the path, too", "[parameter]") {
  struct Outer {
    using value_type = float;
    Model model;
    void visit(Visitor<float>& v) { v.child("model", model); }
  } outer;
  const auto list = parameters(outer);
  REQUIRE(list.aliases == std::vector<std::pair<std::string, std::string>>{
                              {"model.head.weight", "model.conv.weight"}});
  REQUIRE(list.unused == std::vector<std::string>{"model.norm.num_batches",
                                                  "model.layers.0.num_batches",
                                                  "model.layers.1.num_batches"});
  REQUIRE(list.items[0].name == "model.conv.weight");
}

TEST_CASE("parameter: stored shapes are the official ones, elements are shared", "[parameter]") {
  Model model;
  auto list = parameters(model);
  REQUIRE(list.items[0].shape == std::vector<index_t>{4, 5, 1});
  REQUIRE(list.items[1].shape.empty());
  REQUIRE(list.items[1].values.size() == 1);
  list.items[0].values(7) = 42;
  REQUIRE(std::as_const(model.conv)(1, 2, 0) == 42);
  // A write through the list invalidates what was derived from the parameter.
  const auto version = model.conv.version();
  list.items[0].values.fill(1);
  REQUIRE(model.conv.version() != version);
}

TEST_CASE("parameter: buffers are listed and not counted as trainable", "[parameter]") {
  Model model;
  const auto list = parameters(model);
  REQUIRE(list.count() == 20 + 1 + 3 * 5);
  for (const auto& p : list.items)
    REQUIRE(p.trainable == (p.name.find("running") == std::string::npos));
}

TEST_CASE("parameter: asking for gradients reaches every parameter and no buffer", "[parameter]") {
  Model model;
  set_requires_grad(model);
  REQUIRE(model.conv.requires_grad());
  REQUIRE(model.layers[1].weight.requires_grad());
  REQUIRE_FALSE(model.norm.running.requires_grad());
  REQUIRE_FALSE(model.norm.bias.requires_grad());
  // The listed values are the same leaves, all different ones.
  const auto list = parameters(model);
  REQUIRE(list.items[0].values.var().id == model.conv.var().id);
  std::set<std::uint64_t> ids;
  for (const auto& p : list.items)
    if (p.trainable) ids.insert(p.values.var().id);
  REQUIRE(ids.size() == 5);
  set_requires_grad(model, false);
  REQUIRE_FALSE(model.layers[1].weight.requires_grad());
}

TEST_CASE("parameter: prepare refreshes every block once, other walks none", "[parameter]") {
  Model model;
  static_cast<void>(parameters(model));
  set_requires_grad(model);
  REQUIRE(model.layers[0].refreshed == 0);
  prepare(model);
  REQUIRE(model.norm.refreshed == 1);
  REQUIRE(model.layers[0].refreshed == 1);
  REQUIRE(model.layers[1].refreshed == 1);
}
