#include "audio/resample.hpp"

#include "sequin/core/error.hpp"

#include <samplerate.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

namespace sequin_examples {

namespace {

struct Converter {
  int error = 0;
  SRC_STATE* state = src_new(SRC_SINC_BEST_QUALITY, 1, &error);

  Converter() = default;
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;
  ~Converter() { src_delete(state); }
};

[[noreturn]] void fail(int error) {
  throw sequin::Error(std::string("resample: ") + src_strerror(error));
}

}  // namespace

std::vector<float> resample(std::span<const float> samples, int from, int to) {
  const double ratio = from > 0 ? static_cast<double>(to) / from : 0.0;
  if (from < 1 || to < 1 || src_is_valid_ratio(ratio) == 0)
    throw sequin::ConfigError("resample: from " + std::to_string(from) + " Hz to " +
                              std::to_string(to) +
                              " Hz: expected rates above 0 that differ by at most 256 times");
  if (from == to) return {samples.begin(), samples.end()};
  const auto length =
      static_cast<std::size_t>(std::llround(static_cast<double>(samples.size()) * ratio));
  std::vector<float> out(length);
  Converter converter;
  if (converter.state == nullptr) fail(converter.error);
  std::size_t read = 0, written = 0;
  // In pieces: libsamplerate counts frames in a long, and its answer may fall short by one.
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  while (written < length) {
    const std::size_t piece = (std::min)(kPiece, samples.size() - read);
    SRC_DATA data{};
    data.data_in = samples.data() + read;
    data.input_frames = static_cast<long>(piece);
    data.data_out = out.data() + written;
    data.output_frames = static_cast<long>((std::min)(kPiece, length - written));
    data.end_of_input = read + piece == samples.size() ? 1 : 0;
    data.src_ratio = ratio;
    if (const int error = src_process(converter.state, &data)) fail(error);
    read += static_cast<std::size_t>(data.input_frames_used);
    written += static_cast<std::size_t>(data.output_frames_gen);
    if (data.input_frames_used == 0 && data.output_frames_gen == 0) break;
  }
  return out;
}

}  // namespace sequin_examples
