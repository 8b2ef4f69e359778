/// Operations that move elements and compute nothing.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/kernels/transpose.hpp"

#include <algorithm>
#include <type_traits>

namespace sequin::inline SEQUIN_ABI {

/// The same elements in row-major order under other extents, without a copy.
/// Throws ShapeError when the number of elements differs.
template <std::size_t NewRank, class T, std::size_t Rank>
Tensor<T, NewRank> reshape(const Tensor<T, Rank>& x, const Shape<NewRank>& shape) {
  auto y = x.template reshaped<NewRank>(shape);
  if (Recorder* tape = recording(x))
    tape->push([xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, dy);
    });
  return y;
}

/// Exchanges two axes; copies, unless they are the same. Throws ShapeError when there is no such
/// axis.
template <class T, std::size_t Rank>
Tensor<T, Rank> transpose(const Tensor<T, Rank>& x, std::size_t first, std::size_t second) {
  if (first >= Rank || second >= Rank)
    detail::fail<ShapeError>({"transpose: axes ", first, " and ", second, " of ", x.shape()});
  if (first == second) return x;
  if (first > second) std::swap(first, second);
  Shape<Rank> shape = x.shape();
  std::swap(shape[first], shape[second]);
  auto y = Tensor<T, Rank>::empty(shape);
  // (outer, a, middle, b, inner) -> (outer, b, middle, a, inner)
  index_t outer = 1, middle = 1, inner = 1;
  for (std::size_t i = 0; i < Rank; ++i) {
    if (i < first) outer *= x.extent(i);
    if (i > first && i < second) middle *= x.extent(i);
    if (i > second) inner *= x.extent(i);
  }
  kernels::transpose(x.data(), y.data(), outer, x.extent(first), middle, x.extent(second), inner);
  if (Recorder* tape = recording(x))
    tape->push([first, second, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, transpose(dy, first, second));
    });
  return y;
}

namespace detail {

/// Copies `chunk` elements at a time between arrays whose chunks are `from_step` and `to_step`
/// apart.
template <class T>
void copy_chunks(const T* from, index_t from_step, T* to, index_t to_step, index_t chunk,
                 index_t count) {
  for (index_t i = 0; i < count; ++i) std::copy_n(from + i * from_step, chunk, to + i * to_step);
}

/// Products of the extents before and after an axis.
template <std::size_t Rank>
std::pair<index_t, index_t> around(const Shape<Rank>& shape, std::size_t axis) {
  index_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= shape[i];
  for (std::size_t i = axis + 1; i < Rank; ++i) inner *= shape[i];
  return {outer, inner};
}

}  // namespace detail

/// Entries [begin, end) of one axis; copies. Throws ShapeError when they are not there.
template <class T, std::size_t Rank>
Tensor<T, Rank> slice(const Tensor<T, Rank>& x, std::size_t axis, index_t begin, index_t end) {
  if (axis >= Rank || begin < 0 || end < begin || end > x.extent(axis))
    detail::fail<ShapeError>(
        {"slice: entries ", begin, " to ", end, " of axis ", axis, " of ", x.shape()});
  if (begin == 0 && end == x.extent(axis)) return x;
  Shape<Rank> shape = x.shape();
  shape[axis] = end - begin;
  auto y = Tensor<T, Rank>::empty(shape);
  const auto [outer, inner] = detail::around(shape, axis);
  const index_t whole = x.extent(axis) * inner;
  const index_t part = (end - begin) * inner;
  detail::copy_chunks(x.data() + begin * inner, whole, y.data(), part, part, outer);
  if (Recorder* tape = recording(x))
    tape->push([axis, begin, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined() || !g.wants(xv)) return;
      Tensor<T, Rank> dx(xv.shape);
      const auto [before, after] = detail::around(xv.shape, axis);
      const index_t chunk = dy.extent(axis) * after;
      detail::copy_chunks(dy.data(), chunk, dx.data() + begin * after, xv.shape[axis] * after,
                          chunk, before);
      g.add(xv, dx);
    });
  return y;
}

/// a, then b, along one axis; copies. Throws ShapeError when other extents differ.
template <class T, std::size_t Rank>
Tensor<T, Rank> concat(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b, std::size_t axis) {
  Shape<Rank> expected = a.shape();
  if (axis < Rank) expected[axis] = b.extent(axis);
  if (axis >= Rank || b.shape() != expected)
    detail::fail<ShapeError>(
        {"concat: b is ", b.shape(), ", expected ", expected, " but for axis ", axis, " (from a)"});
  Shape<Rank> shape = a.shape();
  shape[axis] += b.extent(axis);
  auto y = Tensor<T, Rank>::empty(shape);
  const auto [outer, inner] = detail::around(shape, axis);
  const index_t whole = shape[axis] * inner;
  const index_t part_a = a.extent(axis) * inner;
  const index_t part_b = b.extent(axis) * inner;
  T* const to = y.data();
  detail::copy_chunks(a.data(), part_a, to, whole, part_a, outer);
  detail::copy_chunks(b.data(), part_b, to + part_a, whole, part_b, outer);
  if (Recorder* tape = recording(a, b))
    tape->push([axis, av = a.var(), bv = b.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const index_t cut = av.shape[axis];
      if (g.wants(av)) g.add(av, slice(dy, axis, index_t{0}, cut));
      if (g.wants(bv)) g.add(bv, slice(dy, axis, cut, dy.extent(axis)));
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(transpose);
SEQUIN_INSTANTIATE_RANKS(slice);
SEQUIN_INSTANTIATE_RANKS(concat);
