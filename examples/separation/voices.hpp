/// Voices to mix: a folder of them, each a folder of audio files.
#pragma once

#include "audio/audio_file.hpp"

#include "sequin/core/error.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sequin_separation {

using sequin::index_t;

/// All that one voice says, its files one after the other.
struct Voice {
  std::string name;
  std::vector<float> samples;
  double power = 0;  ///< mean square
};

namespace detail {

inline std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code failed;
  for (std::filesystem::directory_iterator i(folder, failed), end; !failed && i != end;
       i.increment(failed))
    paths.push_back(i->path());
  if (failed) throw sequin::LoadError(folder.string() + ": cannot be read: " + failed.message());
  std::ranges::sort(paths);
  return paths;
}

}  // namespace detail

/// The voices of `folder`/NAME/*.{wav,flac,ogg}, resampled to `rate`, by kind: what stands before
/// the first '-' of NAME. With `kind`, only those of that kind. Throws LoadError: a file that is no
/// audio, a silent voice, fewer than two voices.
inline std::vector<std::vector<Voice>> read_voices(const std::filesystem::path& folder, int rate,
                                                   const std::string& kind = {}) {
  std::map<std::string, std::vector<Voice>> kinds;
  std::size_t count = 0;
  for (const auto& voice_folder : detail::sorted_entries(folder)) {
    if (!std::filesystem::is_directory(voice_folder)) continue;
    Voice voice{voice_folder.filename().string(), {}, 0};
    const std::string of_voice = voice.name.substr(0, voice.name.find('-'));
    if (!kind.empty() && of_voice != kind) continue;
    for (const auto& path : detail::sorted_entries(voice_folder)) {
      const std::string extension = path.extension().string();
      if (extension != ".wav" && extension != ".flac" && extension != ".ogg") continue;
      const auto audio = sequin_examples::read_audio(path, rate);
      voice.samples.insert(voice.samples.end(), audio.samples.begin(), audio.samples.end());
    }
    if (voice.samples.empty()) continue;
    for (const float s : voice.samples)
      voice.power += static_cast<double>(s) * static_cast<double>(s);
    voice.power /= static_cast<double>(voice.samples.size());
    if (!(voice.power > 0)) throw sequin::LoadError(voice_folder.string() + ": a silent voice");
    kinds[of_voice].push_back(std::move(voice));
    ++count;
  }
  if (count < 2)
    throw sequin::LoadError(folder.string() + ": " + std::to_string(count) + " voices" +
                            (kind.empty() ? "" : " of kind " + kind) +
                            ", expected two folders of audio files or more");
  std::vector<std::vector<Voice>> voices;
  for (auto& [name, list] : kinds) voices.push_back(std::move(list));
  return voices;
}

}  // namespace sequin_separation
