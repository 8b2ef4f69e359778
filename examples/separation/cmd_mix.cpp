// separation mix: mixtures as files, for `sequin separate` and `sequin sisdr`.
#include "commands.hpp"
#include "mixtures.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <memory>

namespace sequin_separation {

namespace {

struct MixArguments {
  std::string speech, output, kind;
  double seconds = 4;
  int count = 1, rate = 8000;
  std::uint64_t seed = 1;
};

int mix(const MixArguments& a) {
  MixtureOptions options;
  options.samples = static_cast<index_t>(std::llround(a.seconds * a.rate));
  const Mixtures mixtures(read_voices(a.speech, a.rate, a.kind), options);
  const std::filesystem::path out = a.output;
  std::error_code failed;
  std::filesystem::create_directories(out, failed);
  if (failed) throw sequin::LoadError(a.output + ": cannot be made: " + failed.message());
  sequin::Generator generator(a.seed);
  MixtureBatch batch;
  sequin_examples::AudioWriter writer;
  const auto n = static_cast<std::size_t>(options.samples);
  for (int i = 1; i <= a.count; ++i) {
    mixtures.draw(generator, 1, batch);
    const auto write = [&](const std::string& name, const float* samples) {
      writer.add(out / (std::to_string(i) + name + ".wav"), {samples, n}, a.rate,
                 sequin_examples::SampleFormat::kPcm16);
    };
    write("", batch.mixture.data());
    write("_source1", batch.sources.data());
    write("_source2", batch.sources.data() + options.samples);
  }
  writer.commit();
  std::printf("%s: %d mixtures of %g s and their sources\n", a.output.c_str(), a.count, a.seconds);
  return 0;
}

}  // namespace

void add_mix(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("mix", "Mixtures of two voices as WAV files");
  const auto a = std::make_shared<MixArguments>();
  cmd->add_option("--speech", a->speech, "folder of voices, each a folder of audio files")
      ->required();
  cmd->add_option("-o,--output", a->output, "folder for N.wav and N_source{1,2}.wav")->required();
  cmd->add_option("--kind", a->kind, "only voices named KIND-...");
  cmd->add_option("--count", a->count, "mixtures")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  cmd->add_option("--seconds", a->seconds, "of each mixture")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 600.0));
  cmd->add_option("--rate", a->rate, "samples a second")
      ->capture_default_str()
      ->check(CLI::Range(1000, 192000));
  cmd->add_option("--seed", a->seed, "of voices, places and levels")->capture_default_str();
  cmd->callback([&chosen, a] { chosen = [a] { return mix(*a); }; });
}

}  // namespace sequin_separation
