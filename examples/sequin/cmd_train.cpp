// sequin train: a forecaster from a config and a CSV, by the official protocol.
#include "commands.hpp"
#include "forecaster.hpp"
#include "interrupt.hpp"
#include "replicas.hpp"
#include "series.hpp"
#include "session_options.hpp"
#include "train_loss.hpp"
#include "train_report.hpp"

#include "../common/progress.hpp"

#include "sequin/blocks/key_sampler.hpp"
#include "sequin/io/atomic_file.hpp"
#include "sequin/io/csv.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/train/evaluate.hpp"
#include "sequin/train/train_forecaster.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct TrainArguments {
  std::string config, data, output, plot;
  index_t epochs = 0, batch_size = 0, patience = -1, checkpoint_every = 0;
  index_t accumulate = 1, log_every = 50;
  double learning_rate = 0, clip_norm = 0, ema = 0;
  std::vector<std::string> freeze, rates;
  std::uint64_t seed = 2023;
  bool resume = false;
  ForecastLoss loss;
  SeriesOptions series;
  SessionOptions session;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of the numbers that the model sees, so that a training is not resumed on other data.
std::string checksum(const ForecastData<float>& data) {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const auto* table : {&data.values(), &data.marks()})
    for (const std::byte b : std::as_bytes(table->span()))
      hash = (hash ^ static_cast<std::uint64_t>(b)) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::vector<std::pair<std::string, double>> rate_factors(const std::vector<std::string>& given) {
  std::vector<std::pair<std::string, double>> factors;
  for (const std::string& text : given) {
    const std::size_t at = text.rfind('=');
    double factor = 0;
    if (at == std::string::npos || at == 0 ||
        !CLI::detail::lexical_cast(text.substr(at + 1), factor))
      throw ConfigError("--rate: expected PATTERN=FACTOR, found '" + detail::printable(text) + "'");
    factors.emplace_back(text.substr(0, at), factor);
  }
  return factors;
}

TrainOptions train_options(const TrainArguments& a, const Config& config, Generator& dropout,
                           Replicas* replicas) {
  TrainOptions o;
  o.epochs = a.epochs > 0 ? a.epochs : config.get_int("train_epochs", 10, 1, 1000000);
  o.batch_size = a.batch_size > 0 ? a.batch_size : config.get_int("batch_size", 32, 1, 1 << 20);
  o.learning_rate =
      a.learning_rate > 0 ? a.learning_rate : config.get_double("learning_rate", 1e-4);
  o.patience = a.patience >= 0 ? a.patience : config.get_int("patience", 3, 0, 1000000);
  o.lradj = config.get_string("lradj", "type1");
  o.seed = a.seed;
  o.clip_norm = a.clip_norm;
  o.checkpoint_dir = a.output;
  o.checkpoint_every = a.checkpoint_every;
  o.resume = a.resume;
  o.accumulate = a.accumulate;
  o.ema_decay = a.ema;
  o.freeze = a.freeze;
  o.rate_factors = rate_factors(a.rates);
  o.metrics_log = o.checkpoint_dir / "metrics.jsonl";
  o.log_every = a.log_every;
  o.generators = {{"dropout", &dropout}};
  o.replicas = replicas;
  o.fingerprint = {{"config", config.text()}, {"loss", a.loss.text()}};
  return o;
}

/// The bar of the running epoch, and a line after each.
class Display {
 public:
  Display(const TrainOptions& options, bool quiet)
      : options_(options),
        ranks_(options.replicas == nullptr ? 1 : options.replicas->size()),
        quiet_(quiet) {}

  void started(const TrainResult& r) const {
    if (quiet_) return;
    const std::filesystem::path& folder = options_.checkpoint_dir;
    if (r.steps > 0)
      std::fprintf(stderr, "resumed after %td steps and %zu epochs\n", r.steps, r.history.size());
    else if (!options_.resume && std::filesystem::exists(folder / "checkpoint.safetensors"))
      std::fprintf(stderr,
                   "%s: starts anew; the checkpoint there is replaced by this training's first one "
                   "(--resume would have continued it)\n",
                   folder.c_str());
  }
  void step(const StepInfo& s) {
    const auto done = [&](index_t steps) {
      return static_cast<std::size_t>(steps * options_.batch_size * ranks_);
    };
    if (!bar_)
      bar_ = std::make_unique<sequin_examples::ProgressBar>(
          "epoch " + std::to_string(s.epoch) + "/" + std::to_string(options_.epochs),
          done(s.steps_per_epoch), quiet_, "examples", done(s.step - 1));
    if (!bar_->active()) return;
    char note[32];
    std::snprintf(note, sizeof note, "loss %.4f", s.loss);
    bar_->update(done(s.step), note);
  }
  void epoch(const EpochRecord& e) {
    bar_.reset();
    if (!quiet_)
      std::fprintf(stderr, "epoch %td: train %.5f, validation %.5f%s\n", e.epoch, e.train_loss,
                   e.val_loss, e.best ? " (best)" : "");
  }
  void finish() { bar_.reset(); }

 private:
  const TrainOptions& options_;
  index_t ranks_;
  bool quiet_;
  std::unique_ptr<sequin_examples::ProgressBar> bar_;
};

TestScores test_scores(const WindowSet<float>& test_set, index_t period, const auto& predict) {
  Arena arena;
  TestScores scores;
  const index_t p = test_set.options().pred_len;
  const auto own = [&](const WindowBatch<float>& batch) {
    return slice(batch.x, 2, batch.x.extent(2) - batch.target.extent(2), batch.x.extent(2));
  };
  const auto score = [&](const auto& forecast) {
    return evaluate(test_set, index_t{32}, forecast, &arena);
  };
  scores.model = score(predict);
  scores.repeat_last = score([&](const auto& batch) { return repeat_last(own(batch), p); });
  scores.period = period;
  if (period > 0)
    scores.seasonal = score([&](const auto& b) { return seasonal_naive(own(b), p, period); });
  return scores;
}

/// Of several processes the first alone prints and writes.
int train(const TrainArguments& a, Replicas* replicas) {
  const bool leads = replicas == nullptr || replicas->rank() == 0;
  const bool quiet = a.session.quiet || !leads;
  const ThreadScope threads(a.session);
  const Config config = Config::load(a.config);
  const Series series = read_series(a.data);
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(config);
  Forecaster& model = *forecaster;
  const WindowOptions windows = model.windows(config, a.series, series);
  const ForecastData<float> data(series, windows);
  const WindowSet<float> train_set = data.part(Part::kTrain);
  const WindowSet<float> val_set = data.part(Part::kVal);
  const WindowSet<float> test_set = data.part(Part::kTest);

  Generator generator(a.seed);
  model.initialize(generator);
  Generator dropout(generator.fork());
  TrainOptions options = train_options(a, config, dropout, replicas);
  options.fingerprint.emplace_back("data", checksum(data));
  const index_t parameter_count = parameters(model).count();
  if (!quiet)
    std::fprintf(stderr, "%td parameters; %td training, %td validation, %td test windows\n",
                 parameter_count, train_set.count(), val_set.count(), test_set.count());

  const std::filesystem::path out = a.output;
  Display display(options, quiet);
  TrainCallbacks callbacks;
  // Not before the checkpoint has been found to be this model's: its config stays beside it.
  callbacks.on_start = [&](const TrainResult& so_far) {
    if (!leads) return;
    write_text(out / "config.json", config.text());
    std::vector<double> scaling = data.scaler().mean;
    scaling.insert(scaling.end(), data.scaler().std.begin(), data.scaler().std.end());
    remove_leftovers(out / "scaler.csv");
    write_csv(out / "scaler.csv", data.columns(), {"mean", "std"}, scaling);
    display.started(so_far);
  };
  callbacks.on_step = [&](const StepInfo& s) { display.step(s); };
  callbacks.on_epoch = [&](const EpochRecord& e) { display.epoch(e); };
  callbacks.stop_requested = [] { return InterruptGuard::requested(); };

  const InterruptGuard guard;
  const auto start = std::chrono::steady_clock::now();
  const auto loss = [&](const WindowBatch<float>& batch) {
    ForwardContext<float> context;
    context.dropout_generator = &dropout;
    KeySampler keys(&dropout);
    context.key_sampler = &keys;
    return a.loss(model.forecast(forecast_input(batch), context), batch.target);
  };
  const auto predict = [&](const WindowBatch<float>& batch) {
    return model.forecast(forecast_input(batch));
  };
  const auto criterion = [&](const auto& y, const auto& target) {
    return a.loss.criterion(y, target);
  };
  const TrainResult result =
      train_forecaster(model, train_set, val_set, loss, predict, options, callbacks, criterion);
  display.finish();
  const double seconds = seconds_since(start);
  if (result.interrupted) {
    if (leads) std::fprintf(stderr, "stopped; continue with --resume\n");
    return kAnswerIsNo;
  }
  if (!leads) return kDone;

  index_t trained = 0;
  for (const auto& p : parameters(model).items)
    trained += p.trainable && p.values.requires_grad() ? p.values.size() : 0;
  prepare(model);
  const TestScores scores = test_scores(test_set, rows_per_day(series, windows.seq_len), predict);
  write_text(out / "metrics.json",
             metrics_json({result, scores, a.loss.text(), seconds, parameter_count, trained,
                           a.session.threads, a.seed}));
  print_scores(model.name(), scores);
  std::printf("best epoch %td of %zu, %.1f s an epoch; weights in %s\n", result.best_epoch,
              result.history.size(),
              seconds / static_cast<double>((std::max)(result.history.size(), std::size_t{1})),
              (out / "weights.safetensors").string().c_str());
  if (!a.plot.empty())
    plot_curves(a.plot, std::string(model.name()) + ", training", a.loss.text(), result,
                options.metrics_log);
  return kDone;
}

}  // namespace

static void add_train(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("train", "Train a forecaster on a CSV");
  cmd->footer(
      "Example: sequin train config.json --data ETTh1.csv --split ETTh1 -o run --threads 2\n"
      "         sequin train config.json --data F.csv -o run --freeze 'enc_embedding.*'\n"
      "           --rate 'encoder.attn_layers.0.*=0.1' --ema 0.999 --plot curves.svg\n"
      "Writes config.json, scaler.csv, weights.safetensors (the best epoch), "
      "checkpoint.safetensors\n"
      "(the last state), metrics.jsonl (a line an interval and one an epoch) and metrics.json.\n"
      "Ctrl-C and SIGTERM save; --resume continues to the same bits, after a kill from the last\n"
      "checkpoint. In a PATTERN * stands for any characters and ? for one; quote it.\n"
      "mpirun -n N sequin train ... trains with N times the batch in N processes.");
  const auto a = std::make_shared<TrainArguments>();
  cmd->add_option("config", a->config, "config.json of the model to train")->required();
  cmd->add_option("--data", a->data, "CSV: a date column, then numbers")->required();
  cmd->add_option("-o,--output", a->output, "folder for the results")->required();
  cmd->add_option("--epochs", a->epochs, "at most so many (train_epochs of the config, 10)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--batch-size", a->batch_size, "windows a step and process (batch_size, 32)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--learning-rate", a->learning_rate, "(learning_rate, 1e-4)")
      ->check(CLI::PositiveNumber);
  a->loss.add_to(cmd);
  cmd->add_option("--accumulate", a->accumulate,
                  "passes that a batch is cut into, for less memory (1)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--ema", a->ema, "decay of the weights' moving average, which is kept (0: none)");
  cmd->add_option("--freeze", a->freeze, "PATTERN of names of parameters that stay as they are");
  cmd->add_option("--rate", a->rates, "PATTERN=FACTOR: those move at the rate times FACTOR");
  cmd->add_option("--patience", a->patience, "epochs without a better one (patience, 3); 0: never");
  cmd->add_option("--clip-norm", a->clip_norm, "largest norm of the gradient; 0: any");
  cmd->add_option("--seed", a->seed, "of weights, order and dropout (2023)");
  cmd->add_option("--checkpoint-every", a->checkpoint_every, "steps between checkpoints");
  cmd->add_option("--log-every", a->log_every, "steps between lines of metrics.jsonl (50)");
  cmd->add_option("--plot", a->plot, "SVG of the curves (needs gnuplot)");
  cmd->add_flag("--resume", a->resume, "continue from the folder's checkpoint");
  a->series.add_to(cmd);
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] {
    chosen = [a] { return with_replicas([a](Replicas* replicas) { return train(*a, replicas); }); };
  });
}

static const RegisterCommand train_command(5, add_train);

}  // namespace sequin_cli
