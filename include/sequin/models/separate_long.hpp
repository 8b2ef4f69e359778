/// Separation of audio of any length in bounded memory: segments, matched speakers, cross-fades.
#pragma once

#include "sequin/core/arena.hpp"
#include "sequin/core/assignment.hpp"
#include "sequin/core/no_grad.hpp"
#include "sequin/core/tensor.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// How long audio is cut, in samples.
struct LongSeparationOptions {
  index_t segment = 0;  ///< what the model gets at a time
  index_t overlap = 0;  ///< of neighbouring segments; 0: a quarter of a segment
};

namespace detail {

/// Which row of `now` continues which row of `before` over `count` samples (speakers, ...): the
/// assignment of the largest correlation coefficients. Silence correlates with nothing.
template <Scalar T>
std::vector<index_t> match_speakers(const T* before, index_t before_step, const T* now,
                                    index_t now_step, index_t speakers, index_t count) {
  std::vector<double> cost(static_cast<std::size_t>(speakers * speakers));
  const auto dot = [count](const T* a, const T* b) {
    double sum = 0;
    for (index_t t = 0; t < count; ++t)
      sum += static_cast<double>(a[t]) * static_cast<double>(b[t]);
    return sum;
  };
  for (index_t i = 0; i < speakers; ++i)
    for (index_t j = 0; j < speakers; ++j) {
      const T* const a = before + i * before_step;
      const T* const b = now + j * now_step;
      const double energy = std::sqrt(dot(a, a) * dot(b, b));
      const double like = energy > 0 ? dot(a, b) / energy : 0;
      cost[static_cast<std::size_t>(i * speakers + j)] = std::isfinite(like) ? -like : 0;
    }
  return best_assignment(cost.data(), speakers);
}

}  // namespace detail

/// mixture (T) -> (speakers, T). Audio no longer than a segment is separated whole, with the result
/// of `model.separate`. Longer audio is cut into segments that overlap; each segment's speakers are
/// put in the order in which they correlate best with the part already written, and the overlap is
/// cross-faded with weights that add up to 1, so that joints neither click nor swap speakers (the
/// official decoding does both). Memory grows with the segment and the result, not with T squared.
/// `progress`, if given, gets the samples done and in all and returns false to stop: then the
/// result ends there. `model` offers separate(mixture (1, T)) -> (1, T, speakers).
/// Throws ShapeError for an empty mixture, ConfigError unless segment > overlap >= 0.
template <class Model, Scalar T>
Tensor<T, 2> separate_long(const Model& model, const Tensor<T, 1>& mixture,
                           const LongSeparationOptions& options,
                           const std::function<bool(index_t, index_t)>& progress = {}) {
  const NoGrad no_grad;
  const index_t length = mixture.size();
  const index_t segment = options.segment;
  const index_t overlap = options.overlap > 0 ? options.overlap : segment / 4;
  if (segment < 2 || overlap < 1 || overlap >= segment)
    throw ConfigError("separate_long: segment is " + std::to_string(segment) + " and overlap " +
                      std::to_string(overlap) + ", expected segment > overlap >= 1");
  if (length < 1)
    throw ShapeError("separate_long: mixture is " + to_string(mixture.shape()) +
                     ", expected [T >= 1]");
  Arena arena;  // of the segments, one after the other
  Arena* const callers = detail::active_arena;
  Tensor<T, 2> out;
  for (index_t start = 0, written = 0; written < length;) {
    const index_t count = (std::min)(segment, length - start);
    Tensor<T, 2> part({1, count});
    std::copy_n(mixture.data() + start, count, part.data());
    Tensor<T, 2> rows;  // speakers in rows
    {
      const ArenaScope scope(&arena);
      const Tensor<T, 3> sources = model.separate(part);
      const ArenaScope outer(callers);
      rows = Tensor<T, 2>({sources.extent(2), count});
      for (index_t t = 0; t < count; ++t)
        for (index_t s = 0; s < rows.extent(0); ++s) rows(s, t) = sources(0, t, s);
    }
    arena.fit();
    const index_t speakers = rows.extent(0);
    if (!out.defined()) out = Tensor<T, 2>({speakers, length});
    const index_t common = written - start;  // 0 for the first segment
    T* const to = out.data();
    const auto order = detail::match_speakers(static_cast<const T*>(to) + start, length,
                                              std::as_const(rows).data(), count, speakers, common);
    for (index_t s = 0; s < speakers; ++s) {
      const T* const from = std::as_const(rows).data() + order[static_cast<std::size_t>(s)] * count;
      T* const row = to + s * length + start;
      for (index_t t = 0; t < common; ++t) {
        // Raised cosine from the old to the new.
        const double phase =
            3.14159265358979323846 * (static_cast<double>(t) + 0.5) / static_cast<double>(common);
        const double in = 0.5 - 0.5 * std::cos(phase);
        row[t] = static_cast<T>((1 - in) * static_cast<double>(row[t]) +
                                in * static_cast<double>(from[t]));
      }
      std::copy_n(from + common, count - common, row + common);
    }
    written = start + count;
    if (progress && !progress(written, length) && written < length) {
      Tensor<T, 2> cut({speakers, written});
      for (index_t s = 0; s < speakers; ++s)
        std::copy_n(std::as_const(out).data() + s * length, written, cut.data() + s * written);
      return cut;
    }
    // The last segment is a whole one too: it begins where that fits.
    start = (std::min)(written - overlap, length - segment);
  }
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
