/// Frames of a signal that overlap, and the sum of such frames.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"

#include <algorithm>
#include <string>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <Scalar T>
Tensor<T, 3> cut_frames(const Tensor<T, 2>& x, index_t count, index_t size, index_t hop) {
  auto y = Tensor<T, 3>::empty({x.extent(0), count, size});
  T* const to = y.data();
  parallel_for(x.extent(0) * count, 16384 / (size + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i)
      std::copy_n(x.data() + i / count * x.extent(1) + i % count * hop, size, to + i * size);
  });
  return y;
}

/// Each sample takes its frames in ascending order: no matter how the range was cut.
template <Scalar T>
Tensor<T, 2> add_frames(const Tensor<T, 3>& x, index_t hop, index_t length) {
  const index_t count = x.extent(1);
  const index_t size = x.extent(2);
  Tensor<T, 2> y({x.extent(0), length});
  T* const to = y.data();
  parallel_for(x.extent(0) * length, index_t{4096}, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const index_t b = i / length;
      const index_t t = i % length;
      const index_t first = t < size ? 0 : (t - size) / hop + 1;
      const index_t last = (std::min)(t / hop, count - 1);
      T sum{0};
      for (index_t f = first; f <= last; ++f)
        sum += x.data()[(b * count + f) * size + (t - f * hop)];
      to[i] = sum;
    }
  });
  return y;
}

}  // namespace detail

/// x (B, T) -> (B, L, K): frame l is x[l hop, l hop + K), L = (T - K) / hop + 1 rounded down. What
/// is left at the end is not read. Throws ShapeError when T < K, ConfigError unless hop and K >= 1.
template <Scalar T>
Tensor<T, 3> frames(const Tensor<T, 2>& x, index_t size, index_t hop) {
  if (size < 1 || hop < 1)
    throw ConfigError("frames: size is " + std::to_string(size) + " and hop " +
                      std::to_string(hop) + ", expected >= 1");
  if (x.extent(1) < size)
    throw ShapeError("frames: x is " + to_string(x.shape()) +
                     ", expected [B, T >= " + std::to_string(size) + "] (a frame's size)");
  const index_t count = (x.extent(1) - size) / hop + 1;
  auto y = detail::cut_frames(x, count, size, hop);
  if (Recorder* tape = recording(x))
    tape->push([hop, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, detail::add_frames(dy, hop, xv.shape[1]));
    });
  return y;
}

/// x (B, L, K) -> (B, (L - 1) hop + K): the sum of the frames, each `hop` after the one before; a
/// transposed convolution to one channel is this after a product. Throws ShapeError when there is
/// no frame, ConfigError unless hop >= 1.
template <Scalar T>
Tensor<T, 2> overlap_add(const Tensor<T, 3>& x, index_t hop) {
  if (hop < 1) throw ConfigError("overlap_add: hop is " + std::to_string(hop) + ", expected >= 1");
  if (x.extent(1) < 1 || x.extent(2) < 1)
    throw ShapeError("overlap_add: x is " + to_string(x.shape()) +
                     ", expected [B, L >= 1, K >= 1]");
  const index_t length = (x.extent(1) - 1) * hop + x.extent(2);
  auto y = detail::add_frames(x, hop, length);
  if (Recorder* tape = recording(x))
    tape->push([hop, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, detail::cut_frames(dy, xv.shape[1], xv.shape[2], hop));
    });
  return y;
}

/// x (B, T, C) with its first half of the channels one step later, zeros before the first: the
/// token shift of MossFormer's FLASH layer. An odd channel in the middle goes with the first half.
template <Scalar T>
Tensor<T, 3> shift_tokens(const Tensor<T, 3>& x) {
  const index_t steps = x.extent(1);
  const index_t c = x.extent(2);
  const index_t half = (c + 1) / 2;
  // The gradient moves the other way.
  const auto run = [steps, c, half](const Tensor<T, 3>& from, index_t by) {
    auto to = Tensor<T, 3>::empty(from.shape());
    T* const out = to.data();
    parallel_for(from.rows(), 16384 / (c + 1) + 1, [&](index_t begin, index_t end) {
      for (index_t r = begin; r < end; ++r) {
        const index_t t = r % steps - by;
        if (t < 0 || t >= steps)
          std::fill_n(out + r * c, half, T{0});
        else
          std::copy_n(from.data() + (r - by) * c, half, out + r * c);
        std::copy_n(from.data() + r * c + half, c - half, out + r * c + half);
      }
    });
    return to;
  };
  auto y = run(x, 1);
  if (Recorder* tape = recording(x))
    tape->push([run, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, run(dy, -1));
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(frames);
SEQUIN_INSTANTIATE(overlap_add);
SEQUIN_INSTANTIATE(shift_tokens);
