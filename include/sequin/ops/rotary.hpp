/// Rotary positions: pairs of elements turned by angles that grow with the position.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/rotary.hpp"

#include <cmath>
#include <cstdint>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Cosines and sines (B or 1, T, R / 2) of the angles of B sequences, or of all of them alike.
template <Scalar T>
struct RotaryTable {
  Tensor<T, 3> cos, sin;
};

/// The table of positions (B or 1, T), which may be any numbers in any order: angle i of a position
/// is position * theta^(-2 i / width), i < width / 2, computed in double. (The official codes
/// compute it in float: at position 4096 their cosines are off by up to 2e-4.)
/// Throws ShapeError unless width is even and positive. Real-time safe under an arena.
template <Scalar T>
RotaryTable<T> rotary_table(const Tensor<std::int64_t, 2>& positions, index_t width, double theta) {
  if (width < 2 || width % 2 != 0)
    throw ShapeError("rotary_table: width is " + std::to_string(width) +
                     ", expected an even number >= 2");
  const index_t pairs = width / 2;
  const Shape<3> shape{positions.extent(0), positions.extent(1), pairs};
  RotaryTable<T> table{Tensor<T, 3>::empty(shape), Tensor<T, 3>::empty(shape)};
  auto frequency = Tensor<double, 1>::empty({pairs});
  for (index_t i = 0; i < pairs; ++i)
    frequency(i) = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
  T* const cos = table.cos.data();
  T* const sin = table.sin.data();
  parallel_for(positions.size(), 256 / pairs + 1, [&](index_t begin, index_t end) {
    for (index_t t = begin; t < end; ++t)
      for (index_t i = 0; i < pairs; ++i) {
        const double angle =
            static_cast<double>(positions.data()[t]) * std::as_const(frequency).data()[i];
        cos[t * pairs + i] = static_cast<T>(std::cos(angle));
        sin[t * pairs + i] = static_cast<T>(std::sin(angle));
      }
  });
  return table;
}

/// The table (1, T, F) of positions (T) and given frequencies (F): angle position * frequency,
/// rounded to T before its sine is taken, as the official float codes do. Real-time safe under an
/// arena.
template <Scalar T>
RotaryTable<T> rotary_table_of(const Tensor<T, 1>& frequencies, const Tensor<T, 1>& positions) {
  const index_t pairs = frequencies.extent(0);
  const index_t steps = positions.extent(0);
  RotaryTable<T> table{Tensor<T, 3>::empty({1, steps, pairs}),
                       Tensor<T, 3>::empty({1, steps, pairs})};
  T* const cos = table.cos.data();
  T* const sin = table.sin.data();
  parallel_for(steps, 256 / (pairs + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t t = begin; t < end; ++t)
      for (index_t i = 0; i < pairs; ++i) {
        const T angle = positions.data()[t] * frequencies.data()[i];
        cos[t * pairs + i] = static_cast<T>(std::cos(static_cast<double>(angle)));
        sin[t * pairs + i] = static_cast<T>(std::sin(static_cast<double>(angle)));
      }
  });
  return table;
}

/// The same for positions 0 to steps - 1.
template <Scalar T>
RotaryTable<T> rotary_table_of(const Tensor<T, 1>& frequencies, index_t steps) {
  auto positions = Tensor<T, 1>::empty({steps});
  for (index_t t = 0; t < steps; ++t) positions(t) = static_cast<T>(t);
  return rotary_table_of(frequencies, positions);
}

namespace detail {

template <Scalar T>
Tensor<T, 4> turn(const Tensor<T, 4>& x, const RotaryTable<T>& table, RotaryLayout layout,
                  bool back) {
  const index_t length = x.extent(1);
  const index_t pairs = table.cos.extent(2);
  const index_t step = x.extent(2) * x.extent(3);
  const index_t own = table.cos.extent(0) == 1 ? 0 : length;  // rows of a sequence's own table
  auto y = Tensor<T, 4>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.extent(0) * length, 8192 / (step + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t at = (r / length * own + r % length) * pairs;
      kernels::rotary_forward(x.data() + r * step, table.cos.data() + at, table.sin.data() + at,
                              x.extent(2), x.extent(3), pairs, layout, back, to + r * step);
    }
  });
  return y;
}

}  // namespace detail

/// x (B, T, H, P) with the first R elements of each head turned as the table says, the others as
/// they are. The table is a constant to autograd. Throws ShapeError. Real-time safe under an arena.
/// Su et al., "RoFormer", arXiv 2104.09864, equation 34; `apply_rotary_pos_emb` of transformers for
/// half_split.
template <Scalar T>
Tensor<T, 4> rotate(const Tensor<T, 4>& x, const RotaryTable<T>& table,
                    RotaryLayout layout = RotaryLayout::half_split) {
  const Shape<3>& shape = table.cos.shape();
  if ((shape[0] != 1 && shape[0] != x.extent(0)) || shape[1] != x.extent(1) ||
      2 * shape[2] > x.extent(3) || table.sin.shape() != shape)
    throw ShapeError("rotate: the table is " + to_string(shape) + " and " +
                     to_string(table.sin.shape()) + ", expected [B or 1, T, R / 2] with R <= P " +
                     "(from x [B, T, H, P] = " + to_string(x.shape()) + ")");
  auto y = detail::turn(x, table, layout, false);
  if (Recorder* tape = recording(x))
    tape->push([table, layout, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, detail::turn(dy, table, layout, true));
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(rotary_table);
SEQUIN_INSTANTIATE(rotate);
