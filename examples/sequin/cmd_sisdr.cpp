// sequin sisdr: scores separated signals against the true ones.
#include "commands.hpp"

#include "audio/audio_file.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/train/separation_metrics.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <memory>

namespace sequin_cli {

using namespace sequin;
using sequin_examples::Audio;
using sequin_examples::AudioNotes;
using sequin_examples::read_audio;

namespace {

struct SisdrArguments {
  std::vector<std::string> estimates, sources;
  std::string mixture;
  bool json = false, cut = false, quiet = false;
};

/// The files, all at one rate and of one length.
struct Signals {
  std::vector<Audio> files;
  std::vector<std::span<const float>> views;

  Signals(const std::vector<std::string>& paths, AudioNotes& notes) {
    for (const std::string& path : paths) files.push_back(read_audio(path, 0, &notes));
  }
  /// Takes the first `length` samples of each; all there are unless `cut`.
  void take(const std::vector<std::string>& paths, int rate, std::size_t length, bool cut) {
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (files[i].rate != rate)
        throw LoadError(paths[i] + ": expected " + std::to_string(rate) +
                        " Hz as the first source, found " + std::to_string(files[i].rate));
      if (!cut && files[i].samples.size() != length)
        throw LoadError(paths[i] + ": expected " + std::to_string(length) +
                        " samples as the first source (or --cut), found " +
                        std::to_string(files[i].samples.size()));
      views.push_back(std::span<const float>(files[i].samples).first(length));
    }
  }
  std::size_t shortest(std::size_t least) const {
    for (const Audio& a : files) least = (std::min)(least, a.samples.size());
    return least;
  }
};

void print_json(const SisdrArguments& a, const SeparationScore& score) {
  JsonWriter json;
  json.begin_object().key("sources").begin_array();
  for (std::size_t j = 0; j < score.si_sdr.size(); ++j) {
    json.begin_object().key("source").value(a.sources[j]);
    json.key("estimate").value(a.estimates[static_cast<std::size_t>(score.estimate_of_source[j])]);
    json.key("si_sdr").value(score.si_sdr[j]);
    if (!score.mixture.empty()) json.key("mixture").value(score.mixture[j]);
    json.end_object();
  }
  json.end_array().key("si_sdr").value(score.mean_si_sdr());
  if (!score.mixture.empty()) {
    json.key("mixture").value(score.mean_mixture());
    json.key("si_sdri").value(score.improvement());
  }
  std::printf("%s\n", json.end_object().text().c_str());
}

/// NaN without the sign that printf would show.
double shown(double decibels) { return std::isnan(decibels) ? std::abs(decibels) : decibels; }

void print_table(const SisdrArguments& a, const SeparationScore& score) {
  const bool mixed = !score.mixture.empty();
  for (std::size_t j = 0; j < score.si_sdr.size(); ++j) {
    const auto i = static_cast<std::size_t>(score.estimate_of_source[j]);
    std::printf("%s  <-  %s  %.4f dB", a.sources[j].c_str(), a.estimates[i].c_str(),
                shown(score.si_sdr[j]));
    if (mixed) std::printf("  (mixture %.4f dB)", shown(score.mixture[j]));
    std::printf("\n");
  }
  std::printf("SI-SDR %.4f dB", shown(score.mean_si_sdr()));
  if (mixed) std::printf(", SI-SDRi %.4f dB", shown(score.improvement()));
  std::printf("\n");
}

int run_sisdr(const SisdrArguments& a) {
  if (a.estimates.size() != a.sources.size())
    throw ConfigError("--estimate: expected " + std::to_string(a.sources.size()) +
                      " files as --source, found " + std::to_string(a.estimates.size()));
  AudioNotes notes;
  Signals sources(a.sources, notes), estimates(a.estimates, notes);
  std::vector<std::string> mixture_path;
  if (!a.mixture.empty()) mixture_path.push_back(a.mixture);
  Signals mixture(mixture_path, notes);
  if (!a.quiet)
    for (const std::string& note : notes) std::fprintf(stderr, "%s\n", note.c_str());

  std::size_t length = sources.files[0].samples.size();
  if (a.cut) length = mixture.shortest(estimates.shortest(sources.shortest(length)));
  const int rate = sources.files[0].rate;
  sources.take(a.sources, rate, length, a.cut);
  estimates.take(a.estimates, rate, length, a.cut);
  mixture.take(mixture_path, rate, length, a.cut);

  const SeparationScore score =
      score_separation<float>(estimates.views, sources.views,
                              mixture.views.empty() ? std::span<const float>{} : mixture.views[0]);
  if (a.json)
    print_json(a, score);
  else
    print_table(a, score);
  return kDone;
}

}  // namespace

static void add_sisdr(CLI::App& app, Action& chosen) {
  CLI::App* const cmd =
      app.add_subcommand("sisdr", "Score separated audio against the true sources");
  cmd->footer(
      "Example: sequin sisdr --estimate a.wav b.wav --source 1.wav 2.wav --mixture mix.wav\n"
      "Finds which estimate belongs to which source; with the mixture also SI-SDRi.");
  const auto a = std::make_shared<SisdrArguments>();
  cmd->add_option("--estimate", a->estimates, "what was separated, one file a speaker")->required();
  cmd->add_option("--source", a->sources, "the true speakers")->required();
  cmd->add_option("--mixture", a->mixture, "what was separated from");
  cmd->add_flag("--cut", a->cut, "use what all files have when their lengths differ");
  cmd->add_flag("--quiet", a->quiet, "no notes on what the files are like");
  cmd->add_flag("--json", a->json, "print JSON");
  cmd->callback([&chosen, a] { chosen = [a] { return run_sisdr(*a); }; });
}

static const RegisterCommand sisdr_command(8, add_sisdr);

}  // namespace sequin_cli
