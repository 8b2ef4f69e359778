/// Trains a model on a task and scores it at other lengths: what both subcommands do.
#pragma once

#include "accuracy.hpp"
#include "attention_model.hpp"
#include "task_arguments.hpp"

#include "../common/progress.hpp"
#include "../common/stopwatch.hpp"
#include "../common/write_text.hpp"
#include "../sequin/interrupt.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/train.hpp"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sequin_tasks {

/// The score at one length.
struct LengthScore {
  index_t length = 0, sequences = 0;
  Score score;
};

/// Scores by length; `task_of(length)` makes the task. Sequences are drawn apart from the
/// training's, the same ones for each model.
template <class Model, class TaskOf>
std::vector<LengthScore> score_lengths(const Model& model, const TaskArguments& a,
                                       const TaskOf& task_of) {
  constexpr index_t kTogether = 16;
  std::vector<LengthScore> scores;
  for (const index_t length : a.test_lengths) {
    const auto task = task_of(length);
    LengthScore s{length, 0, {}};
    sequin::Generator generator(0x7E57'0000'0000u + static_cast<std::uint64_t>(length));
    while (s.sequences < (std::min)(index_t{1024}, a.test_tokens / task.length()) ||
           s.sequences < kTogether) {
      s.score += evaluate_streamed(model, task, kTogether, a.chunk, generator);
      s.sequences += kTogether;
    }
    std::printf("length %8td: %5td sequences, %6td of %6td answers right, accuracy %.4f\n",
                s.length, s.sequences, s.score.right, s.score.asked, s.score.accuracy());
    std::fflush(stdout);
    scores.push_back(s);
  }
  return scores;
}

/// One after the other: shorter tasks first, from whose weights the next goes on. Each has a folder
/// with its checkpoint, the last that of the results.
template <class Task>
struct Stage {
  Task task;
  std::string name;
};

/// What a training took.
struct Spent {
  index_t steps = 0;
  double seconds = 0, processor_seconds = 0;
};

inline std::string metrics_json(const TaskArguments& a, const std::string& task, index_t parameters,
                                const Spent& spent, const std::vector<LengthScore>& scores) {
  sequin::JsonWriter w;
  w.begin_object().key("task").value(task).key("model").value(a.model);
  w.key("parameters").value(parameters).key("seed").value(a.seed);
  w.key("length").value(a.length).key("steps").value(spent.steps);
  w.key("seconds").value(spent.seconds).key("processor_seconds").value(spent.processor_seconds);
  w.key("scores").begin_array();
  for (const LengthScore& s : scores) {
    w.begin_object().key("length").value(s.length).key("sequences").value(s.sequences);
    w.key("right").value(s.score.right).key("asked").value(s.score.asked);
    w.key("accuracy").value(s.score.accuracy()).end_object();
  }
  return w.end_array().end_object().text() + "\n";
}

/// Trains `model` in one stage; false when it was interrupted.
template <class Model, class Task>
bool train_stage(const TaskArguments& a, Model& model, const Stage<Task>& stage, bool last,
                 const sequin::CheckpointFingerprint& fingerprint, std::uint64_t seed,
                 const sequin_examples::Stopwatch& watch, index_t& steps_done) {
  using namespace sequin;
  const std::filesystem::path folder = a.output;
  const std::filesystem::path out = last ? folder : folder / stage.name;
  const index_t wanted = last ? a.steps : a.short_steps;
  TrainOptions options;
  options.epochs = (wanted + 249) / 250;
  options.steps_per_epoch = (wanted + options.epochs - 1) / options.epochs;
  const index_t steps = options.epochs * options.steps_per_epoch;
  options.batch_size = a.batch;
  options.schedule = Schedule::warmup_cosine(a.rate, a.warm_up, steps, last ? 0 : a.rate);
  options.optimizer.decoupled = true;
  options.optimizer.weight_decay = a.weight_decay;
  options.clip_norm = a.clip_norm;
  options.patience = 0;
  options.seed = seed;
  options.checkpoint_dir = out;
  options.checkpoint_every = a.checkpoint_every;
  options.resume = a.resume && std::filesystem::exists(out / "checkpoint.safetensors");
  options.fingerprint = fingerprint;
  options.fingerprint.emplace_back("stage", stage.name);
  options.metrics_log = out / "metrics.jsonl";

  sequin_examples::ProgressBar bar(stage.name, static_cast<std::size_t>(steps), a.quiet, "steps");
  Score validation;
  TrainCallbacks callbacks;
  callbacks.on_step = [&](const StepInfo& s) {
    if (!bar.active()) return;
    char note[32];
    std::snprintf(note, sizeof note, "loss %.4f", s.loss);
    bar.update(static_cast<std::size_t>(s.total_steps), note);
  };
  callbacks.on_epoch = [&](const EpochRecord& e) {
    if (!a.quiet)
      std::fprintf(stderr, "%s, epoch %td: train %.4f, validation %.4f, accuracy %.4f, %.0f s\n",
                   stage.name.c_str(), e.epoch, e.train_loss, e.val_loss, validation.accuracy(),
                   watch.seconds());
    validation = {};
  };
  callbacks.stop_requested = [] { return sequin_cli::InterruptGuard::requested(); };
  const index_t k = stage.task.answers();
  const auto loss = [&](const AnswerBatch& b) {
    return cross_entropy(answer_logits(model.forward(b.ids), k),
                         std::span<const std::int64_t>(b.answers));
  };
  const auto validate = validate_on(stage.task, 64, 4, 0x7A11D, [&](const AnswerBatch& b) {
    const auto logits = answer_logits(model.forward(b.ids), k);
    const std::span<const std::int64_t> answers(b.answers);
    validation += count_right(logits, answers);
    return cross_entropy(logits, answers);
  });
  const TrainResult result = train(model, stage.task, loss, validate, options, callbacks);
  steps_done += result.steps;
  return !result.interrupted;
}

/// Trains, or loads what was trained, and scores. 0, or 1 when it was interrupted.
template <class Model, class Task, class TaskOf>
int run_task(const TaskArguments& a, const std::string& name, const std::string& config_text,
             Model& model, const std::vector<Stage<Task>>& stages, const TaskOf& task_of) {
  using namespace sequin;
  const std::filesystem::path out = a.output;
  const index_t parameter_count = parameters(model).count();
  Spent spent;
  if (a.evaluate) {
    load_weights(model, open_weights(out));
  } else {
    if (!a.quiet) std::fprintf(stderr, "%td parameters\n", parameter_count);
    Generator generator(a.seed);
    model.initialize(generator);
    CheckpointFingerprint fingerprint{{"task", name}, {"model", a.model}, {"config", config_text}};
    const sequin_cli::InterruptGuard guard;
    const sequin_examples::Stopwatch watch;
    for (const auto& stage : stages) {
      // What a stage begins with is decided by those before it.
      fingerprint.emplace_back("begun " + stage.name, std::to_string(a.short_steps));
      if (!train_stage(a, model, stage, &stage == &stages.back(), fingerprint, generator.fork(),
                       watch, spent.steps)) {
        std::fprintf(stderr, "stopped; continue with --resume\n");
        return 1;
      }
    }
    spent.seconds = watch.seconds();
    spent.processor_seconds = watch.processor_seconds();
    sequin_examples::write_text(out / "config.json", config_text);
    std::printf("%s, %s, seed %llu: %td steps in %.1f s, %.1f s of a processor\n", name.c_str(),
                a.model.c_str(), static_cast<unsigned long long>(a.seed), spent.steps,
                spent.seconds, spent.processor_seconds);
  }
  prepare(model);
  const auto scores = score_lengths(model, a, task_of);
  sequin_examples::write_text(out / (a.evaluate ? "scores.json" : "metrics.json"),
                              metrics_json(a, name, parameter_count, spent, scores));
  return 0;
}

/// The same with the model that the arguments name.
template <class Task, class TaskOf>
int run_task(const TaskArguments& a, const std::string& name,
             const std::vector<Stage<Task>>& stages, const TaskOf& task_of) {
  using namespace sequin;
  const Config file = Config::load(a.config);
  const MambaConfig config = MambaConfig::read(file);
  const index_t vocabulary = stages.back().task.vocabulary();
  if (config.vocab_size != vocabulary)
    throw ConfigError(file.label() + ": vocab_size: expected " + std::to_string(vocabulary) +
                      " for " + name + ", found " + std::to_string(config.vocab_size));
  if (a.model == "attention") {
    AttentionModel<float> model(AttentionConfig::like(config));
    return run_task(a, name, file.text(), model, stages, task_of);
  }
  Mamba<float> model(config);
  return run_task(a, name, file.text(), model, stages, task_of);
}

}  // namespace sequin_tasks
