// separation score: SI-SDRi of a model on mixtures of voices.
#include "commands.hpp"
#include "score.hpp"

#include "../common/progress.hpp"
#include "../sequin/session_options.hpp"

#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/mossformer2.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_separation {

namespace {

struct ScoreArguments {
  std::string model, speech, kind;
  double seconds = 4;
  index_t count = 200;
  std::uint64_t seed = 0x7E57;
  bool json = false;
  sequin_cli::SessionOptions session;
};

template <class Model>
int score_model(const ScoreArguments& a) {
  const auto model = sequin::load_for_inference<Model>(a.model);
  const auto rate = static_cast<int>(model.config().sampling_rate);
  MixtureOptions options;
  options.samples = static_cast<index_t>(std::llround(a.seconds * rate));
  const Mixtures mixtures(read_voices(a.speech, rate, a.kind), options);
  sequin_examples::ProgressBar bar("scoring", static_cast<std::size_t>(a.count), a.session.quiet);
  const Scores scores = score(model, mixtures, a.count, a.seed,
                              [&](index_t done) { bar.update(static_cast<std::size_t>(done)); });
  bar.finish();
  const Spread gain = spread_of(scores.improvement), quality = spread_of(scores.si_sdr);
  if (a.json) {
    sequin::JsonWriter w;
    w.begin_object().key("mixtures").value(a.count).key("seconds").value(a.seconds);
    w.key("seed").value(a.seed).key("voices").value(static_cast<index_t>(mixtures.voices()));
    w.key("si_sdr").value(quality.mean).key("si_sdri").value(gain.mean);
    w.key("deviation").value(gain.deviation).key("median").value(gain.median);
    w.key("tenth").value(gain.tenth).end_object();
    std::printf("%s\n", w.text().c_str());
  } else {
    std::printf(
        "%td mixtures of %g s of %zu voices, seed %llu: SI-SDR %.2f dB, SI-SDRi %.2f dB "
        "(deviation %.2f, median %.2f, a tenth below %.2f)\n",
        a.count, a.seconds, mixtures.voices(), static_cast<unsigned long long>(a.seed),
        quality.mean, gain.mean, gain.deviation, gain.median, gain.tenth);
  }
  return 0;
}

int run_score(const ScoreArguments& a) {
  const sequin_cli::ThreadScope threads(a.session);
  const auto config = sequin::Config::load(std::filesystem::path(a.model) / "config.json");
  return is_causal(config) ? score_model<sequin::CausalMossFormer2<float>>(a)
                           : score_model<sequin::MossFormer2<float>>(a);
}

}  // namespace

void add_score(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("score", "SI-SDRi of a model on mixtures of voices");
  const auto a = std::make_shared<ScoreArguments>();
  cmd->add_option("model", a->model, "folder with config.json and weights")->required();
  cmd->add_option("--speech", a->speech, "folder of voices, each a folder of audio files")
      ->required();
  cmd->add_option("--kind", a->kind, "only voices named KIND-...");
  cmd->add_option("--count", a->count, "mixtures")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  cmd->add_option("--seconds", a->seconds, "of each mixture")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 600.0));
  cmd->add_option("--seed", a->seed, "of voices, places and levels")->capture_default_str();
  cmd->add_flag("--json", a->json, "print JSON");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_score(*a); }; });
}

}  // namespace sequin_separation
