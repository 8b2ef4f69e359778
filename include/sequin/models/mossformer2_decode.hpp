/// Separation of long audio as the official program does it.
#pragma once

#include "sequin/core/arena.hpp"
#include "sequin/core/no_grad.hpp"
#include "sequin/models/mossformer2.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

/// mixture (T) -> (speakers, T'), T' >= T, by `decode_one_audio_mossformer2_ss_16k` of
/// ClearerVoice-Studio: zeros are appended, audio longer than `one_time_decode_length` is cut into
/// windows of `decode_window` that overlap by a quarter and are joined without cross-fade and
/// without matching speakers, and each speaker is brought to the level of the mixture (one of
/// silence stays silent: the official code divides 0 by 0). Beside it stands `separate_long`, which
/// mends the joints. Throws ShapeError when the window is too short.
template <Scalar T>
Tensor<T, 2> decode_official(const MossFormer2<T>& model, const Tensor<T, 1>& mixture) {
  const NoGrad no_grad;
  const MossFormer2Config& c = model.config();
  const index_t length = mixture.size();
  const auto window = static_cast<index_t>(c.sampling_rate * c.decode_window);
  const auto step = static_cast<index_t>(static_cast<double>(window) * 0.75);
  if (length < 1 || step < 1)
    throw ShapeError("decode_official: mixture is " + to_string(mixture.shape()) +
                     " and the window " + std::to_string(window) +
                     " samples, expected [T >= 1] and >= 2");
  index_t padded = length;
  if (length < window) {
    padded = window;
  } else if (length < window + step) {
    padded = window + step;
  } else if ((length - window) % step != 0) {
    padded = length + length - (length - window) / step * step;
  }
  const index_t speakers = c.num_spks;
  Tensor<T, 2> x({1, padded});
  std::copy_n(mixture.data(), length, x.data());
  Tensor<T, 2> out({speakers, padded});
  const auto write = [&](const Tensor<T, 3>& sources, index_t from, index_t to, index_t at) {
    for (index_t s = 0; s < speakers; ++s)
      for (index_t t = from; t < to; ++t) out(s, at + t) = sources(0, t, s);
  };
  if (static_cast<double>(length) > c.sampling_rate * c.one_time_decode_length) {
    const index_t give_up = (window - step) / 2;
    Arena arena;  // of the windows, one after the other
    for (index_t start = 0; start + window <= padded; start += step) {
      {
        const ArenaScope scope(&arena);
        write(model.separate(slice(x, 1, start, start + window)), start == 0 ? 0 : give_up,
              window - give_up, start);
      }
      arena.fit();
    }
  } else {
    write(model.separate(x), 0, padded, 0);
  }
  const auto level = [](const T* p, index_t n) {
    double sum = 0;
    for (index_t i = 0; i < n; ++i) sum += static_cast<double>(p[i]) * static_cast<double>(p[i]);
    return std::sqrt(sum / static_cast<double>(n));
  };
  const double wanted = level(mixture.data(), length);
  for (index_t s = 0; s < speakers; ++s) {
    T* const row = out.data() + s * padded;
    const double found = level(row, padded);
    const double factor = found == 0 ? 0 : wanted / found;
    for (index_t t = 0; t < padded; ++t)
      row[t] = static_cast<T>(static_cast<double>(row[t]) * factor);
  }
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
