// sequin separate: one WAV a speaker from a recording of several.
#include "commands.hpp"
#include "models.hpp"
#include "separate_signal.hpp"
#include "session_options.hpp"

#include "../common/progress.hpp"
#include "audio/audio_file.hpp"
#include "audio/resample.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/mossformer2_decode.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
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

int separate(const SeparateArguments& a) {
  const ThreadScope threads(a.session);
  const std::filesystem::path dir = a.model;
  const Config config = Config::load(dir / "config.json");
  if (std::string(model_of(config).name) != "mossformer2")
    throw ConfigError(config.label() + ": expected a model that separates, found " +
                      model_of(config).name);
  const MossFormer2Config c = separator_config(config);
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
  check_length(c, audio.samples.size(), a.input);

  const auto model = load_for_inference<MossFormer2<float>>(dir);
  const auto length = static_cast<index_t>(audio.samples.size());
  const Tensor<float, 1> mixture({length}, std::span<const float>(audio.samples));
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::vector<float>> speakers;
  if (a.official) {
    speakers = rows_of(decode_official(model, mixture), audio.samples.size());
  } else {
    sequin_examples::ProgressBar bar("separating", audio.samples.size(), a.session.quiet);
    speakers = separate_signal(model, mixture, {a.segment, a.overlap}, [&](index_t done, index_t) {
      bar.update(static_cast<std::size_t>(done));
      return true;
    });
  }
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

void add_separate(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("separate", "One WAV a speaker from a recording");
  cmd->footer(
      "Example: sequin separate in.wav --model DIR -o out/\n"
      "Any sample rate and number of channels. Long audio is cut into segments whose speakers are\n"
      "matched and cross-faded; --official decodes as the published program does.");
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
