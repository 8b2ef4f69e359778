// pretrain train: Time-MoE on windows of real and synthetic series, its loss on every head.
#include "commands.hpp"
#include "expert_load.hpp"
#include "forecast_loss.hpp"
#include "synthetic.hpp"

#include "../common/progress.hpp"
#include "../common/stopwatch.hpp"
#include "../common/write_text.hpp"
#include "../sequin/interrupt.hpp"
#include "../sequin/session_options.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/train/train.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_pretrain {

using namespace sequin;

namespace {

struct TrainArguments {
  std::string config, series, output;
  double rate = 3e-3, final_rate = 5e-5, clip_norm = 1, average = 0.998;
  double embedding = 1;
  WindowsOptions windows;
  index_t synthetic_series = 5000, synthetic_length = 768;
  index_t batch = 4, steps = 20000, warm_up = 300, epoch = 500, validation = 12;
  index_t checkpoint_every = 50;
  std::uint64_t seed = 1;
  bool resume = false, balance_together = false;
  sequin_cli::SessionOptions session;

  void add_to(CLI::App* cmd) {
    cmd->add_option("config", config, "config.json of a Time-MoE, dense or with experts")
        ->required();
    cmd->add_option("--series", series, "series.csv of make_series.sh; none: synthetic ones alone");
    cmd->add_option("-o,--output", output, "folder for weights, checkpoint and metrics")
        ->required();
    const auto number = [&](const char* name, auto& value, const char* what) {
      cmd->add_option(name, value, what)->capture_default_str()->check(CLI::PositiveNumber);
    };
    number("--length", windows.length, "steps of a window");
    number("--batch-size", batch, "windows a step");
    number("--steps", steps, "of the optimiser");
    number("--epoch", epoch, "steps between validations");
    number("--validation", validation, "batches of a validation");
    number("--learning-rate", rate, "after the warm-up");
    number("--warm-up", warm_up, "steps with a rising rate");
    number("--clip-norm", clip_norm, "largest norm of the gradient");
    number("--embedding", embedding, "deviation of the embedding's first weights");
    number("--checkpoint-every", checkpoint_every, "steps between checkpoints");
    number("--synthetic-series", synthetic_series, "their number");
    number("--synthetic-length", synthetic_length, "values of each of them");
    cmd->add_option("--synthetic", windows.synthetic, "share of windows of synthetic series")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1.0));
    cmd->add_option("--by-beginning", windows.by_beginning,
                    "share of windows that are normalised by their beginning")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1.0));
    cmd->add_option("--final-rate", final_rate, "where the rate's cosine ends")
        ->capture_default_str();
    cmd->add_option("--ema", average, "of the weights' moving average, which is kept; 0: none")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999999));
    cmd->add_option("--seed", seed, "of weights, synthetic series and windows")
        ->capture_default_str();
    cmd->add_flag("--balance-together", balance_together,
                  "the official loss: tokens of all layers balance the experts together, not each "
                  "layer's by themselves");
    cmd->add_flag("--resume", resume, "continue from the folder's checkpoint");
    session.add_to(cmd);
  }

  /// The series of one part; those that validate are of another seed.
  SeriesWindows source(const char* part, std::uint64_t synthetic_seed, index_t synthetic) const {
    std::vector<NamedSeries> real;
    if (!series.empty()) real = read_series_file(series, part);
    return SeriesWindows(std::move(real),
                         synthetic_series_of(synthetic_seed, synthetic, synthetic_length), windows);
  }
};

TrainOptions train_options(const TrainArguments& a, const Config& config,
                           const SeriesWindows& windows, std::uint64_t seed) {
  TrainOptions o;
  o.epochs = (a.steps + a.epoch - 1) / a.epoch;
  o.steps_per_epoch = a.epoch;
  o.batch_size = a.batch;
  o.schedule =
      Schedule::warmup_cosine(a.rate, a.warm_up, o.epochs * o.steps_per_epoch, a.final_rate);
  o.optimizer.decoupled = true;
  o.optimizer.weight_decay = 0.1;
  o.optimizer.beta2 = 0.95;
  o.clip_norm = a.clip_norm;
  o.ema_decay = a.average;
  o.patience = 0;
  o.seed = seed;
  o.checkpoint_dir = a.output;
  o.checkpoint_every = a.checkpoint_every;
  o.resume = a.resume;
  o.metrics_log = o.checkpoint_dir / "metrics.jsonl";
  o.fingerprint = {{"config", config.text()},
                   {"series", windows.described()},
                   {"length", std::to_string(a.windows.length)},
                   {"synthetic", std::to_string(a.windows.synthetic)},
                   {"by beginning", std::to_string(a.windows.by_beginning)},
                   {"balance", a.balance_together ? "together" : "each layer"},
                   {"embedding", std::to_string(a.embedding)},
                   {"validation", std::to_string(a.validation)}};
  return o;
}

void print_load(const char* when, const ExpertLoad& load) {
  for (std::size_t l = 0; l < load.size(); ++l) {
    std::fprintf(stderr, "%s, layer %zu: max/mean %.2f, shares", when, l, busiest(load[l]));
    for (const double v : load[l]) std::fprintf(stderr, " %.3f", v);
    std::fprintf(stderr, "\n");
  }
}

int run_train(const TrainArguments& a) {
  const sequin_cli::ThreadScope threads(a.session);
  const Config config = Config::load(a.config);
  const TimeMoeConfig sizes = TimeMoeConfig::read(config);
  if (sizes.input_size != 1)
    throw ConfigError(config.label() + ": input_size: expected 1, found " +
                      std::to_string(sizes.input_size));
  const std::filesystem::path out = a.output;
  const SeriesWindows windows = a.source("train", a.seed, a.synthetic_series);
  const SeriesWindows unseen = a.source("validation", 0x7A11D, 200);

  TimeMoe<float> model(sizes);
  Generator generator(a.seed);
  model.initialize(generator);
  widen_embedding(model, a.embedding, generator);
  const index_t parameter_count = parameters(model).count();
  const TrainOptions options = train_options(a, config, windows, generator.fork());
  const ExpertLoad before = expert_load(model, unseen, 8, 0x10AD);
  if (!a.session.quiet) {
    std::fprintf(stderr, "%td parameters; %s\n", parameter_count, windows.described().c_str());
    print_load("before", before);
  }
  const auto total = static_cast<std::size_t>(options.epochs * options.steps_per_epoch);
  sequin_examples::ProgressBar bar("pretrain", total, a.session.quiet, "steps");
  const sequin_examples::Stopwatch watch;
  TrainCallbacks callbacks;
  callbacks.on_start = [&](const TrainResult&) {
    sequin_examples::write_text(out / "config.json", config.text());
  };
  callbacks.on_step = [&](const StepInfo& s) {
    if (!bar.active()) return;
    char note[32];
    std::snprintf(note, sizeof note, "loss %.4f", s.loss);
    bar.update(static_cast<std::size_t>(s.total_steps), note);
  };
  callbacks.on_epoch = [&](const EpochRecord& e) {
    if (!a.session.quiet)
      std::fprintf(stderr, "%td steps: loss train %.4f, validation %.4f%s, %.0f s (CPU %.0f)\n",
                   e.epoch * options.steps_per_epoch, e.train_loss, e.val_loss,
                   e.best ? " (best)" : "", watch.seconds(), watch.processor_seconds());
  };
  callbacks.stop_requested = [] { return sequin_cli::InterruptGuard::requested(); };
  const sequin_cli::InterruptGuard guard;
  const ExpertBalance balance =
      a.balance_together ? ExpertBalance::together : ExpertBalance::each_layer;
  const auto loss = [&](const WindowsBatch& b) { return windows_loss(model, b, balance).loss; };
  // Without the balance: what forecasts are chosen by.
  const auto error = [&](const WindowsBatch& b) { return windows_loss(model, b).error; };
  const TrainResult result =
      train(model, windows, loss, validate_on(unseen, a.batch, a.validation, 0x7A11D, error),
            options, callbacks);
  bar.finish();
  const ExpertLoad after = expert_load(model, unseen, 8, 0x10AD);
  if (!a.session.quiet) print_load("after", after);
  JsonWriter w;
  w.begin_object().key("parameters").value(parameter_count).key("seed").value(a.seed);
  w.key("steps").value(result.steps).key("seconds").value(watch.seconds());
  w.key("processor_seconds").value(watch.processor_seconds());
  w.key("validation_loss").value(result.best_val_loss);
  w.key("expert_load_before");
  write_load(w, before);
  w.key("expert_load_after");
  write_load(w, after);
  w.end_object();
  sequin_examples::write_text(out / "metrics.json", w.text() + "\n");
  std::printf("%td steps in %.1f s, %.1f s of a processor: validation loss %.4f\n", result.steps,
              watch.seconds(), watch.processor_seconds(), result.best_val_loss);
  if (!result.interrupted) return 0;
  std::fprintf(stderr, "stopped; continue with --resume\n");
  return 1;
}

}  // namespace

void add_train(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("train", "Pre-train a Time-MoE on real and synthetic series");
  const auto a = std::make_shared<TrainArguments>();
  a->add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_train(*a); }; });
}

}  // namespace sequin_pretrain
