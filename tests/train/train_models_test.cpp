// One loop for everything that trains here: token batches, mixtures made on the spot, series with
// the balance of experts in the loss. Each learns, and resumes to the same bits.
#include "sequin/autograd/tape.hpp"
#include "sequin/train/train.hpp"

#include "sequin/kernels/gemm.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/time_moe_loss.hpp"
#include "sequin/ops/permutation_loss.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <numeric>
#include <vector>

using namespace sequin;

namespace {

template <class Model>
std::vector<float> weights_of(Model& model) {
  std::vector<float> all;
  for (const auto& p : parameters(model).items) {
    const auto values = std::as_const(p.values).span();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TrainOptions options(index_t epochs, double rate) {
  TrainOptions o;
  o.epochs = epochs;
  o.batch_size = 4;
  o.steps_per_epoch = 6;
  o.learning_rate = rate;
  o.lradj = "constant";
  o.patience = 0;
  return o;
}

// Trains a fresh model in one go and in pieces. `make()` gives a model, `loss(model, batch)` the
// loss of a batch.
template <class Make, class Source, class Loss>
void learns_and_resumes(Make make, const Source& source, Loss loss, const TrainOptions& o,
                        double fraction) {
  const auto run = [&](const TrainOptions& with, index_t stop_after) {
    auto model = make();
    TrainCallbacks callbacks;
    index_t asked = 0;
    if (stop_after > 0) callbacks.stop_requested = [&] { return ++asked >= stop_after; };
    const auto of_model = [&](const auto& batch) { return loss(model, batch); };
    const TrainResult r =
        train(model, source, of_model, validate_on(source, 4, 2, 99, of_model), with, callbacks);
    return std::pair(r, weights_of(model));
  };
  const auto [straight, weights] = run(o, 0);
  INFO(straight.history.front().val_loss << " to " << straight.history.back().val_loss);
  CHECK(straight.history.back().val_loss < fraction * straight.history.front().val_loss);
  const sequin_test::TemporaryFolder folder;
  TrainOptions cut = o;
  cut.checkpoint_dir = folder / "run";
  int runs = 0;
  while (true) {
    const auto [r, w] = run(cut, 5);
    cut.resume = true;
    REQUIRE(++runs < 100);
    if (r.interrupted) continue;
    CHECK(w == weights);
    break;
  }
  CHECK(runs > 2);
}

// Pieces of an endless text in which each token is the one before plus one, mod 7.
struct Text {
  struct Batch {
    Tensor<std::int64_t, 2> ids;
    std::vector<std::int64_t> next;
  };
  index_t length = 12;
  void draw(Generator& generator, index_t n, Batch& batch) const {
    batch.ids = Tensor<std::int64_t, 2>({n, length});
    batch.next.clear();
    for (index_t b = 0; b < n; ++b) {
      const std::int64_t first = generator.below(7);
      for (index_t t = 0; t < length; ++t) {
        batch.ids(b, t) = (first + t) % 7;
        batch.next.push_back((first + t + 1) % 7);
      }
    }
  }
};

Mamba<float> small_mamba() {
  MambaConfig c;
  c.d_model = 16;
  c.n_layer = 2;
  c.vocab_size = 8;
  Mamba<float> model(c);
  Generator generator(3);
  model.initialize(generator);
  return model;
}

const auto next_token_loss = [](const Mamba<float>& model, const Text::Batch& batch) {
  return cross_entropy(model.forward(batch.ids), std::span<const std::int64_t>(batch.next));
};

// Two sines of other frequencies, in noise of the generator.
struct Mixtures {
  struct Batch {
    Tensor<float, 2> mixture;  // [B, T]
    Tensor<float, 3> sources;  // [B, 2, T]
  };
  index_t length = 32;
  void draw(Generator& generator, index_t n, Batch& batch) const {
    batch = {Tensor<float, 2>({n, length}), Tensor<float, 3>({n, 2, length})};
    for (index_t b = 0; b < n; ++b)
      for (index_t s = 0; s < 2; ++s) {
        const float phase = generator.uniform<float>() * 6.28f;
        for (index_t t = 0; t < length; ++t) {
          const float v = std::sin(phase + static_cast<float>(t) * (s == 0 ? 0.4f : 1.9f));
          batch.sources(b, s, t) = v;
          batch.mixture(b, t) += v;
        }
      }
  }
};

// A linear map of the whole mixture onto both sources.
struct Separator {
  using value_type = float;
  Linear<float> layer{32, 64};
  Separator() {
    Generator generator(4);
    layer.initialize(generator);
  }
  void visit(Visitor<float>& v) { v.child("layer", layer); }
};

// Slow and fast waves.
struct Waves {
  struct Batch {
    Tensor<float, 3> x, labels;  // [B, L, 1]
  };
  void draw(Generator& generator, index_t n, Batch& batch) const {
    batch = {Tensor<float, 3>({n, 12, 1}), Tensor<float, 3>({n, 12, 1})};
    for (index_t b = 0; b < n; ++b) {
      const float phase = generator.uniform<float>() * 6.28f;
      for (index_t t = 0; t < 12; ++t) {
        batch.x(b, t, 0) = std::sin(phase + 0.5f * static_cast<float>(t));
        batch.labels(b, t, 0) = std::sin(phase + 0.5f * static_cast<float>(t + 1));
      }
    }
  }
};

}  // namespace

TEST_CASE("train: a language model on token batches", "[train]") {
  learns_and_resumes(small_mamba, Text{}, next_token_loss, options(4, 0.01), 0.5);
}

TEST_CASE("train: separation of mixtures drawn on the spot", "[train]") {
  const auto loss = [](const Separator& model, const Mixtures::Batch& batch) {
    const index_t n = batch.mixture.extent(0);
    const auto estimates =
        reshape<3>(model.layer.forward(batch.mixture), Shape<3>{n, 2, batch.mixture.extent(1)});
    // 20 dB above: the loss is negative where the separation is good.
    return add_scalar(mean(si_sdr_loss(estimates, batch.sources).loss), 30.0f);
  };
  learns_and_resumes([] { return Separator(); }, Mixtures{}, loss, options(6, 0.02), 0.9);
}

TEST_CASE("train: Time-MoE on series, with the balance of its experts", "[train]") {
  TimeMoeConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 20;
  c.horizon_lengths = {1, 3};
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.num_experts = 4;
  c.max_position_embeddings = 16;
  c.initializer_range = 0.1;
  const auto make = [&] {
    TimeMoe<float> model(c);
    Generator generator(5);
    model.initialize(generator);
    return model;
  };
  const auto loss = [](const TimeMoe<float>& model, const Waves::Batch& batch) {
    std::vector<Routing<float>> routings;
    TimeMoeCall<float> call;
    call.routings = &routings;
    const auto hidden = model.hidden_states(batch.x, call);
    return time_moe_loss(model, hidden, routings, batch.labels).loss;
  };
  TrainOptions o = options(4, 0.01);
  o.steps_per_epoch = 60;  // it begins as good as the mean and stays there for some dozens of steps
  learns_and_resumes(make, Waves{}, loss, o, 0.8);
}

TEST_CASE("Mamba: recomputed layers train to the same bits in less memory", "[train]") {
  const auto step = [](bool again, index_t length, std::size_t& peak) {
    auto model = small_mamba();
    set_requires_grad(model);
    model.set_recompute_layers(again);
    Text text;
    text.length = length;
    Text::Batch batch;
    Generator generator(1);
    text.draw(generator, 2, batch);
    std::vector<float> all;
    Arena arena;
    {
      const ArenaScope scope(&arena);
      Tape tape;
      const Gradients g = tape.gradients(next_token_loss(model, batch));
      for (const auto& p : parameters(model).items)
        for (const float v : g.of(p.values).span()) all.push_back(v);
    }
    peak = arena.peak();
    return all;
  };
  std::size_t plain = 0, again = 0;
  CHECK(step(false, 400, plain) == step(true, 400, again));
  INFO(plain << " bytes, recomputed " << again);
  // Two layers: little more than one of them, the scratch of products not counted.
  constexpr std::size_t scratch = kernels::kGemmScratch<float> * sizeof(float);
  CHECK((again - scratch) * 10 < (plain - scratch) * 7);
}
