// realtime train: teaches a model the overdrive of signals.hpp.
#include "amp.hpp"
#include "commands.hpp"
#include "signals.hpp"

#include "audio/audio_file.hpp"
#include "sequin/io/atomic_file.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/train/train.hpp"
#include "sequin/train/validation.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace realtime {

using namespace sequin;

namespace {

struct TrainArguments {
  std::string output, input;
  AmpConfig model;
  double seconds = 30, learning_rate = 4e-3;
  index_t epochs = 20;
  std::uint64_t seed = 1;
  bool quiet = false;
};

/// Pieces of the signal with what the effect makes of them. The first kWarmUp samples of a piece
/// only fill the model's memory.
class Pieces {
 public:
  static constexpr index_t kWarmUp = 256, kLength = 1280;
  struct Batch {
    Tensor<float, 3> x, target;  ///< (B, kLength, 1), (B, kLength - kWarmUp, 1)
  };

  Pieces(std::span<const float> x, std::span<const float> y) : x_(x), y_(y) {}

  index_t count() const {
    const auto size = static_cast<index_t>(x_.size());
    return size < kLength ? 0 : (size - kLength) / (kLength - kWarmUp) + 1;
  }
  void fetch(std::span<const index_t> numbers, Batch& batch) const {
    const auto rows = static_cast<index_t>(numbers.size());
    batch.x = Tensor<float, 3>::empty({rows, kLength, 1});
    batch.target = Tensor<float, 3>::empty({rows, kLength - kWarmUp, 1});
    for (index_t b = 0; b < rows; ++b) {
      const index_t begin = numbers[static_cast<std::size_t>(b)] * (kLength - kWarmUp);
      std::copy_n(x_.data() + begin, kLength, batch.x.data() + b * kLength);
      std::copy_n(y_.data() + begin + kWarmUp, kLength - kWarmUp,
                  batch.target.data() + b * (kLength - kWarmUp));
    }
  }

 private:
  std::span<const float> x_, y_;
};

double power(std::span<const float> y) {
  double sum = 0;
  for (const float v : y) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum / static_cast<double>(y.size());
}

/// After the warm-up: (B, kLength - kWarmUp, 1).
Tensor<float, 3> predict(const Amp<float>& model, const Pieces::Batch& b) {
  return slice(model.forward(b.x), 1, Pieces::kWarmUp, Pieces::kLength);
}

/// The power of the error after the filter 1 - 0.85 z^-1, which gives high frequencies the weight
/// that the ear gives them.
Tensor<float, 0> emphasized_loss(const Amp<float>& model, const Pieces::Batch& b) {
  const auto error = predict(model, b) - b.target;
  const index_t length = error.extent(1);
  return mean(square(slice(error, 1, 1, length) - scale(slice(error, 1, 0, length - 1), 0.85f)));
}

void save(Amp<float>& model, const std::filesystem::path& dir) {
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (failed) throw LoadError(dir.string() + ": cannot be made: " + failed.message());
  save_weights(model, dir / "weights.safetensors");
  JsonWriter json;
  json.begin_object().key("model").value(std::string_view("amp"));
  json.key("hidden_size").value(model.config().hidden_size);
  json.key("sample_rate").value(model.config().sample_rate).end_object();
  AtomicFile config(dir / "config.json");
  config.write(json.text() + "\n");
  config.commit();
}

int run_train(const TrainArguments& a) {
  const auto rate = static_cast<int>(a.model.sample_rate);
  sequin_examples::AudioNotes notes;
  const auto x = a.input.empty() ? practice_signal(a.seconds, rate, a.seed)
                                 : sequin_examples::read_audio(a.input, rate, &notes).samples;
  for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());
  const auto y = overdrive(x, rate);
  const std::span<const float> played(x), wanted(y);
  const std::size_t cut = x.size() / 10 * 9;
  const Pieces pieces(played.first(cut), wanted.first(cut));
  const Pieces held_out(played.subspan(cut), wanted.subspan(cut));
  if (held_out.count() < 1)
    throw ConfigError("train: the signal has " + std::to_string(x.size()) +
                      " samples, expected at least " + std::to_string(10 * Pieces::kLength));

  Amp<float> model(a.model);
  Generator generator(a.seed);
  model.initialize(generator);
  TrainOptions options;
  options.epochs = a.epochs;
  options.batch_size = 32;
  options.schedule = Schedule::cosine_epochs(a.learning_rate, a.epochs);
  options.clip_norm = 1;
  options.patience = 0;
  options.seed = a.seed;
  const double target_power = power(wanted.subspan(cut));
  const auto esr = [&](const Tensor<float, 3>& found, const Pieces::Batch& b) {
    return static_cast<double>(mse_loss(found, b.target).item()) / target_power;
  };
  TrainCallbacks callbacks;
  callbacks.on_epoch = [&](const EpochRecord& e) {
    if (!a.quiet)
      std::printf("epoch %3td  loss %.3e  error to signal %.4f\n", e.epoch, e.train_loss,
                  e.val_loss);
    std::fflush(stdout);
  };
  const auto result = train(
      model, pieces, [&](const Pieces::Batch& b) { return emphasized_loss(model, b); },
      validate_on(held_out, index_t{32},
                  [&](const Pieces::Batch& b) { return esr(predict(model, b), b); }),
      options, callbacks);
  save(model, a.output);
  std::printf("%s: %td parameters, power of the error on held-out audio %.3g of the signal's\n",
              a.output.c_str(), parameters(model).count(), result.best_val_loss);
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("train", "Teach a model the overdrive");
  cmd->footer("Example: realtime train -o drive");
  const auto a = std::make_shared<TrainArguments>();
  cmd->add_option("-o,--output", a->output, "folder for config.json and weights.safetensors")
      ->required();
  cmd->add_option("--input", a->input, "a WAV to play through the effect (a generated signal)");
  cmd->add_option("--seconds", a->seconds, "of the generated signal (30)")
      ->check(CLI::Range(1.0, 3600.0));
  cmd->add_option("--hidden", a->model.hidden_size, "units of the GRU (16)")
      ->check(CLI::Range(1, 1024));
  cmd->add_option("--rate", a->model.sample_rate, "samples a second (48000)")
      ->check(CLI::Range(8000, 768000));
  cmd->add_option("--epochs", a->epochs, "(20)")->check(CLI::Range(1, 100000));
  cmd->add_option("--learning-rate", a->learning_rate, "of the first epoch (0.004)")
      ->check(CLI::Range(0.0, 1.0));
  cmd->add_option("--seed", a->seed, "of weights, signal and order (1)");
  cmd->add_flag("--quiet", a->quiet, "no line an epoch");
  cmd->callback([&chosen, a] { chosen = [a] { return run_train(*a); }; });
}

}  // namespace realtime
