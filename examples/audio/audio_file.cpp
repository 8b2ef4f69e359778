#include "audio/audio_file.hpp"

#include "audio/resample.hpp"
#include "sequin/core/error.hpp"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>

#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace sequin_examples {

using sequin::LoadError;

namespace {

struct CloseSound {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using Sound = std::unique_ptr<SNDFILE, CloseSound>;

std::string shown(const std::filesystem::path& path) {
  return sequin::detail::printable(path.string(), 400);
}

/// libsndfile's words without a full stop or line break.
std::string reason(SNDFILE* file) {
  std::string text = sequin::detail::printable(sf_strerror(file), 200);
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

void check_is_file(const std::filesystem::path& path) {
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  const std::string name = shown(path);
  if (status.type() == std::filesystem::file_type::not_found)
    throw LoadError(name + ": expected an audio file, found none");
  if (failed) throw LoadError(name + ": " + failed.message());
  // Opening a pipe would wait for its writer.
  if (status.type() != std::filesystem::file_type::regular)
    throw LoadError(name + ": expected an audio file, found a " +
                    (std::filesystem::is_directory(status) ? "directory" : "device or pipe"));
  if (std::filesystem::file_size(path, failed) == 0 && !failed)
    throw LoadError(name + ": expected an audio file, found an empty one");
}

std::uint32_t little_endian(const unsigned char* at) {
  return static_cast<std::uint32_t>(at[0]) | static_cast<std::uint32_t>(at[1]) << 8 |
         static_cast<std::uint32_t>(at[2]) << 16 | static_cast<std::uint32_t>(at[3]) << 24;
}

/// libsndfile reads what is there of a WAV that was cut off and says nothing. Sizes 0 and
/// 0xFFFFFFFF are left by programs that wrote to a pipe: those files end where they end.
void check_riff_is_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::error_code failed;
  const std::uint64_t size = std::filesystem::file_size(path, failed);
  unsigned char head[12] = {};
  file.read(reinterpret_cast<char*>(head), 12);
  if (failed || !file || std::memcmp(head, "RIFF", 4) != 0 || std::memcmp(head + 8, "WAVE", 4) != 0)
    return;
  std::uint64_t at = 12;
  for (int chunks = 0; chunks < 100000 && at + 8 <= size; ++chunks) {
    file.seekg(static_cast<std::streamoff>(at));
    if (!file.read(reinterpret_cast<char*>(head), 8)) return;
    const std::uint64_t length = little_endian(head + 4);
    at += 8;
    if (std::memcmp(head, "data", 4) == 0) {
      if (length != 0 && length < 0xFFFFFF00u && length > size - at)
        throw LoadError(shown(path) + ": expected " + std::to_string(length) +
                        " bytes of samples as its header says, found " + std::to_string(size - at));
      return;
    }
    at += length + length % 2;
  }
}

struct Opened {
  Sound sound;
  SF_INFO info{};
};

Opened open_sound(const std::filesystem::path& path) {
  check_is_file(path);
  Opened o;
  o.sound.reset(sf_open(path.c_str(), SFM_READ, &o.info));
  const std::string why = o.sound ? "" : reason(nullptr);
  // libsndfile's name for a header with a rate of 0.
  if (o.info.samplerate < 1 && (o.sound || why.find("SF_INFO") != std::string::npos))
    throw LoadError(shown(path) + ": expected a sample rate above 0, found " +
                    std::to_string(o.info.samplerate));
  if (!o.sound) throw LoadError(shown(path) + ": expected an audio file, found: " + why);
  if (o.info.channels < 1)
    throw LoadError(shown(path) + ": expected channels, found " + std::to_string(o.info.channels));
  check_riff_is_whole(path);
  return o;
}

/// Samples at or beyond full scale that stand in a row: one alone is a peak, three are cut off.
class ClippingCount {
 public:
  void add(float sample) {
    run_ = std::abs(sample) >= 0.9999f ? run_ + 1 : 0;
    if (run_ >= 3) count_ += run_ == 3 ? 3 : 1;
  }
  std::uint64_t count() const { return count_; }

 private:
  std::uint64_t run_ = 0, count_ = 0;
};

void check_count(const std::filesystem::path& path, std::uint64_t samples,
                 const AudioLimits& limits) {
  if (samples > limits.samples)
    throw LoadError(shown(path) + ": expected at most " + std::to_string(limits.samples) +
                    " samples, found " + std::to_string(samples) + " or more");
}

/// The average of the channels.
std::vector<float> read_mixed(const std::filesystem::path& path, const Opened& o,
                              const AudioLimits& limits, std::uint64_t& clipped) {
  const auto channels = static_cast<std::size_t>(o.info.channels);
  constexpr std::size_t kBlock = 65536;
  const std::size_t block_frames = (std::max)(std::size_t{1}, kBlock / channels);
  std::vector<float> block(block_frames * channels), samples;
  std::vector<ClippingCount> clipping(channels);
  for (;;) {
    const sf_count_t got =
        sf_readf_float(o.sound.get(), block.data(), static_cast<sf_count_t>(block_frames));
    if (got <= 0) break;
    check_count(path, samples.size() + static_cast<std::uint64_t>(got), limits);
    for (std::size_t frame = 0; frame < static_cast<std::size_t>(got); ++frame) {
      double sum = 0;
      for (std::size_t c = 0; c < channels; ++c) {
        const float v = block[frame * channels + c];
        if (!std::isfinite(v))
          throw LoadError(shown(path) + ": sample " + std::to_string(samples.size()) +
                          " of channel " + std::to_string(c + 1) + ": expected a number, found " +
                          (std::isnan(v) ? "NaN" : "infinity"));
        clipping[c].add(v);
        sum += static_cast<double>(v);
      }
      samples.push_back(static_cast<float>(sum / static_cast<double>(channels)));
    }
  }
  if (const int error = sf_error(o.sound.get()); error != SF_ERR_NO_ERROR)
    throw LoadError(shown(path) + ": expected an audio file, found: " + reason(o.sound.get()));
  if (samples.empty()) throw LoadError(shown(path) + ": expected samples, found none");
  const bool known = o.info.frames > 0 && o.info.frames < (sf_count_t{1} << 48);
  if (known && samples.size() < static_cast<std::uint64_t>(o.info.frames))
    throw LoadError(shown(path) + ": expected " + std::to_string(o.info.frames) +
                    " samples as its header says, found " + std::to_string(samples.size()));
  for (const ClippingCount& c : clipping) clipped += c.count();
  return samples;
}

}  // namespace

Audio read_audio(const std::filesystem::path& path, int rate, AudioNotes* notes,
                 const AudioLimits& limits) {
  const Opened o = open_sound(path);
  std::uint64_t clipped = 0;
  Audio audio{read_mixed(path, o, limits, clipped), o.info.samplerate};
  const auto note = [&](const std::string& text) {
    if (notes != nullptr) notes->push_back(shown(path) + ": " + text);
  };
  if (o.info.channels > 1) note(std::to_string(o.info.channels) + " channels mixed down to one");
  if (clipped > 0) note(std::to_string(clipped) + " samples are clipped");
  if (std::all_of(audio.samples.begin(), audio.samples.end(), [](float v) { return v == 0; }))
    note("silent");
  if (rate == 0 || rate == audio.rate) return audio;
  note(std::to_string(audio.rate) + " Hz resampled to " + std::to_string(rate) + " Hz");
  if (rate > audio.rate) {
    const auto from = static_cast<std::uint64_t>(audio.rate), to = static_cast<std::uint64_t>(rate);
    const std::uint64_t count = audio.samples.size();
    check_count(path, count / from * to + count % from * to / from, limits);
  }
  audio.samples = resample(audio.samples, audio.rate, rate);
  audio.rate = rate;
  if (audio.samples.empty())
    throw LoadError(shown(path) + ": expected at least one sample at " + std::to_string(rate) +
                    " Hz, found none");
  return audio;
}

AudioWriter::~AudioWriter() {
  std::error_code ignored;
  for (const Pending& p : pending_) std::filesystem::remove(p.temporary, ignored);
}

void AudioWriter::add(const std::filesystem::path& path, std::span<const float> samples, int rate,
                      SampleFormat format) {
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw LoadError(shown(path) + ": expected a file to write, found a " +
                    (std::filesystem::is_directory(status) ? "directory" : "device or pipe"));
  Pending p{path, path};
  p.temporary += ".tmp" + std::to_string(std::random_device()());
  SF_INFO info{};
  info.samplerate = rate;
  info.channels = 1;
  info.format = SF_FORMAT_WAV | (format == SampleFormat::kPcm16   ? SF_FORMAT_PCM_16
                                 : format == SampleFormat::kPcm24 ? SF_FORMAT_PCM_24
                                                                  : SF_FORMAT_FLOAT);
  pending_.push_back(p);
  Sound sound(sf_open(p.temporary.c_str(), SFM_WRITE, &info));
  if (!sound) throw LoadError(shown(path) + ": cannot be written: " + reason(nullptr));
  // Integer formats would wrap around beyond full scale.
  sf_command(sound.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
  // The PEAK chunk holds the time of day: two runs would not write the same bytes.
  sf_command(sound.get(), SFC_SET_ADD_PEAK_CHUNK, nullptr, SF_FALSE);
  const auto count = static_cast<sf_count_t>(samples.size());
  if (sf_write_float(sound.get(), samples.data(), count) != count)
    throw LoadError(shown(path) + ": cannot be written: " + reason(sound.get()));
  sf_write_sync(sound.get());
  if (const int error = sf_close(sound.release()); error != SF_ERR_NO_ERROR)
    throw LoadError(shown(path) + ": cannot be written: " + sf_error_number(error));
}

void AudioWriter::commit() {
  for (Pending& p : pending_) {
#if !defined(_WIN32)
    if (const int descriptor = ::open(p.temporary.c_str(), O_RDONLY | O_CLOEXEC); descriptor >= 0) {
      const bool synced = ::fsync(descriptor) == 0;
      ::close(descriptor);
      if (!synced) throw LoadError(shown(p.target) + ": cannot be written");
    }
#endif
    std::error_code failed;
    std::filesystem::rename(p.temporary, p.target, failed);
    if (failed) throw LoadError(shown(p.target) + ": cannot be replaced: " + failed.message());
  }
  pending_.clear();
}

}  // namespace sequin_examples
