#include "sequin/io/load_model.hpp"

#include "sequin/core/random.hpp"
#include "sequin/models/itransformer.hpp"

#include "file_helpers.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace sequin;
using namespace sequin_test;

namespace {

/// Two parameters, a buffer, a second name for the first and a name that is not used.
template <class T>
struct Block {
  using value_type = T;
  Tensor<T, 2> weight = Tensor<T, 2>({2, 3}, T{7});
  Tensor<T, 1> bias = Tensor<T, 1>({2}, T{7});
  Tensor<T, 1> mean = Tensor<T, 1>({1}, T{7});
  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
    v.buffer("mean", mean);
    v.alias("tied", "weight");
    v.unused("position_ids");
  }
  bool untouched() const {
    const auto same = [](const auto& t) {
      return std::ranges::all_of(t.span(), [](T x) { return x == T{7}; });
    };
    return same(weight) && same(bias) && same(mean);
  }
};

/// Owns the elements of the entries that it makes.
struct Entries {
  std::vector<TensorEntry> list;
  std::vector<std::vector<std::byte>> memory;

  template <class S>
  Entries& add(const std::string& name, DType dtype, std::vector<std::int64_t> shape,
               const std::vector<S>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    memory.emplace_back(bytes.begin(), bytes.end());
    list.push_back({name, dtype, std::move(shape), memory.back()});
    return *this;
  }
  Entries& floats(const std::string& name, std::vector<std::int64_t> shape, float first = 1) {
    std::int64_t count = 1;
    for (const auto n : shape) count *= n;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = first++;
    return add(name, DType::F32, std::move(shape), values);
  }
  Entries& good() { return floats("weight", {2, 3}).floats("bias", {2}, 11).floats("mean", {1}); }

  WeightsSource source() const {
    const TemporaryFolder folder;
    save_safetensors(folder / "w.safetensors", list);
    return open_weights(folder / "w.safetensors");  // stays mapped
  }
};

/// Loads into a new block, which must stay as it was, and gives the message.
std::string refusal(const Entries& entries) {
  Block<float> block;
  const std::string what = message_of<LoadError>([&] { load_weights(block, entries.source()); });
  CHECK(block.untouched());
  return what;
}

const char* const kConfig =
    R"({"model":"itransformer","seq_len":12,"pred_len":3,"d_model":8,"n_heads":2,"e_layers":1,)"
    R"("d_ff":10})";

}  // namespace

TEST_CASE("load_weights: parameters and buffers are filled by name") {
  Block<float> block;
  load_weights(
      block,
      Entries().floats("mean", {1}).floats("bias", {2}, 11).floats("weight", {2, 3}).source());
  CHECK(block.weight(1, 2) == 6);
  CHECK(block.bias(0) == 11);
  CHECK(block.mean(0) == 1);
}

TEST_CASE("load_weights: the prefix of a parallel wrapper is taken off when all names have it") {
  Entries e;
  e.floats("module.tied", {2, 3}).floats("module.bias", {2}, 11).floats("module.mean", {1});
  e.floats("module.position_ids", {4});
  Block<float> block;
  load_weights(block, e.source());
  REQUIRE(block.weight(1, 2) == 6);
  REQUIRE(block.bias(1) == 12);
  e.floats("mean", {1});  // no longer all
  REQUIRE_THROWS_AS(load_weights(block, e.source()), LoadError);
}

TEST_CASE("load_weights: all that is wrong is in one message and nothing changes") {
  const std::string what = refusal(Entries()
                                       .floats("weight", {3, 2})
                                       .floats("mean", {1, 1})
                                       .floats("surplus", {4})
                                       .floats("another\n", {1}));
  CHECK(contains(what, "w.safetensors: the tensors are not those of the model: "));
  CHECK(contains(what, "missing: 'bias' [2]"));
  CHECK(contains(what, "'weight' expected [2, 3], found [3, 2]"));
  CHECK(contains(what, "'mean' expected [1], found [1, 1]"));
  CHECK(contains(what, "surplus: 'surplus', 'another\\x0a'"));
  CHECK(!contains(what, "\n"));
}

TEST_CASE("load_weights: an empty file and a thousand surplus tensors make short messages") {
  CHECK(contains(refusal(Entries()), "missing: 'weight' [2, 3], 'bias' [2], 'mean' [1]"));
  Entries many;
  many.good();
  for (int i = 0; i < 1000; ++i) many.floats("x" + std::to_string(i), {1});
  const std::string what = refusal(many);
  CHECK(contains(what, " and 988 more"));
  CHECK(what.size() < 1000);
}

TEST_CASE("load_weights: a shape with the same number of elements is refused") {
  CHECK(contains(refusal(Entries().floats("weight", {6}).floats("bias", {2}).floats("mean", {1})),
                 "'weight' expected [2, 3], found [6]"));
  CHECK(contains(refusal(Entries().floats("weight", {2, 3}).floats("bias", {2}).floats("mean", {})),
                 "'mean' expected [1], found []"));
}

TEST_CASE("load_weights: an alias counts instead of its parameter, or beside it when it is equal") {
  Block<float> block;
  load_weights(block,
               Entries().floats("tied", {2, 3}).floats("bias", {2}).floats("mean", {1}).source());
  CHECK(block.weight(0, 1) == 2);
  Block<float> other;
  load_weights(other, Entries().good().floats("tied", {2, 3}).source());
  CHECK(other.weight(0, 1) == 2);
  CHECK(contains(refusal(Entries().good().floats("tied", {2, 3}, 2)),
                 "'tied' expected the values of 'weight', found others"));
  CHECK(contains(refusal(Entries().good().floats("tied", {3, 2})), "'tied' expected the values"));
  CHECK(contains(refusal(Entries().floats("tied", {6}).floats("bias", {2}).floats("mean", {1})),
                 "'tied' expected [2, 3], found [6]"));
}

TEST_CASE("load_weights: a name that is known not to be used may be there") {
  Block<float> block;
  load_weights(
      block, Entries().good().add<std::int64_t>("position_ids", DType::I64, {2}, {0, 1}).source());
  CHECK(block.bias(0) == 11);
}

TEST_CASE("load_weights: every floating type loads into float and double, integers do not") {
  Entries entries;
  entries.add<std::uint16_t>("weight", DType::F16, {2, 3},
                             {0x3c00, 0xc000, 0x3c01, 0x0001, 0x7c00, 0x8000});
  entries.add<std::uint16_t>("bias", DType::BF16, {2}, {0x3f80, 0xc049});
  entries.add<double>("mean", DType::F64, {1}, {0.1});
  Block<float> f;
  load_weights(f, entries.source());
  CHECK(f.weight(0, 1) == -2.0f);
  CHECK(f.weight(0, 2) == 1.0009765625f);
  CHECK(f.weight(1, 0) == std::ldexp(1.0f, -24));
  CHECK(f.weight(1, 1) == std::numeric_limits<float>::infinity());
  CHECK(std::signbit(f.weight(1, 2)));
  CHECK(f.bias(1) == -3.140625f);
  CHECK(f.mean(0) == 0.1f);
  Block<double> d;
  load_weights(d, entries.source());
  CHECK(d.weight(0, 2) == 1.0009765625);
  CHECK(d.mean(0) == 0.1);

  Entries integers;
  integers.floats("weight", {2, 3}).floats("mean", {1});
  integers.add<std::int32_t>("bias", DType::I32, {2}, {1, 2});
  CHECK(contains(refusal(integers), "'bias' expected a floating type, found I32"));
}

TEST_CASE("load_weights: weights that are no numbers load as they are") {
  Entries entries;
  entries.floats("weight", {2, 3}).floats("bias", {2});
  entries.add<float>("mean", DType::F32, {1}, {std::numeric_limits<float>::quiet_NaN()});
  Block<float> block;
  load_weights(block, entries.source());
  CHECK(std::isnan(block.mean(0)));
}

TEST_CASE("save_weights: what was saved loads again, bit for bit") {
  const TemporaryFolder folder;
  Block<double> block;
  Generator generator(1);
  for (double& v : block.weight.span()) v = generator.uniform<double>();
  save_weights(block, folder / "w.safetensors");
  const auto file = SafetensorsFile::open(folder / "w.safetensors");
  CHECK(file.metadata().find("format")->second == "pt");
  CHECK(file.find("weight")->dtype == DType::F64);
  Block<double> other;
  load_weights(other, open_weights(folder / "w.safetensors"));
  CHECK(std::ranges::equal(other.weight.span(), block.weight.span()));
}

TEST_CASE("load_model: a folder's config and weights make the model that was saved") {
  const TemporaryFolder folder;
  put(folder / "config.json", kConfig);
  ITransformer<float> model(ITransformerConfig::read(Config::load(folder / "config.json")));
  Generator generator(1);
  for (auto& p : parameters(model).items)
    for (float& v : p.values.span()) v = generator.uniform<float>() - 0.5f;
  save_weights(model, folder / "weights.safetensors");
  auto loaded = load_model<ITransformer<float>>(folder.path());
  const auto a = parameters(model), b = parameters(loaded);
  REQUIRE(a.items.size() == b.items.size());
  for (std::size_t i = 0; i < a.items.size(); ++i)
    CHECK(std::ranges::equal(a.items[i].values.span(), b.items[i].values.span()));

  // The same weights do not fit a model with one layer more.
  std::string deeper = kConfig;
  deeper.replace(deeper.find("\"e_layers\":1"), 12, "\"e_layers\":2");
  put(folder / "config.json", deeper);
  CHECK(contains(message_of<LoadError>([&] { load_model<ITransformer<float>>(folder.path()); }),
                 "missing: "));
}

TEST_CASE("load_model: a checkpoint of another variant is named") {
  const TemporaryFolder folder;
  put(folder / "config.json", kConfig);
  for (const std::string wrapper : {"", "module."}) {
    Entries e;
    e.floats(wrapper + "enc_embedding.value_embedding.weight", {1000, 1000});
    e.floats(wrapper + "projection.weight", {1, 1});
    save_safetensors(folder / "weights.safetensors", e.list);
    CHECK(contains(message_of<LoadError>([&] { load_model<ITransformer<float>>(folder.path()); }),
                   "; by its names the file holds the form of TSLib"));
  }
}

TEST_CASE("load_model: sizes that the weights cannot fill are refused before they are allocated") {
  const TemporaryFolder folder;
  save_safetensors(folder / "weights.safetensors", Entries().good().list);
  const auto refused = [&](const std::string& sizes) {
    put(folder / "config.json", "{" + sizes + "}");
    return message_of<Error>([&] { load_model<ITransformer<float>>(folder.path()); });
  };
  // 2^48 and more elements: to allocate them would throw something else.
  CHECK(contains(refused(R"("seq_len":16777216,"pred_len":16777216,"d_model":16777216)"),
                 "config.json asks for "));
  CHECK(contains(refused(R"("seq_len":1,"pred_len":1,"e_layers":4096,"d_ff":16777216)"),
                 "config.json asks for "));
  CHECK(contains(refused(R"("seq_len":1000000000,"pred_len":1)"),
                 "seq_len: expected an integer 1 to 16777216, found 1000000000"));
  CHECK(contains(refused(R"("seq_len":1,"pred_len":1,"d_model":8,"n_heads":16)"),
                 "n_heads: expected an integer 1 to 8, found 16"));
  CHECK(contains(refused(R"("seq_len":1,"pred_len":1,"n_heads":0)"), "n_heads: expected"));
  CHECK(contains(refused(R"("pred_len":1)"), "seq_len: expected an integer"));
}

TEST_CASE("load_model: a folder without config or weights is refused by the file's name") {
  const TemporaryFolder folder;
  const auto refused = [&] {
    return message_of<LoadError>([&] { load_model<ITransformer<float>>(folder.path()); });
  };
  CHECK(contains(refused(), "config.json: expected a file, found none"));
  put(folder / "config.json", kConfig);
  CHECK(contains(refused(), "expected weights.safetensors, model.safetensors or"));
  put(folder / "weights.safetensors", "short");
  CHECK(contains(refused(), "weights.safetensors: expected a safetensors file of at least 8"));
}
