// The code of the README, docs/models.md and docs/guide that runs and streams models: each block of
// the documents is included where it fits, with what it leaves out around it.
#include "sequin/blocks/fsmn.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/io/tokenizer.hpp"
#include "sequin/models/generate.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/stream/session.hpp"

#include "docs/working_folder.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

namespace {

constexpr const char* kMamba = R"({"d_model": 8, "n_layer": 2, "vocab_size": 300})";

/// The model of docs/guide/own_model.md under other names.
class Renamed {
 public:
  using value_type = float;
  using T = float;
#include "from_docs/own_model/names.inc"

 private:
  sequin::Linear<float> first_{1, 2}, last_{2, 1}, norm_{2, 2};
  std::vector<sequin::Linear<float>> layers_{{2, 2}};
};

}  // namespace

TEST_CASE("README.md loads a model in one line") {
  const sequin_test::WorkingFolder folder;
  folder.put_model<sequin::Mamba<float>>("mamba-130m-hf", kMamba);
#include "from_docs/readme/load.inc"
  CHECK(model.config().vocab_size == 304);
}

TEST_CASE("models.md uses a block alone") {
#include "from_docs/models/gated-fsmn.inc"
  CHECK(y.shape() == sequin::Shape<3>{1, 100, 64});
}

TEST_CASE("guide/run.md runs what it loads") {
  const sequin_test::WorkingFolder folder;
  folder.put_model<sequin::Mamba<float>>("mamba-130m-hf", kMamba);
  folder.put_model<sequin::ITransformer<float>>(
      "run", R"({"seq_len": 12, "pred_len": 5, "d_model": 8, "n_heads": 2, "d_ff": 8})");
  std::filesystem::copy_file(std::string(SEQUIN_TEST_DATA) + "/tokenizer/bytes.json",
                             "mamba-130m-hf/tokenizer.json");
#include "from_docs/run/run.inc"
  CHECK(logits.shape() == sequin::Shape<3>{1, 3, 304});
#include "from_docs/run/generate.inc"
  CHECK(text.extent(1) == std::ssize(prompt) + 20);
#include "from_docs/run/forecast.inc"
  CHECK(forecast.shape() == sequin::Shape<3>{1, 5, 7});
#include "from_docs/run/errors.inc"
}

TEST_CASE("guide/stream.md steps through what one pass gives") {
  sequin::Mamba<float> model({.d_model = 8, .n_layer = 2, .vocab_size = 32});
  sequin::Generator generator(3);
  model.initialize(generator);
#include "from_docs/stream/session.inc"
  const auto pass =
      model.forward(sequin::Tensor<std::int64_t, 2>({2, 1}, std::span<const std::int64_t>(tokens)));
  CHECK(std::ranges::equal(logits, pass.span()));

#include "from_docs/stream/state.inc"
  CHECK(std::ranges::equal(session.step(tokens), pass.span()));

  const sequin::Tensor<std::int64_t, 2> prompts({2, 3}, {1, 2, 3, 4, 5, 6});
#include "from_docs/stream/prefill.inc"
  CHECK(after_prompt.shape() == sequin::Shape<2>{2, 32});
#include "from_docs/stream/many.inc"
  CHECK(users.back()->output_width() == 32);

  const auto piece = sequin_test::wavy<float, 3>({1, 5, 3}, 0.3);
#include "from_docs/stream/pieces.inc"
  CHECK(now.shape() == sequin::Shape<3>{1, 5, 8});
}

TEST_CASE("guide/own_model.md chooses names and compares") {
  Renamed renamed;
  const auto list = sequin::parameters(renamed);
  CHECK(list.items.front().name == "net.enc.weight");
  CHECK(list.items.back().name == "net.dec.bias");
  CHECK(list.unused.size() == 1);

  const sequin_test::WorkingFolder folder;
  std::filesystem::create_directories("filter");
  sequin::Linear<double> model(1, 1);
  model.weight.fill(2.0);
  const auto input = sequin_test::wavy<double, 3>({1, 64, 1}, 0.3);
  const auto output = model.forward(input);
  const std::vector<std::int64_t> shape{1, 64, 1};
  sequin::save_safetensors(
      "filter/io.safetensors",
      std::vector<sequin::TensorEntry>{
          {"input", sequin::DType::F64, shape, std::as_bytes(input.span())},
          {"output", sequin::DType::F64, shape, std::as_bytes(output.span())}});
#include "from_docs/own_model/compare.inc"
  CHECK(worst == 0.0);
  CHECK(largest > 0.0);
}
