#include "audio/audio_file.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <cmath>

namespace sequin_fuzz {

using namespace sequin_examples;

namespace {

void check_audio(const Audio& audio) {
  require(!audio.samples.empty() && audio.rate > 0, "audio has samples and a rate");
  require(std::ranges::all_of(audio.samples, [](float v) { return std::isfinite(v); }),
          "samples are numbers");
}

}  // namespace

void fuzz_wav(std::span<const std::byte> bytes) {
  const auto path = scratch("audio.wav"), copy = scratch("copy.wav");
  sequin_test::put(path, text_of(bytes));
  Audio audio;
  AudioNotes notes;
  AudioLimits limits;
  limits.samples = 1 << 18;
  if (!accepts([&] { audio = read_audio(path, 0, &notes, limits); })) return;
  check_audio(audio);
  require(audio.samples.size() <= limits.samples, "no more samples than allowed");
  AudioWriter writer;
  writer.add(copy, audio.samples, audio.rate);
  writer.commit();
  const Audio again = read_audio(copy);
  require(again.samples == audio.samples && again.rate == audio.rate,
          "audio is written as it was read");
  if (accepts([&] { audio = read_audio(path, 8000, nullptr, limits); })) {
    check_audio(audio);
    require(audio.rate == 8000, "audio has the rate that was asked for");
  }
}

}  // namespace sequin_fuzz
