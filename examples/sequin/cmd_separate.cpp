// sequin separate: one WAV a speaker from a recording of several.
#include "commands.hpp"
#include "models.hpp"
#include "session_options.hpp"

#include "../common/progress.hpp"
#include "audio/audio_file.hpp"
#include "audio/resample.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/mossformer2_decode.hpp"
#include "sequin/models/separate_long.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;
using sequin_examples::Audio;
using sequin_examples::AudioNotes;

namespace {

struct SeparateArguments {
  std::string input, model, output;
  double segment = 8, overlap = 2;
  bool official = false, model_rate = false;
  SessionOptions session;
};

double energy(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}

/// Rows of (speakers, T) as signals of `length` samples.
std::vector<std::vector<float>> rows_of(const Tensor<float, 2>& t, std::size_t length) {
  std::vector<std::vector<float>> rows;
  for (index_t s = 0; s < t.extent(0); ++s) {
    const float* const from = t.data() + s * t.extent(1);
    rows.emplace_back(from, from + (std::min)(static_cast<index_t>(length), t.extent(1)));
  }
  return rows;
}

/// A network that does not mask has no level of its own: the speakers' sum gets the mixture's.
void match_level(std::vector<std::vector<float>>& speakers, std::span<const float> mixture) {
  std::vector<float> sum(mixture.size());
  for (const auto& s : speakers)
    for (std::size_t t = 0; t < s.size(); ++t) sum[t] += s[t];
  const double own = energy(sum);
  if (!(own > 0)) return;
  const auto factor = static_cast<float>(std::sqrt(energy(mixture) / own));
  for (auto& s : speakers)
    for (float& v : s) v *= factor;
}

int separate(const SeparateArguments& a) {
  const ThreadScope threads(a.session);
  const std::filesystem::path dir = a.model;
  const Config config = Config::load(dir / "config.json");
  if (std::string(model_of(config).name) != "mossformer2")
    throw ConfigError(config.label() + ": expected a model that separates, found " +
                      model_of(config).name);
  const MossFormer2Config c = MossFormer2Config::read(config);
  if (!c.separates())
    throw ConfigError(config.label() + ": layout: expected a network that separates speakers, " +
                      "found one that makes masks of features");
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
  const auto least = static_cast<std::size_t>(c.encoder_kernel_size + c.encoder_kernel_size / 2);
  if (audio.samples.size() < least)
    throw LoadError(a.input + ": expected at least " + std::to_string(least) + " samples at " +
                    std::to_string(rate) + " Hz, found " + std::to_string(audio.samples.size()));

  const auto model = load_for_inference<MossFormer2<float>>(dir);
  const auto length = static_cast<index_t>(audio.samples.size());
  const Tensor<float, 1> mixture({length}, std::span<const float>(audio.samples));
  const auto began = std::chrono::steady_clock::now();
  Tensor<float, 2> sources;
  if (a.official) {
    sources = decode_official(model, mixture);
  } else {
    LongSeparationOptions options;
    options.segment = static_cast<index_t>(std::llround(a.segment * rate));
    options.overlap = static_cast<index_t>(std::llround(a.overlap * rate));
    options.segment = (std::max)(options.segment, static_cast<index_t>(2 * least));
    sequin_examples::ProgressBar bar("separating", audio.samples.size(), a.session.quiet);
    sources = separate_long(model, mixture, options, [&](index_t done, index_t) {
      bar.update(static_cast<std::size_t>(done));
      return true;
    });
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  auto speakers = rows_of(sources, audio.samples.size());
  if (!c.masks && !a.official) match_level(speakers, audio.samples);

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
