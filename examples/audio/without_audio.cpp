// Takes the place of audio_file.cpp and resample.cpp where their libraries are missing.
#include "audio/audio_file.hpp"
#include "audio/resample.hpp"
#include "sequin/core/error.hpp"

namespace sequin_examples {

namespace {

[[noreturn]] void fail() {
  throw sequin::Error(
      "this program was built without libsndfile and libsamplerate, which audio files need "
      "(Debian 12: apt-get install libsndfile1-dev libsamplerate0-dev)");
}

}  // namespace

Audio read_audio(const std::filesystem::path&, int, AudioNotes*, const AudioLimits&) { fail(); }
AudioWriter::~AudioWriter() = default;
void AudioWriter::add(const std::filesystem::path&, std::span<const float>, int, SampleFormat) {
  fail();
}
void AudioWriter::commit() { fail(); }
std::vector<float> resample(std::span<const float>, int, int) { fail(); }

}  // namespace sequin_examples
