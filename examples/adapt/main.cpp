// Adapts a trained forecaster on the device: only its norms and its head move, in less
// memory than a full training step takes.
//
// usage: adapt SERIES.csv [DIR]
//   SERIES.csv  a date column, then numbers: examples/data/us_departures.csv
//   DIR         an iTransformer that `sequin train` left; weights are drawn without it
#include "sequin/autograd/tape.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/read_series.hpp"
#include "sequin/train/train_forecaster.hpp"

#include <cstdio>
#include <exception>
#include <numeric>
#include <vector>

namespace {

using namespace sequin;

using Model = ITransformer<float>;
using Batch = WindowBatch<float>;

/// What a training step holds besides the model: activations and gradients (the arena's peak) and
/// Adam's two moments.
void print_memory(const char* what, Model& model, const Batch& batch) {
  Arena arena;
  {
    const ArenaScope scope(&arena);
    Tape tape;
    tape.gradients(mse_loss(model.forward(batch.x, batch.x_mark), batch.target));
  }
  index_t trained = 0;
  for (const auto& p : parameters(model).items)
    trained += p.values.requires_grad() ? p.values.size() : 0;
  const double step = static_cast<double>(arena.peak()) / 1024;
  const double moments = 2.0 * sizeof(float) * static_cast<double>(trained) / 1024;
  std::printf("%-16s %8td parameters move: %8.0f KiB a step + %6.0f KiB optimiser\n", what, trained,
              step, moments);
}

int adapt(const char* csv, const char* dir) {
  ITransformerConfig config;
  config.seq_len = 336;
  config.pred_len = 48;
  config.d_model = config.d_ff = 128;
  Model model = dir != nullptr ? load_model<Model>(dir) : Model(config);
  if (dir == nullptr) {
    Generator generator(1);
    model.initialize(generator);
  }

  const Series series = read_series(csv);
  WindowOptions windows;
  windows.seq_len = model.config().seq_len;
  windows.label_len = 0;
  windows.pred_len = model.config().pred_len;
  windows.target = series.columns.back();
  windows.freq = 't';
  const ForecastData<float> data(series, windows);
  const auto train_set = data.part(Part::kTrain), val_set = data.part(Part::kVal);
  const auto predict = [&](const Batch& b) { return model.forward(b.x, b.x_mark); };

  Batch batch;
  std::vector<index_t> numbers(32);
  std::iota(numbers.begin(), numbers.end(), index_t{0});
  train_set.fetch(numbers, batch);
  freeze(model, {});
  print_memory("all weights", model, batch);

  // The adaptation itself.
  TrainOptions options;
  options.epochs = 1;
  options.freeze = {"enc_embedding.*", "*attention*", "*conv*"};  // norms and head are left
  freeze(model, options.freeze);
  print_memory("norms and head", model, batch);
  Arena arena;
  const double before = evaluate(val_set, 32, predict, &arena).mse();
  const TrainResult result = train_forecaster(
      model, train_set, val_set, [&](const Batch& b) { return mse_loss(predict(b), b.target); },
      predict, options);
  const double after = evaluate(val_set, 32, predict, &arena).mse();
  std::printf("%td steps: validation MSE %.4f before, %.4f after\n", result.steps, before, after);
  return after <= before ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: adapt SERIES.csv [DIR]\n");
    return 2;
  }
  try {
    return adapt(argv[1], argc > 2 ? argv[2] : nullptr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "adapt: %s\n", e.what());
    return 2;
  }
}
