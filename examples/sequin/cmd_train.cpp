// sequin train: a forecaster from a config and a CSV, by the official protocol.
#include "commands.hpp"
#include "forecaster.hpp"
#include "series.hpp"
#include "session_options.hpp"

#include "../common/progress.hpp"

#include "sequin/blocks/key_sampler.hpp"
#include "sequin/io/atomic_file.hpp"
#include "sequin/io/csv.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/ops/shape.hpp"
#include "sequin/train/evaluate.hpp"
#include "sequin/train/train_forecaster.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct TrainArguments {
  std::string config, data, output;
  index_t epochs = 0, batch_size = 0, patience = -1, checkpoint_every = 0;
  double learning_rate = 0, clip_norm = 0;
  std::uint64_t seed = 2023;
  bool resume = false;
  SeriesOptions series;
  SessionOptions session;
};

volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) { g_interrupted = 1; }

/// While it lives, the first Ctrl-C asks the training to save and stop; the second ends the
/// program.
class InterruptGuard {
 public:
  InterruptGuard()
      : before_(std::signal(SIGINT, [](int s) {
          on_interrupt(s);
          std::signal(SIGINT, SIG_DFL);
        })) {}
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard() { std::signal(SIGINT, before_); }

 private:
  void (*before_)(int);
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Scores {
  ForecastScore model, repeat_last, seasonal;
  index_t period = 0;
};

std::string metrics_json(const TrainArguments& a, const TrainResult& r, const Scores& s,
                         double seconds, index_t parameters) {
  JsonWriter w;
  w.begin_object();
  const auto score = [&](const char* name, const ForecastScore& f) {
    w.key(name).begin_object();
    w.key("mse").value(f.mse()).key("mae").value(f.mae());
    w.end_object();
  };
  score("test", s.model);
  score("repeat_last", s.repeat_last);
  if (s.period > 0) {
    score("seasonal_naive", s.seasonal);
    w.key("seasonal_period").value(static_cast<double>(s.period));
  }
  w.key("parameters").value(static_cast<double>(parameters));
  w.key("best_epoch").value(static_cast<double>(r.best_epoch));
  w.key("best_val_loss").value(r.best_val_loss);
  w.key("steps").value(static_cast<double>(r.steps));
  w.key("seconds").value(seconds);
  w.key("seconds_per_epoch")
      .value(r.history.empty() ? 0.0 : seconds / static_cast<double>(r.history.size()));
  w.key("seed").value(static_cast<double>(a.seed));
  w.key("threads").value(static_cast<double>(a.session.threads));
  w.key("history").begin_array();
  for (const EpochRecord& e : r.history) {
    w.begin_object();
    w.key("epoch").value(static_cast<double>(e.epoch));
    w.key("train_loss").value(e.train_loss).key("val_loss").value(e.val_loss);
    w.key("learning_rate").value(e.learning_rate);
    w.end_object();
  }
  w.end_array().end_object();
  return w.text() + "\n";
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text.data(), text.size())));
  file.commit();
}

void print_scores(const char* model, const Scores& s) {
  std::printf("%-28s %10s %10s\n", "test error (scaled)", "MSE", "MAE");
  std::printf("%-28s %10.4f %10.4f\n", model, s.model.mse(), s.model.mae());
  std::printf("%-28s %10.4f %10.4f\n", "repeat the last value", s.repeat_last.mse(),
              s.repeat_last.mae());
  if (s.period > 0)
    std::printf("%-28s %10.4f %10.4f\n", "repeat the last day", s.seasonal.mse(), s.seasonal.mae());
}

TrainOptions train_options(const TrainArguments& a, const Config& config, Generator& dropout) {
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
  o.generators = {{"dropout", &dropout}};
  return o;
}

int train(const TrainArguments& a) {
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
  TrainOptions options = train_options(a, config, dropout);
  options.fingerprint.emplace_back("config", config.text());
  const index_t parameter_count = parameters(model).count();
  if (!a.session.quiet)
    std::fprintf(stderr, "%td parameters; %td training, %td validation, %td test windows\n",
                 parameter_count, train_set.count(), val_set.count(), test_set.count());

  std::unique_ptr<sequin_examples::ProgressBar> bar;
  index_t bar_epoch = 0;
  TrainCallbacks callbacks;
  callbacks.on_step = [&](const StepInfo& s) {
    if (bar_epoch != s.epoch) {
      bar_epoch = s.epoch;
      bar = std::make_unique<sequin_examples::ProgressBar>(
          "epoch " + std::to_string(s.epoch) + "/" + std::to_string(options.epochs),
          static_cast<std::size_t>(s.steps_per_epoch), a.session.quiet);
    }
    if (!bar->active()) return;
    char note[32];
    std::snprintf(note, sizeof note, "loss %.4f", s.loss);
    bar->update(static_cast<std::size_t>(s.step), note);
  };
  callbacks.on_epoch = [&](const EpochRecord& e) {
    bar.reset();
    bar_epoch = 0;
    if (!a.session.quiet)
      std::fprintf(stderr, "epoch %td: train %.5f, validation %.5f%s\n", e.epoch, e.train_loss,
                   e.val_loss, e.best ? " (best)" : "");
  };
  callbacks.stop_requested = [] { return g_interrupted != 0; };

  std::filesystem::create_directories(a.output);
  const std::filesystem::path out = a.output;
  write_text(out / "config.json", config.text());
  std::vector<double> scaling = data.scaler().mean;
  scaling.insert(scaling.end(), data.scaler().std.begin(), data.scaler().std.end());
  write_csv(out / "scaler.csv", data.columns(), {"mean", "std"}, scaling);

  const InterruptGuard guard;
  const auto start = std::chrono::steady_clock::now();
  const auto loss = [&](const WindowBatch<float>& batch) {
    ForwardContext<float> context;
    context.dropout_generator = &dropout;
    KeySampler keys(&dropout);
    context.key_sampler = &keys;
    Tensor<float, 3> y = model.forecast(forecast_input(batch), context);
    if (batch.target.extent(2) < y.extent(2))
      y = slice(y, 2, y.extent(2) - batch.target.extent(2), y.extent(2));
    return mse_loss(y, batch.target);
  };
  const auto predict = [&](const WindowBatch<float>& batch) {
    return model.forecast(forecast_input(batch));
  };
  const TrainResult result =
      train_forecaster(model, train_set, val_set, loss, predict, options, callbacks);
  bar.reset();
  const double seconds = seconds_since(start);
  if (result.interrupted) {
    std::fprintf(stderr, "stopped; continue with --resume\n");
    return kAnswerIsNo;
  }

  Arena arena;
  prepare(model);
  Scores scores;
  scores.model = evaluate(test_set, index_t{32}, predict, &arena);
  const index_t p = windows.pred_len;
  const auto own = [&](const WindowBatch<float>& batch) {
    return slice(batch.x, 2, batch.x.extent(2) - batch.target.extent(2), batch.x.extent(2));
  };
  scores.repeat_last = evaluate(
      test_set, index_t{32}, [&](const auto& batch) { return repeat_last(own(batch), p); }, &arena);
  scores.period = rows_per_day(series, windows.seq_len);
  if (scores.period > 0)
    scores.seasonal = evaluate(
        test_set, index_t{32},
        [&](const auto& batch) { return seasonal_naive(own(batch), p, scores.period); }, &arena);
  write_text(out / "metrics.json", metrics_json(a, result, scores, seconds, parameter_count));
  print_scores(model.name(), scores);
  std::printf("best epoch %td of %zu, %.1f s an epoch; weights in %s\n", result.best_epoch,
              result.history.size(),
              seconds / static_cast<double>((std::max)(result.history.size(), std::size_t{1})),
              (out / "weights.safetensors").string().c_str());
  return kDone;
}

}  // namespace

static void add_train(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("train", "Train a forecaster on a CSV");
  cmd->footer(
      "Example: sequin train config.json --data ETTh1.csv --split ETTh1 -o run --threads 2\n"
      "Writes config.json, weights.safetensors (best epoch), checkpoint.safetensors, scaler.csv "
      "and\n"
      "metrics.json. Ctrl-C saves; --resume continues to the same bits.");
  const auto a = std::make_shared<TrainArguments>();
  cmd->add_option("config", a->config, "config.json of the model to train")->required();
  cmd->add_option("--data", a->data, "CSV: a date column, then numbers")->required();
  cmd->add_option("-o,--output", a->output, "folder for the results")->required();
  cmd->add_option("--epochs", a->epochs, "at most so many (train_epochs of the config, 10)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--batch-size", a->batch_size, "windows a step (batch_size, 32)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--learning-rate", a->learning_rate, "(learning_rate, 1e-4)")
      ->check(CLI::PositiveNumber);
  cmd->add_option("--patience", a->patience, "epochs without a better one (patience, 3); 0: never");
  cmd->add_option("--clip-norm", a->clip_norm, "largest norm of the gradient; 0: any");
  cmd->add_option("--seed", a->seed, "of weights, order and dropout (2023)");
  cmd->add_option("--checkpoint-every", a->checkpoint_every, "steps between checkpoints");
  cmd->add_flag("--resume", a->resume, "continue from the folder's checkpoint");
  a->series.add_to(cmd);
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return train(*a); }; });
}

static const RegisterCommand train_command(5, add_train);

}  // namespace sequin_cli
