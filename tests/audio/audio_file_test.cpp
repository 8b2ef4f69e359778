#include "audio/audio_file.hpp"

#include "audio/resample.hpp"
#include "sequin/core/error.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <numbers>
#include <string>

#include <unistd.h>

using namespace sequin_examples;

namespace {

std::filesystem::path work_folder() {
  auto folder = std::filesystem::temp_directory_path() / "sequin_audio_test" /
                std::to_string(static_cast<long>(::getpid()));
  std::filesystem::create_directories(folder);
  return folder;
}

std::string little(std::uint64_t value, int bytes) {
  std::string s;
  for (int i = 0; i < bytes; ++i) s += static_cast<char>(value >> (8 * i) & 255);
  return s;
}

struct WavHeader {
  int format = 1, channels = 1, bits = 16;
  std::uint32_t rate = 8000, fmt_size = 16;
  std::uint64_t data_size = std::numeric_limits<std::uint64_t>::max();
  bool fmt = true;
};

std::string wav(const std::string& data, WavHeader h = {}) {
  const int frame = h.channels * h.bits / 8;
  std::string chunks;
  if (h.fmt)
    chunks += "fmt " + little(h.fmt_size, 4) +
              (little(static_cast<std::uint64_t>(h.format), 2) +
               little(static_cast<std::uint64_t>(h.channels), 2) + little(h.rate, 4) +
               little(h.rate * static_cast<std::uint64_t>(frame), 4) +
               little(static_cast<std::uint64_t>(frame), 2) +
               little(static_cast<std::uint64_t>(h.bits), 2))
                  .substr(0, h.fmt_size);
  if (h.data_size == std::numeric_limits<std::uint64_t>::max()) h.data_size = data.size();
  chunks += "data" + little(h.data_size, 4) + data;
  return "RIFF" + little(4 + chunks.size(), 4) + "WAVE" + chunks;
}

std::string pcm(std::initializer_list<int> values) {
  std::string s;
  for (const int v : values) s += little(static_cast<std::uint64_t>(v), 2);
  return s;
}

std::filesystem::path file(const std::string& name, const std::string& bytes) {
  const auto path = work_folder() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string message(const std::filesystem::path& path) {
  try {
    read_audio(path);
  } catch (const sequin::LoadError& e) {
    REQUIRE(std::string(e.what()).find('\n') == std::string::npos);
    return std::string(e.what()).substr(path.string().size());
  }
  return "read";
}

std::vector<float> tone(double frequency, int rate, double seconds) {
  std::vector<float> x(static_cast<std::size_t>(rate * seconds));
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(
        0.5 * std::sin(2 * std::numbers::pi * frequency * static_cast<double>(i) / rate));
  return x;
}

}  // namespace

TEST_CASE("read_audio: what was written is read again, exactly in float", "[audio_file]") {
  const std::vector<float> samples = {0, 0.5f, -0.25f, 1.5f, -2, 1e-7f};
  AudioWriter writer;
  const auto folder = work_folder();
  writer.add(folder / "float.wav", samples, 16000);
  writer.add(folder / "pcm16.wav", samples, 8000, SampleFormat::kPcm16);
  writer.add(folder / "pcm24.wav", samples, 48000, SampleFormat::kPcm24);
  REQUIRE_FALSE(std::filesystem::exists(folder / "float.wav"));
  writer.commit();
  AudioNotes notes;
  const Audio exact = read_audio(folder / "float.wav", 0, &notes);
  REQUIRE(exact.samples == samples);
  REQUIRE(exact.rate == 16000);
  REQUIRE(notes.empty());
  const Audio small = read_audio(folder / "pcm16.wav");
  REQUIRE(small.samples[1] == Approx(0.5).margin(1.0 / 32767));
  REQUIRE(small.samples[3] == Approx(1).margin(1.0 / 32767));  // cut, not wrapped around
  REQUIRE(small.samples[4] == Approx(-1).margin(1.0 / 32767));
  REQUIRE(read_audio(folder / "pcm24.wav").rate == 48000);
  std::filesystem::remove_all(folder);
}

TEST_CASE("AudioWriter: nothing is left behind without a commit", "[audio_file]") {
  const auto folder = work_folder() / "uncommitted";
  std::filesystem::create_directories(folder);
  const std::vector<float> samples(10);
  {
    AudioWriter writer;
    writer.add(folder / "a.wav", samples, 8000);
    REQUIRE_THROWS_AS(writer.add(folder / "nowhere" / "b.wav", samples, 8000), sequin::LoadError);
    REQUIRE_THROWS_AS(writer.add(folder, samples, 8000), sequin::LoadError);
  }
  REQUIRE(std::filesystem::is_empty(folder));
}

TEST_CASE("read_audio: channels are averaged and what was done is noted", "[audio_file]") {
  WavHeader h;
  h.channels = 2;
  h.rate = 16000;
  AudioNotes notes;
  const auto path = file("stereo.wav", wav(pcm({16384, 0, -16384, -16384}), h));
  const Audio a = read_audio(path, 0, &notes);
  REQUIRE(a.samples == std::vector<float>{0.25f, -0.5f});
  REQUIRE(notes == AudioNotes{path.string() + ": 2 channels mixed down to one"});
  notes.clear();
  std::string long_file;
  for (int i = 0; i < 4000; ++i) long_file += pcm({100, 100});
  read_audio(file("long.wav", wav(long_file, h)), 8000, &notes);
  REQUIRE(notes.size() == 2);
  REQUIRE(notes[1].find("16000 Hz resampled to 8000 Hz") != std::string::npos);
}

TEST_CASE("read_audio: silence and clipping are noted", "[audio_file]") {
  AudioNotes notes;
  read_audio(file("silent.wav", wav(pcm({0, 0, 0}))), 0, &notes);
  REQUIRE(notes.at(0).find("silent") != std::string::npos);
  notes.clear();
  read_audio(file("clipped.wav", wav(pcm({32767, 32767, 32767, 32767, 0, -32768}))), 0, &notes);
  REQUIRE(notes.at(0).find("4 samples are clipped") != std::string::npos);
}

TEST_CASE("read_audio: hostile files are refused in one line", "[audio_file]") {
  WavHeader h;
  REQUIRE(message(work_folder() / "none.wav") == ": expected an audio file, found none");
  REQUIRE(message(work_folder()) == ": expected an audio file, found a directory");
  REQUIRE(message(file("empty.wav", "")) == ": expected an audio file, found an empty one");
  REQUIRE(message(file("text.wav", "hello")) != "read");
  REQUIRE(message(file("nothing.wav", wav(""))) != "read");
  REQUIRE(message(file("cut.wav", wav(pcm({1, 2, 3, 4})).substr(0, 48))) ==
          ": expected 8 bytes of samples as its header says, found 4");
  h.rate = 0;
  REQUIRE(message(file("rate.wav", wav(pcm({1, 2}), h))) ==
          ": expected a sample rate above 0, found 0");
  h = {};
  h.channels = 65535;
  REQUIRE(message(file("channels.wav", wav(pcm({1, 2}), h))) != "read");
  h.channels = 0;
  REQUIRE(message(file("channel.wav", wav(pcm({1, 2}), h))) != "read");
  h = {};
  h.bits = 64;
  REQUIRE(message(file("bits.wav", wav(pcm({1, 2}), h))) != "read");
  h = {};
  h.fmt = false;
  REQUIRE(message(file("format.wav", wav(pcm({1, 2}), h))) != "read");
  h = {};
  h.format = 3;
  h.bits = 32;
  const std::string nan = little(0x7fc00000, 4), infinite = little(0x7f800000, 4);
  REQUIRE(message(file("nan.wav", wav(little(0, 4) + nan, h))) ==
          ": sample 1 of channel 1: expected a number, found NaN");
  REQUIRE(message(file("infinite.wav", wav(infinite, h))) ==
          ": sample 0 of channel 1: expected a number, found infinity");
}

TEST_CASE("read_audio: chunks that are strange, missing or in another order", "[audio_file]") {
  const std::string samples = pcm({1, 2, 3, 4});
  const auto chunk = [](const std::string& name, const std::string& data) {
    return name + little(data.size(), 4) + data + std::string(data.size() % 2, '\0');
  };
  const auto fmt = [](std::size_t size, int tag, int block, int bits) {
    std::string s = little(static_cast<std::uint64_t>(tag), 2) + little(1, 2) + little(8000, 4) +
                    little(16000, 4) + little(static_cast<std::uint64_t>(block), 2) +
                    little(static_cast<std::uint64_t>(bits), 2) + std::string(64, '\0');
    return s.substr(0, size);
  };
  const auto read = [&](const std::string& chunks) {
    return message(file("chunks.wav", "RIFF" + little(4 + chunks.size(), 4) + "WAVE" + chunks));
  };
  const std::string good = chunk("fmt ", fmt(16, 1, 2, 16)), data = chunk("data", samples);
  REQUIRE(read(good + data) == "read");
  REQUIRE(read(chunk("fmt ", fmt(18, 1, 2, 16)) + data) == "read");
  for (const std::size_t size : {0u, 14u})
    REQUIRE(read(chunk("fmt ", fmt(size, 1, 2, 16)) + data) != "read");
  REQUIRE(read(data + good) != "read");
  REQUIRE(read(data) != "read");
  for (const int bits : {0, 64, 65535})
    REQUIRE(read(chunk("fmt ", fmt(16, 1, 2, bits)) + data) != "read");
  REQUIRE(read(chunk("fmt ", fmt(16, 1, 1, 7)) + data) == "read");  // 7 of the 8 bits of a byte
  REQUIRE(read(chunk("fmt ", fmt(16, 0x4242, 2, 16)) + data) != "read");  // no such coding
  // An odd size in its place, and a chunk that says it is 4 GB.
  REQUIRE(read(chunk("LIST", "INFOx") + good + data) == "read");
  REQUIRE(read("LIST" + little(0xFFFFFFF0u, 4) + good + data) != "read");
  REQUIRE(read(good + "LIST" + little(0xFFFFFFF0u, 4) + data) != "read");
  // What a block of samples is said to take is one thing or the other, never a crash.
  for (const int block : {0, 1, 3, 65535}) read(chunk("fmt ", fmt(16, 1, block, 16)) + data);
  read(good + good + data);
  read(good + data + data);
}

TEST_CASE("read_audio: more samples than the limit are refused, also after resampling",
          "[audio_file]") {
  const auto path = file("limit.wav", wav(pcm({1, 2, 3, 4, 5, 6, 7, 8})));
  AudioLimits limits;
  limits.samples = 8;
  REQUIRE(read_audio(path, 0, nullptr, limits).samples.size() == 8);
  const auto refused = [&](int rate) {
    try {
      read_audio(path, rate, nullptr, limits);
    } catch (const sequin::LoadError& e) {
      return std::string(e.what()).substr(path.string().size());
    }
    return std::string("read");
  };
  REQUIRE(refused(16000) == ": expected at most 8 samples, found 16 or more");
  REQUIRE(refused(4000) == "read");
  limits.samples = 7;
  REQUIRE(refused(0) == ": expected at most 7 samples, found 8 or more");
}

TEST_CASE("read_audio: every cut of a file is read or refused", "[audio_file]") {
  const std::string whole = wav(pcm({1, 2, 3, 4, 5}));
  for (std::size_t length = 0; length < whole.size(); ++length)
    REQUIRE(message(file("cut.wav", whole.substr(0, length))) != "read");
}

TEST_CASE("read_audio: a file written to a pipe has no sizes and is read to its end",
          "[audio_file]") {
  WavHeader h;
  h.data_size = 0xFFFFFFFF;
  REQUIRE(read_audio(file("piped.wav", wav(pcm({1, 2, 3}), h))).samples.size() == 3);
}

TEST_CASE("resample: a tone keeps its pitch, level and place", "[resample]") {
  for (const auto& [from, to] : {std::pair{48000, 8000}, {8000, 48000}, {44100, 16000}}) {
    const auto x = tone(440, from, 0.5);
    const auto y = resample(x, from, to);
    const auto expected = tone(440, to, 0.5);
    REQUIRE(y.size() == expected.size());
    double worst = 0;
    for (std::size_t i = y.size() / 10; i < y.size() * 9 / 10; ++i)
      worst = (std::max)(worst, static_cast<double>(std::abs(y[i] - expected[i])));
    REQUIRE(worst < 1e-4);  // 74 dB below the tone; the filter promises about 97 dB
  }
}

TEST_CASE("resample: what the lower rate cannot hold is gone", "[resample]") {
  const auto y = resample(tone(6000, 48000, 0.5), 48000, 8000);
  double energy = 0;
  for (std::size_t i = y.size() / 10; i < y.size() * 9 / 10; ++i)
    energy += static_cast<double>(y[i] * y[i]);
  REQUIRE(energy / static_cast<double>(y.size()) < 1e-8);
}

TEST_CASE("resample: odd rates are refused and short signals keep their length", "[resample]") {
  const std::vector<float> one = {0.5f};
  REQUIRE_THROWS_AS(resample(one, 0, 8000), sequin::ConfigError);
  REQUIRE_THROWS_AS(resample(one, 8000, 8000 * 257), sequin::ConfigError);
  REQUIRE(resample(one, 8000, 16000).size() == 2);
  REQUIRE(resample({}, 8000, 16000).empty());
  REQUIRE(resample(one, 8000, 8000) == one);
}
