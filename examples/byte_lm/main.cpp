// Trains a small Mamba on the bytes of a text and tells how well it predicts what it has not seen.
#include "byte_text.hpp"
#include "byte_tokenizer.hpp"

#include "../common/progress.hpp"
#include "../common/write_text.hpp"
#include "../sequin/interrupt.hpp"
#include "../sequin/session_options.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/train/train.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace sequin;
using namespace sequin_bytes;

struct Arguments {
  std::string config, text, output;
  double hold_out = 0.1, rate = 4e-3, clip_norm = 1;
  index_t length = 256, batch = 16, steps = 6000, warm_up = 200, chunk = 1024;
  index_t checkpoint_every = 500, log_every = 50, record = 0;
  std::uint64_t seed = 1;
  bool resume = false, evaluate = false;
  sequin_cli::SessionOptions session;

  void add_to(CLI::App& app) {
    app.add_option("config", config, "config.json of a Mamba model of 256 tokens")->required();
    app.add_option("--text", text, "the file to learn from")->required();
    app.add_option("-o,--output", output, "folder for weights, checkpoint, tokenizer and metrics")
        ->required();
    const auto number = [&](const char* name, auto& value, const char* what) {
      app.add_option(name, value, what)->capture_default_str()->check(CLI::PositiveNumber);
    };
    number("--hold-out", hold_out, "share of the text, its end, that is not learnt from");
    number("--length", length, "bytes of a piece");
    number("--batch-size", batch, "pieces a step");
    number("--steps", steps, "of the optimiser, in epochs of at most 500");
    number("--learning-rate", rate, "after the warm-up; falls as a cosine to 0");
    number("--warm-up", warm_up, "steps with a rising rate");
    number("--clip-norm", clip_norm, "largest norm of the gradient");
    number("--checkpoint-every", checkpoint_every, "steps between checkpoints");
    number("--log-every", log_every, "steps between lines of metrics.jsonl");
    number("--chunk", chunk, "bytes that are scored at once");
    app.add_option("--seed", seed, "of weights and pieces")->capture_default_str();
    app.add_option("--record", record,
                   "do not train: write the first weights and N batches for others to learn from");
    app.add_flag("--resume", resume, "continue from the folder's checkpoint");
    app.add_flag("--evaluate", evaluate, "only score the folder's weights");
    session.add_to(&app);
  }
};

/// What a training of these arguments starts from, for bench/peers/torch_byte_lm.py.
void record(const Arguments& a, Mamba<float>& model, const ByteText& text, std::uint64_t seed) {
  const std::filesystem::path out = a.output;
  std::filesystem::create_directories(out);
  save_weights(model, out / "initial.safetensors");
  Generator generator(seed);
  ByteBatch batch;
  std::vector<std::int64_t> ids, next;
  for (index_t i = 0; i < a.record; ++i) {
    text.draw(generator, a.batch, batch);
    const auto drawn = std::as_const(batch.ids).span();
    ids.insert(ids.end(), drawn.begin(), drawn.end());
    next.insert(next.end(), batch.next.begin(), batch.next.end());
  }
  const std::vector<std::int64_t> shape{a.record, a.batch, a.length};
  const std::vector<TensorEntry> entries{
      {"ids", DType::I64, shape, std::as_bytes(std::span(ids))},
      {"next", DType::I64, shape, std::as_bytes(std::span(next))}};
  save_safetensors(out / "batches.safetensors", entries);
}

TrainOptions train_options(const Arguments& a, const Config& config, std::uint64_t seed) {
  TrainOptions o;
  o.epochs = (a.steps + 499) / 500;
  o.steps_per_epoch = (a.steps + o.epochs - 1) / o.epochs;
  o.batch_size = a.batch;
  o.schedule = Schedule::warmup_cosine(a.rate, a.warm_up, o.epochs * o.steps_per_epoch);
  o.optimizer.decoupled = true;
  o.optimizer.weight_decay = 0.1;
  o.optimizer.beta2 = 0.95;
  o.clip_norm = a.clip_norm;
  o.patience = 0;
  o.seed = seed;
  o.checkpoint_dir = a.output;
  o.checkpoint_every = a.checkpoint_every;
  o.resume = a.resume;
  o.metrics_log = o.checkpoint_dir / "metrics.jsonl";
  o.log_every = a.log_every;
  o.fingerprint = {{"config", config.text()},
                   {"pieces", std::to_string(a.length)},
                   {"hold-out", std::to_string(a.hold_out)}};
  return o;
}

int run(const Arguments& a) {
  const sequin_cli::ThreadScope threads(a.session);
  const Config config = Config::load(a.config);
  const MambaConfig sizes = MambaConfig::read(config);
  if (sizes.vocab_size != 256)
    throw ConfigError(config.label() + ": vocab_size: expected 256, found " +
                      std::to_string(sizes.vocab_size));
  const std::filesystem::path out = a.output;
  const auto [learnt, held_out] = split_text(a.text, a.hold_out);
  // The end of what is learnt from chooses the weights.
  const auto cut = static_cast<std::ptrdiff_t>(learnt.size() - learnt.size() / 50);
  const ByteText text({learnt.begin(), learnt.begin() + cut}, a.length);
  const ByteText check({learnt.begin() + cut, learnt.end()}, a.length);
  Mamba<float> model(sizes);
  const index_t parameter_count = parameters(model).count();
  Generator generator(a.seed);
  model.initialize(generator);
  const std::uint64_t seed = generator.fork();
  if (a.record > 0) {
    record(a, model, text, seed);
    return 0;
  }
  TrainResult result;
  double seconds = 0;
  if (a.evaluate) {
    load_weights(model, open_weights(out));
  } else {
    const TrainOptions options = train_options(a, config, seed);
    if (!a.session.quiet)
      std::fprintf(stderr, "%td parameters; %zu bytes to learn from, %zu held out\n",
                   parameter_count, learnt.size(), held_out.size());
    sequin_examples::ProgressBar bar(
        "bytes", static_cast<std::size_t>(options.epochs * options.steps_per_epoch),
        a.session.quiet, "steps");
    const auto start = std::chrono::steady_clock::now();
    const auto seconds_so_far = [start] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    TrainCallbacks callbacks;
    callbacks.on_start = [&](const TrainResult&) {
      sequin_examples::write_text(out / "config.json", config.text());
      sequin_examples::write_text(out / "tokenizer.json", byte_tokenizer_json());
    };
    callbacks.on_step = [&](const StepInfo& s) {
      if (!bar.active()) return;
      char note[32];
      std::snprintf(note, sizeof note, "loss %.4f", s.loss);
      bar.update(static_cast<std::size_t>(s.total_steps), note);
    };
    callbacks.on_epoch = [&](const EpochRecord& e) {
      if (!a.session.quiet)
        std::fprintf(stderr, "epoch %td: bits a byte: train %.4f, validation %.4f, %.0f s\n",
                     e.epoch, e.train_loss / std::log(2.0), e.val_loss / std::log(2.0),
                     seconds_so_far());
    };
    callbacks.stop_requested = [] { return sequin_cli::InterruptGuard::requested(); };
    const sequin_cli::InterruptGuard guard;
    const auto loss = [&](const ByteBatch& b) {
      return cross_entropy(model.forward(b.ids), std::span<const std::int64_t>(b.next));
    };
    result = train(model, text, loss, validate_on(check, 32, 8, 0xB17E5, loss), options, callbacks);
    bar.finish();
    seconds = seconds_so_far();
    if (result.interrupted) {
      std::fprintf(stderr, "stopped; continue with --resume\n");
      return 1;
    }
  }
  prepare(model);
  const double bits = bits_per_byte(model, std::span<const std::uint8_t>(held_out), a.chunk);
  std::printf(
      "%td parameters, seed %llu, %td steps in %.1f s: %.4f bits a byte of the %zu bytes "
      "held out\n",
      parameter_count, static_cast<unsigned long long>(a.seed), result.steps, seconds, bits,
      held_out.size());
  JsonWriter w;
  w.begin_object().key("parameters").value(parameter_count).key("seed").value(a.seed);
  w.key("steps").value(result.steps).key("seconds").value(seconds);
  w.key("bytes").value(learnt.size()).key("held_out_bytes").value(held_out.size());
  w.key("bits_per_byte").value(bits).end_object();
  sequin_examples::write_text(out / (a.evaluate ? "scores.json" : "metrics.json"), w.text() + "\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A byte-level Mamba language model of any text", "byte_lm");
  app.footer(
      "Example: byte_lm examples/configs/mamba_bytes.json --text kjv.txt -o run\n"
      "         sequin generate run --prompt 'In the beginning' --top-k 40 --new-tokens 400");
  Arguments arguments;
  arguments.add_to(app);
  try {
    app.parse(argc, argv);
    return run(arguments);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "byte_lm: %s\n", e.what());
    return 2;
  }
}
