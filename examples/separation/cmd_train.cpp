// separation train: MossFormer2 or its causal form on mixtures made on the spot, SI-SDR with
// permutations.
#include "commands.hpp"
#include "mixtures.hpp"

#include "../common/progress.hpp"
#include "../common/stopwatch.hpp"
#include "../common/write_text.hpp"
#include "../sequin/interrupt.hpp"
#include "../sequin/session_options.hpp"

#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/ops/permutation_loss.hpp"
#include "sequin/train/train.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_separation {

using namespace sequin;

namespace {

struct TrainArguments {
  std::string config, speech, output, from;
  double seconds = 1, rate = 1e-3, final_rate = 0, clip_norm = 5, speed = 0.1, average = 0;
  index_t batch = 4, steps = 10000, warm_up = 200, epoch = 250, validation = 64;
  index_t checkpoint_every = 50;
  std::uint64_t seed = 1;
  bool resume = false;
  sequin_cli::SessionOptions session;

  void add_to(CLI::App* cmd) {
    cmd->add_option("config", config, "config.json of a network that separates two speakers")
        ->required();
    cmd->add_option("--speech", speech, "folder with train/VOICE/*.wav and validation/VOICE/*.wav")
        ->required();
    cmd->add_option("-o,--output", output, "folder for weights, checkpoint and metrics")
        ->required();
    cmd->add_option("--from", from, "folder whose weights to begin with (drawn otherwise)");
    const auto number = [&](const char* name, auto& value, const char* what) {
      cmd->add_option(name, value, what)->capture_default_str()->check(CLI::PositiveNumber);
    };
    number("--seconds", seconds, "of a mixture");
    number("--batch-size", batch, "mixtures a step");
    number("--steps", steps, "of the optimiser");
    number("--epoch", epoch, "steps between validations");
    number("--validation", validation, "mixtures of a validation");
    number("--learning-rate", rate, "after the warm-up");
    number("--warm-up", warm_up, "steps with a rising rate");
    number("--clip-norm", clip_norm, "largest norm of the gradient");
    number("--checkpoint-every", checkpoint_every, "steps between checkpoints");
    cmd->add_option("--final-rate", final_rate, "where the rate's cosine ends")
        ->capture_default_str();
    cmd->add_option("--speed", speed, "voices are played up to this share faster or slower")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.5));
    cmd->add_option("--ema", average, "of the weights' moving average, which is kept; 0: none")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999999));
    cmd->add_option("--seed", seed, "of weights and mixtures")->capture_default_str();
    cmd->add_flag("--resume", resume, "continue from the folder's checkpoint");
    session.add_to(cmd);
  }
};

TrainOptions train_options(const TrainArguments& a, const Config& config, const Mixtures& mixtures,
                           std::uint64_t seed) {
  TrainOptions o;
  o.epochs = (a.steps + a.epoch - 1) / a.epoch;
  o.steps_per_epoch = a.epoch;
  o.batch_size = a.batch;
  o.schedule =
      Schedule::warmup_cosine(a.rate, a.warm_up, o.epochs * o.steps_per_epoch, a.final_rate);
  o.clip_norm = a.clip_norm;
  o.ema_decay = a.average;
  o.patience = 0;
  o.seed = seed;
  o.checkpoint_dir = a.output;
  o.checkpoint_every = a.checkpoint_every;
  o.resume = a.resume;
  o.metrics_log = o.checkpoint_dir / "metrics.jsonl";
  o.fingerprint = {{"config", config.text()},
                   {"speech", mixtures.described()},
                   {"begun with", a.from},
                   {"seconds", std::to_string(a.seconds)},
                   {"speed", std::to_string(a.speed)},
                   {"validation", std::to_string(a.validation)}};
  return o;
}

template <class Model>
int train_model(const TrainArguments& a, const Config& config) {
  const auto sizes = Model::Config::read(config);
  if (!sizes.separates() || sizes.num_spks != 2)
    throw ConfigError(config.label() + ": expected a network that separates two speakers");
  const auto rate = static_cast<int>(sizes.sampling_rate);
  MixtureOptions options;
  options.samples = static_cast<index_t>(std::llround(a.seconds * rate));
  const std::filesystem::path speech = a.speech, out = a.output;
  const Mixtures unseen(read_voices(speech / "validation", rate), options);
  options.speed = a.speed;
  const Mixtures mixtures(read_voices(speech / "train", rate), options);

  Model model(sizes);
  Generator generator(a.seed);
  if (a.from.empty())
    model.initialize(generator);
  else
    load_weights(model, open_weights(a.from));
  const index_t parameter_count = parameters(model).count();
  const TrainOptions train_with = train_options(a, config, mixtures, generator.fork());
  if (!a.session.quiet)
    std::fprintf(stderr, "%td parameters, %zu voices, %zu to validate with\n", parameter_count,
                 mixtures.voices(), unseen.voices());

  const auto total = static_cast<std::size_t>(train_with.epochs * train_with.steps_per_epoch);
  sequin_examples::ProgressBar bar("separation", total, a.session.quiet, "steps");
  const sequin_examples::Stopwatch watch;
  TrainCallbacks callbacks;
  callbacks.on_start = [&](const TrainResult&) {
    sequin_examples::write_text(out / "config.json", config.text());
  };
  callbacks.on_step = [&](const StepInfo& s) {
    if (!bar.active()) return;
    char note[32];
    std::snprintf(note, sizeof note, "SI-SDR %.2f dB", -s.loss);
    bar.update(static_cast<std::size_t>(s.total_steps), note);
  };
  callbacks.on_epoch = [&](const EpochRecord& e) {
    if (!a.session.quiet)
      std::fprintf(stderr,
                   "%td steps: SI-SDR train %.3f, validation %.3f dB%s, %.0f s (CPU %.0f)\n",
                   e.epoch * train_with.steps_per_epoch, -e.train_loss, -e.val_loss,
                   e.best ? " (best)" : "", watch.seconds(), watch.processor_seconds());
  };
  callbacks.stop_requested = [] { return sequin_cli::InterruptGuard::requested(); };
  const sequin_cli::InterruptGuard guard;
  const auto loss = [&](const MixtureBatch& b) {
    const Tensor<float, 3> estimates = transpose(model.separate(b.mixture), 1, 2);
    return mean(si_sdr_loss(estimates, b.sources).loss);
  };
  const index_t batches = (a.validation + a.batch - 1) / a.batch;
  const TrainResult result =
      train(model, mixtures, loss, validate_on(unseen, a.batch, batches, 0x7A11D, loss), train_with,
            callbacks);
  bar.finish();
  JsonWriter w;
  w.begin_object().key("parameters").value(parameter_count).key("seed").value(a.seed);
  w.key("steps").value(result.steps).key("seconds").value(watch.seconds());
  w.key("processor_seconds").value(watch.processor_seconds());
  w.key("validation_si_sdr").value(-result.best_val_loss).end_object();
  sequin_examples::write_text(out / "metrics.json", w.text() + "\n");
  std::printf("%td steps in %.1f s, %.1f s of a processor: validation SI-SDR %.3f dB\n",
              result.steps, watch.seconds(), watch.processor_seconds(), -result.best_val_loss);
  if (!result.interrupted) return 0;
  std::fprintf(stderr, "stopped; continue with --resume\n");
  return 1;
}

int run_train(const TrainArguments& a) {
  const sequin_cli::ThreadScope threads(a.session);
  const Config config = Config::load(a.config);
  return is_causal(config) ? train_model<CausalMossFormer2<float>>(a, config)
                           : train_model<MossFormer2<float>>(a, config);
}

}  // namespace

void add_train(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("train", "Train on mixtures of two voices, made on the spot");
  const auto a = std::make_shared<TrainArguments>();
  a->add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_train(*a); }; });
}

}  // namespace sequin_separation
