// sequin bench: latency, throughput, allocations and bytes of a model.
#include "commands.hpp"
#include "models.hpp"
#include "session_options.hpp"

#include "../common/measure.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/core/arena.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/time_moe.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/stream/session.hpp"
#include "sequin/train/optimizer.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct BenchArguments {
  std::string dir;
  index_t batch = 1, length = 128, variates = 0;
  double seconds = 2;
  int repeat = 100;
  bool train = false;
  bool json = false;
  SessionOptions session;
};

void report(const BenchArguments& a, const char* what, const sequin_examples::Measurement& m,
            double items, const char* unit, std::size_t arena_bytes) {
  if (a.json) {
    std::printf(
        "{\"what\": \"%s\", \"median_ms\": %.6f, \"p99_ms\": %.6f, \"worst_ms\": %.6f, "
        "\"%s_per_second\": %.1f, \"allocations\": %.3f, \"arena_bytes\": %zu, "
        "\"threads\": %td, \"instruction_set\": \"%s\"}\n",
        what, m.median, m.p99, m.worst, unit, 1e3 * items / m.median, m.allocations, arena_bytes,
        a.session.threads, kInstructionSet);
    return;
  }
  std::printf("%-14s median %9.4f ms  p99 %9.4f ms  worst %9.4f ms  %10.1f %s/s", what, m.median,
              m.p99, m.worst, 1e3 * items / m.median, unit);
  if (sequin_examples::allocations_are_counted()) std::printf("  %.4g allocations", m.allocations);
  std::printf("  %.2f MB\n", static_cast<double>(arena_bytes) / 1e6);
}

/// The model that `load` gives, and how long that took.
template <class Model>
Model timed(const BenchArguments& a,
            Model (*load)(const std::filesystem::path&, const WeightsLimits&)) {
  const auto start = std::chrono::steady_clock::now();
  Model model = load(a.dir, {});
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  const auto count = static_cast<double>(parameter_count(model));
  if (a.json) {
    std::printf("{\"what\": \"load\", \"ms\": %.3f, \"parameters\": %.0f}\n", took.count(), count);
  } else {
    std::printf("%-14s %16.4f ms  %.1f million parameters\n", "load", took.count(), count * 1e-6);
  }
  return model;
}

/// The most memory that this process has held.
void report_peak(const BenchArguments& a) {
  const std::size_t bytes = sequin_examples::peak_memory();
  if (bytes == 0) return;
  if (a.json) {
    std::printf("{\"what\": \"peak memory\", \"bytes\": %zu}\n", bytes);
  } else {
    std::printf("%-14s %16.1f MB\n", "peak memory", static_cast<double>(bytes) / 1e6);
  }
}

template <std::size_t Rank>
Tensor<float, Rank> noise(const Shape<Rank>& shape, Generator& generator) {
  Tensor<float, Rank> t(shape);
  for (float& v : t.span()) v = generator.normal<float>();
  return t;
}

/// A forward pass over so many items, in an arena of its size.
template <class Forward>
void report_forward(const BenchArguments& a, const char* what, int repeat, double items,
                    const char* unit, Forward&& forward) {
  Arena arena;
  const auto run = [&] {
    {
      const ArenaScope scope(&arena);
      forward();
    }
    arena.fit();
  };
  const auto time = sequin_examples::measure(run, repeat);
  report(a, what, time, items, unit, arena.capacity());
}

/// A step of Adam on the mean squared error of `forward(context)`.
template <class Model, class Forward>
void report_training(const BenchArguments& a, Model& model, const Tensor<float, 3>& target,
                     Generator& generator, Forward&& forward) {
  set_requires_grad(model);
  Adam<float> adam(parameters(model), AdamOptions{});
  Arena arena;
  const auto step = [&] {
    {
      const ArenaScope scope(&arena);
      Tape tape;
      ForwardContext<float> context;
      context.dropout_generator = &generator;
      const auto loss = mse_loss(forward(context), target);
      adam.step(tape.gradients(loss));
    }
    arena.fit();
  };
  const auto time = sequin_examples::measure(step, a.repeat);
  report(a, "training step", time, static_cast<double>(a.batch), "windows", arena.capacity());
}

int bench_itransformer(const BenchArguments& a) {
  auto model = timed(a, load_model<ITransformer<float>>);
  const ITransformerConfig& c = model.config();
  const index_t variates = a.variates > 0 ? a.variates : c.enc_in;
  Generator generator(1);
  const auto x = noise<3>({a.batch, c.seq_len, variates}, generator);
  const bool classifies = c.task == ITransformerConfig::Task::classification;
  report_forward(a, "forward", a.repeat, static_cast<double>(a.batch), "windows", [&] {
    if (classifies) {
      model.classify(x);
    } else {
      model.forward(x);
    }
  });
  if (!a.train || classifies) return kDone;
  report_training(a, model, noise<3>({a.batch, c.pred_len, variates}, generator), generator,
                  [&](const auto& context) { return model.forward(x, {}, context); });
  return kDone;
}

int bench_informer(const BenchArguments& a) {
  auto model = timed(a, load_model<Informer<float>>);
  const InformerConfig& c = model.config();
  if (!c.forecasts())
    throw ConfigError(a.dir + ": bench: expected a model that forecasts, found another task");
  Generator generator(1);
  const auto x = noise<3>({a.batch, c.seq_len, c.enc_in}, generator);
  const auto x_dec = noise<3>({a.batch, c.label_len + c.pred_len, c.dec_in}, generator);
  report_forward(a, "forward", a.repeat, static_cast<double>(a.batch), "windows",
                 [&] { model.forward(x, {}, x_dec); });
  if (!a.train) return kDone;
  report_training(a, model, noise<3>({a.batch, c.pred_len, c.c_out}, generator), generator,
                  [&](ForwardContext<float> context) {
                    KeySampler keys(&generator);
                    context.key_sampler = &keys;
                    return model.forward(x, {}, x_dec, {}, context);
                  });
  return kDone;
}

int bench_mossformer2(const BenchArguments& a) {
  const auto model = timed(a, load_for_inference<MossFormer2<float>>);
  const MossFormer2Config& c = model.config();
  Generator generator(1);
  if (!c.separates()) {
    const bool channels_first = c.layout == MossFormer2Config::Layout::clearervoice_sr48k;
    const auto x = noise<3>({a.batch, channels_first ? c.in_channels : a.length,
                             channels_first ? a.length : c.in_channels},
                            generator);
    report_forward(a, "forward", a.repeat, static_cast<double>(a.batch * a.length), "frames",
                   [&] { model.mask(x); });
    return kDone;
  }
  const auto samples = static_cast<index_t>(std::llround(a.seconds * c.sampling_rate));
  const auto x = noise<2>({a.batch, samples}, generator);
  report_forward(a, "forward", a.repeat, static_cast<double>(a.batch * samples), "samples",
                 [&] { model.separate(x); });
  return kDone;
}

int bench_causal_mossformer2(const BenchArguments& a) {
  const auto model = timed(a, load_for_inference<CausalMossFormer2<float>>);
  Generator generator(1);
  const auto samples = static_cast<index_t>(std::llround(a.seconds * model.config().sampling_rate));
  const auto x = noise<2>({a.batch, (std::max)(samples, index_t{1})}, generator);
  report_forward(a, "forward", (std::max)(a.repeat / 10, 3), static_cast<double>(x.size()),
                 "samples", [&] { model.separate(x); });
  Session session(model, a.batch);
  const auto now = noise<1>(Shape<1>{a.batch * model.stream_width()}, generator);
  const auto step = [&] { session.step(now.span()); };
  report(a, "step", sequin_examples::measure(step, 10 * a.repeat), static_cast<double>(now.size()),
         "samples", session.arena_bytes());
  return kDone;
}

int bench_mamba(const BenchArguments& a) {
  const auto model = timed(a, load_for_inference<Mamba<float>>);
  Generator generator(1);
  const auto vocabulary = static_cast<std::uint32_t>(model.config().vocab_size);
  Tensor<std::int64_t, 2> ids({a.batch, a.length});
  for (auto& id : ids.span()) id = generator.below(vocabulary);
  MambaState<float> state = model.initial_state(a.batch);
  report_forward(a, "prefill", (std::max)(a.repeat / 10, 3), static_cast<double>(ids.size()),
                 "tokens", [&] {
                   state.reset();
                   model.prefill(ids, state);
                 });
  Session session(model, a.batch);
  std::vector<std::int64_t> now(static_cast<std::size_t>(a.batch));
  const auto step = [&] {
    for (auto& id : now) id = generator.below(vocabulary);
    session.step(now);
  };
  report(a, "step", sequin_examples::measure(step, 10 * a.repeat), static_cast<double>(a.batch),
         "tokens", session.arena_bytes());
  return kDone;
}

int bench_time_moe(const BenchArguments& a) {
  const auto model = timed(a, load_for_inference<TimeMoe<float>>);
  const index_t channels = model.config().input_size;
  Generator generator(1);
  const auto x = noise<3>({a.batch, a.length, channels}, generator);
  report_forward(a, "forward", (std::max)(a.repeat / 10, 3), static_cast<double>(x.size()),
                 "values", [&] { model.forward(x); });
  Session session(model, a.batch);
  const auto now = noise<1>(Shape<1>{a.batch * channels}, generator);
  const auto step = [&] { session.step(now.span()); };
  report(a, "step", sequin_examples::measure(step, a.repeat),
         static_cast<double>(a.batch * channels), "values", session.arena_bytes());
  return kDone;
}

int bench_model(const BenchArguments& a) {
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  const std::string name = model_of(config).name;
  if (name.starts_with("itransformer")) return bench_itransformer(a);
  if (name.starts_with("informer")) return bench_informer(a);
  if (name == "mamba") return bench_mamba(a);
  if (name == "mossformer2") return bench_mossformer2(a);
  if (name == "causal_mossformer2") return bench_causal_mossformer2(a);
  if (name == "time_moe") return bench_time_moe(a);
  throw ConfigError(config.label() + ": bench: expected a whole model, found " + name +
                    " (blocks are measured by the programs in bench/)");
}

int bench(const BenchArguments& a) {
  const ThreadScope threads(a.session);
  const int code = bench_model(a);
  report_peak(a);
  return code;
}

}  // namespace

static void add_bench(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("bench", "Latency, throughput and allocations");
  cmd->footer("Example: sequin bench DIR --batch 32 --train --threads 2");
  const auto a = std::make_shared<BenchArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_option("--batch", a->batch, "rows (1)")->check(CLI::Range(1, 1 << 20));
  cmd->add_option("--length", a->length, "tokens of a prompt, frames of features (128)")
      ->check(CLI::Range(1, 1 << 24));
  cmd->add_option("--seconds", a->seconds, "audio to separate (2)")
      ->check(CLI::Range(0.01, 3600.0));
  cmd->add_option("--variates", a->variates, "series (enc_in)")->check(CLI::Range(1, 1 << 20));
  cmd->add_option("--repeat", a->repeat, "measurements (100)")->check(CLI::Range(1, 1 << 24));
  cmd->add_flag("--train", a->train, "a training step too");
  cmd->add_flag("--json", a->json, "one JSON object a line");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return bench(*a); }; });
}

static const RegisterCommand bench_command(9, add_bench);

}  // namespace sequin_cli
