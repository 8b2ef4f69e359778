// realtime signal: audio made by rule.
#include "commands.hpp"
#include "signals.hpp"

#include "audio/audio_file.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

namespace realtime {

namespace {

struct SignalArguments {
  std::string output;
  double seconds = 10;
  int rate = 48000;
  std::uint64_t seed = 1;
  bool effect = false;
};

int write_signal(const SignalArguments& a) {
  std::vector<float> signal = practice_signal(a.seconds, a.rate, a.seed);
  if (a.effect) signal = overdrive(signal, a.rate);
  sequin_examples::AudioWriter writer;
  writer.add(a.output, signal, a.rate);
  writer.commit();
  return 0;
}

}  // namespace

void add_signal(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("signal", "Write a WAV of plucked notes and noise");
  cmd->footer("Example: realtime signal notes.wav --seconds 10");
  const auto a = std::make_shared<SignalArguments>();
  cmd->add_option("output", a->output, "the WAV to write")->required();
  cmd->add_option("--seconds", a->seconds, "(10)")->check(CLI::Range(0.001, 36000.0));
  cmd->add_option("--rate", a->rate, "samples a second (48000)")->check(CLI::Range(8000, 768000));
  cmd->add_option("--seed", a->seed, "another signal (1)");
  cmd->add_flag("--effect", a->effect, "as it comes out of the overdrive that `train` learns");
  cmd->callback([&chosen, a] { chosen = [a] { return write_signal(*a); }; });
}

}  // namespace realtime
