// sequin separate: one WAV a speaker from a recording of several.
#include "commands.hpp"
#include "models.hpp"
#include "separate_signal.hpp"
#include "session_options.hpp"

#include "../common/progress.hpp"
#include "audio/audio_file.hpp"
#include "audio/resample.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/mossformer2_decode.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>

namespace sequin_cli {

using namespace sequin;
using sequin_examples::Audio;
using sequin_examples::AudioNotes;

namespace {

struct SeparateArguments {
  std::string input, model, output;
  double segment = SeparationCut{}.segment, overlap = SeparationCut{}.overlap;
  bool official = false, model_rate = false;
  SessionOptions session;
};

using Progress = std::function<bool(index_t, index_t)>;

/// One signal a speaker: by segments, or as the official program does it.
std::vector<std::vector<float>> speakers_of(const SeparateArguments& a,
                                            const MossFormer2<float>& model,
                                            const Tensor<float, 1>& mixture,
                                            const Progress& progress) {
  if (!a.official) return separate_signal(model, mixture, {a.segment, a.overlap}, progress);
  return rows_of(decode_official(model, mixture), static_cast<std::size_t>(mixture.size()));
}

/// The same from beginning to end, a segment at a time: the state carries over what the model
/// knows of the speakers, so that segments need neither overlap nor matching.
std::vector<std::vector<float>> speakers_of(const SeparateArguments& a,
                                            const CausalMossFormer2<float>& model,
                                            const Tensor<float, 1>& mixture,
                                            const Progress& progress) {
  if (a.official)
    throw ConfigError(a.model + ": --official: expected a model with a published program, found " +
                      "the causal MossFormer2");
  const NoGrad no_grad;
  const index_t hop = model.stream_width(), length = mixture.size();
  const auto samples = static_cast<index_t>(a.segment * model.config().sampling_rate);
  const index_t chunk = (std::max)(samples / hop, index_t{1}) * hop;
  std::vector<std::vector<float>> speakers(static_cast<std::size_t>(model.config().num_spks));
  auto state = model.initial_state(1);
  Arena arena;
  for (index_t first = 0; first < length + hop; first += chunk) {
    const index_t count = (std::min)(chunk, (length - first + hop - 1) / hop * hop + hop);
    Tensor<float, 2> now({1, count});
    if (first < length)
      std::copy_n(mixture.data() + first, (std::min)(count, length - first), now.data());
    {
      const ArenaScope scope(&arena);
      const Tensor<float, 3> made = model.forward(now, &state);
      const ArenaScope heap(nullptr);
      // The model is late by a hop.
      for (index_t t = first == 0 ? hop : 0; t < count; ++t)
        for (std::size_t s = 0; s < speakers.size(); ++s)
          speakers[s].push_back(made(0, t, static_cast<index_t>(s)));
    }
    arena.fit();
    progress((std::min)(first + count, length), length);
  }
  for (auto& s : speakers) s.resize(static_cast<std::size_t>(length));
  return speakers;
}

template <class Model>
int separate_with(const SeparateArguments& a, const typename Model::Config& c, std::size_t least) {
  const std::filesystem::path dir = a.model;
  const int rate = static_cast<int>(c.sampling_rate);
  AudioNotes notes;
  const Audio original = sequin_examples::read_audio(a.input, 0, &notes);
  Audio audio = original;
  if (original.rate != rate) {
    audio.samples = sequin_examples::resample(original.samples, original.rate, rate);
    audio.rate = rate;
    notes.push_back(a.input + ": " + std::to_string(original.rate) + " Hz resampled to " +
                    std::to_string(rate) + " Hz for the model");
  }
  if (!a.session.quiet)
    for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());
  check_length(least, rate, audio.samples.size(), a.input);

  const auto model = load_for_inference<Model>(dir);
  const auto length = static_cast<index_t>(audio.samples.size());
  const Tensor<float, 1> mixture({length}, std::span<const float>(audio.samples));
  const auto began = std::chrono::steady_clock::now();
  sequin_examples::ProgressBar bar("separating", audio.samples.size(), a.session.quiet);
  std::vector<std::vector<float>> speakers =
      speakers_of(a, model, mixture, [&](index_t done, index_t) {
        bar.update(static_cast<std::size_t>(done));
        return true;
      });
  bar.finish();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

  std::error_code failed;
  const std::filesystem::path folder = a.output;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw LoadError(a.output + ": cannot be made: " + failed.message());
  sequin_examples::AudioWriter writer;
  const std::string stem = std::filesystem::path(a.input).stem().string();
  std::vector<std::filesystem::path> written;
  for (std::size_t s = 0; s < speakers.size(); ++s) {
    int rate_out = rate;
    if (!a.model_rate && original.rate != rate) {
      speakers[s] = sequin_examples::resample(speakers[s], rate, original.rate);
      speakers[s].resize(original.samples.size());
      rate_out = original.rate;
    }
    written.push_back(folder / (stem + "_speaker" + std::to_string(s + 1) + ".wav"));
    writer.add(written.back(), speakers[s], rate_out);
  }
  writer.commit();
  for (const auto& path : written) std::printf("%s\n", path.string().c_str());
  std::printf("%.2f s of audio in %.2f s: real-time factor %.3f\n", audio.seconds(), seconds,
              seconds / audio.seconds());
  return kDone;
}

int separate(const SeparateArguments& a) {
  const ThreadScope threads(a.session);
  const Config config = Config::load(std::filesystem::path(a.model) / "config.json");
  const std::string name = model_of(config).name;
  if (name == "causal_mossformer2")
    return separate_with<CausalMossFormer2<float>>(a, CausalMossFormer2Config::read(config), 1);
  if (name != "mossformer2")
    throw ConfigError(config.label() + ": expected a model that separates, found " + name);
  const MossFormer2Config c = separator_config(config);
  return separate_with<MossFormer2<float>>(a, c, least_samples(c));
}

void add_separate(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("separate", "One WAV a speaker from a recording");
  cmd->footer(
      "Example: sequin separate in.wav --model DIR -o out/\n"
      "Any sample rate and number of channels. Long audio is cut into segments whose speakers are\n"
      "matched and cross-faded; --official decodes as the published program does. A causal model\n"
      "goes through it from beginning to end.");
  const auto a = std::make_shared<SeparateArguments>();
  cmd->add_option("input", a->input, "recording (WAV, FLAC, ...)")->required();
  cmd->add_option("--model", a->model, "folder with config.json and weights")->required();
  cmd->add_option("-o,--output", a->output, "folder for one WAV a speaker")->required();
  cmd->add_option("--segment", a->segment, "seconds that the model gets at a time (8)")
      ->check(CLI::Range(0.01, 1e5));
  cmd->add_option("--overlap", a->overlap, "seconds that segments share (2)")
      ->check(CLI::Range(0.001, 1e5));
  cmd->add_flag("--official", a->official, "the official windows: not cross-faded, not matched");
  cmd->add_flag("--model-rate", a->model_rate, "write at the model's sample rate");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return separate(*a); }; });
}

}  // namespace

static const RegisterCommand separate_command(7, add_separate);

}  // namespace sequin_cli
