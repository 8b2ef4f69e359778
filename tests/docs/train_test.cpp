// The code of the README, docs/training.md and docs/guide that trains: each block of the documents
// is included where it fits, with what it leaves out around it.
#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/ops/recompute.hpp"
#include "sequin/train/forecast_data.hpp"
#include "sequin/train/train_forecaster.hpp"

#include "docs/working_folder.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <vector>

namespace {

using sequin_test::wavy;

#include "from_docs/training/sources.inc"

sequin::index_t Windows::count() const { return 40; }
void Windows::fetch(std::span<const sequin::index_t> numbers, Batch& batch) const {
  const auto rows = static_cast<sequin::index_t>(numbers.size());
  batch.ids = sequin::Tensor<std::int64_t, 2>({rows, 6});
  batch.next.assign(static_cast<std::size_t>(6 * rows), 0);
  for (sequin::index_t i = 0; i < 6 * rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    batch.ids.data()[i] = (numbers[at / 6] + i) % 8;
    batch.next[at] = (numbers[at / 6] + i + 1) % 8;
  }
}
void Mixtures::draw(sequin::Generator& generator, sequin::index_t examples, Batch& batch) const {
  batch.mixture = sequin::Tensor<float, 2>({examples, 4});
  batch.sources = sequin::Tensor<float, 3>({examples, 2, 4});
  for (float& v : batch.mixture.span()) v = generator.normal<float>();
}
static_assert(sequin::IndexedSource<Windows> && sequin::DrawnSource<Mixtures>);

struct Layer {
  sequin::Linear<float> map{4, 4};
  sequin::Tensor<float, 3> forward(const sequin::Tensor<float, 3>& x,
                                   const sequin::ForwardContext<float>& context) const {
    return sequin::dropout(map.forward(x), 0.2, context);
  }
};

}  // namespace

TEST_CASE("README.md and guide/train.md train step by step") {
  const auto x = wavy<float, 2>({16, 3}, 0.7), target = wavy<float, 2>({16, 2}, 0.4);
  sequin::Linear<float> net(3, 2);
  const double before = *sequin::mse_loss(net.forward(x), target).data();
#include "from_docs/train/step.inc"
  CHECK(*sequin::mse_loss(net.forward(x), target).data() < before);
  {
    auto& model = net;
#include "from_docs/readme/training-step.inc"
    CHECK(*loss.data() < before);
  }
}

TEST_CASE("training.md trains on batches of one's own") {
  const sequin_test::WorkingFolder folder;
  sequin::Mamba<float> model({.d_model = 8, .n_layer = 1, .vocab_size = 8});
  sequin::Generator generator(3), dropout(4);
  model.initialize(generator);
  sequin::set_requires_grad(model);
  Windows text, held_out;
#include "from_docs/training/train.inc"
  CHECK(std::filesystem::exists("run/checkpoint.safetensors"));
}

TEST_CASE("training.md computes activations again") {
  const std::vector<Layer> layers(3);
  sequin::Generator dropout(4);
  const sequin::ForwardContext<float> context{.dropout_generator = &dropout};
  auto x = wavy<float, 3>({2, 5, 4}, 0.3);
#include "from_docs/training/recompute.inc"
  CHECK(x.shape() == sequin::Shape<3>{2, 5, 4});
}

TEST_CASE("training.md adapts a forecaster") {
  const sequin_test::WorkingFolder folder;
  folder.put_model<sequin::ITransformer<float>>(
      "run", R"({"seq_len": 12, "pred_len": 4, "d_model": 8, "n_heads": 2, "d_ff": 8})");
  sequin::Series series{{"a", "b"}, wavy<double, 2>({120, 2}, 0.37), {}};
  for (std::int64_t hour = 0; hour < 120; ++hour) series.times.push_back(3600 * hour);
  sequin::WindowOptions windows;
  windows.seq_len = 12;
  windows.label_len = 0;
  windows.pred_len = 4;
  windows.target = "b";
  const sequin::ForecastData<float> data(series, windows);
  const auto train_set = data.part(sequin::Part::kTrain), val_set = data.part(sequin::Part::kVal);
  sequin::TrainOptions options;
  options.epochs = 1;
  options.batch_size = 4;
#include "from_docs/training/adapt.inc"
  const auto list = sequin::parameters(model);
  CHECK(!list.items.front().values.requires_grad());
  CHECK(list.items.back().values.requires_grad());
}
