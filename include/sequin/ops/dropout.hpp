/// Dropout while training.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/core/random.hpp"

#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// y[i] = x[i] * (kept ? factor : 0) for i in [begin, end), begin a multiple of 8: NaN stays NaN,
/// as in PyTorch. Element i is dropped when its 16 bits of the sequence `key` are below
/// `threshold`: no matter how the range was cut.
template <class T>
void dropout_range(const T* x, T* y, index_t begin, index_t end, std::uint64_t key,
                   std::uint32_t threshold, T factor) {
  for (index_t i = begin; i < end; i += 8) {
    const auto words = philox(key, static_cast<std::uint64_t>(i / 8), 1);
    const index_t count = end - i < 8 ? end - i : 8;
    for (index_t j = 0; j < count; ++j) {
      const std::uint32_t bits = (words[static_cast<std::size_t>(j / 2)] >> (j % 2 * 16)) & 0xffffu;
      y[i + j] = x[i + j] * (bits < threshold ? T{0} : factor);
    }
  }
}

}  // namespace detail

/// Sets elements to 0 with probability `p` (to a 1/65536) and divides the others by 1 - p. Draws
/// one key from `generator`; with p = 0 gives x itself and draws nothing. For training: at
/// inference, do not call it. Throws ConfigError unless 0 <= p < 1.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> dropout(const Tensor<T, Rank>& x, double p, Generator& generator) {
  if (!(p >= 0 && p < 1)) detail::fail<ConfigError>({"dropout: p is ", p, ", expected 0 <= p < 1"});
  if (p == 0) return x;
  const std::uint64_t key = generator.fork();
  const auto threshold = static_cast<std::uint32_t>(p * 65536.0 + 0.5);
  const T factor = static_cast<T>(1 / (1 - p));
  const auto run = [key, threshold, factor](const Tensor<T, Rank>& from) {
    auto to = Tensor<T, Rank>::empty(from.shape());
    T* const out = to.data();
    parallel_for(from.size(), index_t{8192}, [&](index_t begin, index_t end) {
      detail::dropout_range(from.data(), out, begin, end, key, threshold, factor);
    });
    return to;
  };
  auto y = run(x);
  if (Recorder* tape = recording(x))
    tape->push([run, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, run(dy));
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(dropout);
