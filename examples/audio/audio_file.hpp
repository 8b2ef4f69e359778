/// Audio files in and out, of any format that libsndfile knows.
#pragma once

#include "sequin/core/shape.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace sequin_examples {

using sequin::index_t;

/// One channel.
struct Audio {
  std::vector<float> samples;  ///< full scale is 1
  int rate = 0;                ///< samples a second

  double seconds() const { return static_cast<double>(samples.size()) / rate; }
};

/// What reading a file had to do to it, one line each, such as
/// "in.wav: 48000 Hz resampled to 8000 Hz"; empty when it was as wanted.
using AudioNotes = std::vector<std::string>;

/// What a file may ask of a reader; packed formats hold far more samples than bytes.
struct AudioLimits {
  std::uint64_t samples = std::uint64_t{1} << 30;  ///< of a channel, as stored and resampled
};

/// Reads a file as one channel at `rate` (0: the file's own): channels are averaged, other rates
/// resampled. Notes say what was converted, and when the file is silent or clipped, which is no
/// error. Throws LoadError naming the file when it is no audio, empty, shorter than its header
/// says, beyond the limits or holds NaN or infinity. Memory follows what the file really holds,
/// whatever its header says.
Audio read_audio(const std::filesystem::path& path, int rate = 0, AudioNotes* notes = nullptr,
                 const AudioLimits& limits = {});

/// How samples are stored.
enum class SampleFormat { kFloat, kPcm16, kPcm24 };

/// Writes WAV files, all or none: they are made beside their targets and renamed by `commit`.
/// Without it, or when something throws, nothing is left behind. PCM is cut at full scale.
class AudioWriter {
 public:
  AudioWriter() = default;
  AudioWriter(const AudioWriter&) = delete;
  AudioWriter& operator=(const AudioWriter&) = delete;
  ~AudioWriter();

  /// Throws LoadError when the file cannot be written.
  void add(const std::filesystem::path& path, std::span<const float> samples, int rate,
           SampleFormat format = SampleFormat::kFloat);
  /// Throws LoadError when a file cannot be put in its place.
  void commit();

 private:
  struct Pending {
    std::filesystem::path temporary, target;
  };
  std::vector<Pending> pending_;
};

}  // namespace sequin_examples
