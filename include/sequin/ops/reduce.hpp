/// Sums and means over an axis or over everything.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/ops/elementwise.hpp"

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Sum of n values `step` apart: in double for float, pairwise for double.
template <class T>
T long_sum(const T* x, index_t n, index_t step) {
  if constexpr (std::same_as<T, double>) {
    if (n > 64) return long_sum(x, n / 2, step) + long_sum(x + n / 2 * step, n - n / 2, step);
  }
  double total = 0;
  for (index_t i = 0; i < n; ++i) total += static_cast<double>(x[i * step]);
  return static_cast<T>(total);
}

/// Extents without `axis`, or with it 1.
template <std::size_t OutRank, std::size_t Rank>
Shape<OutRank> reduced_shape(const Shape<Rank>& shape, std::size_t axis) {
  Shape<OutRank> out{};
  std::size_t to = 0;
  for (std::size_t i = 0; i < Rank; ++i) {
    if (i == axis && OutRank < Rank) continue;
    out[to++] = i == axis ? 1 : shape[i];
  }
  return out;
}

template <std::size_t OutRank, class T, std::size_t Rank>
Tensor<T, OutRank> reduce_axis(const Tensor<T, Rank>& x, std::size_t axis, T factor,
                               const char* op) {
  if (axis >= Rank) detail::fail<ShapeError>({op, ": axis ", axis, " of ", x.shape()});
  const index_t n = x.extent(axis);
  index_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= x.extent(i);
  for (std::size_t i = axis + 1; i < Rank; ++i) inner *= x.extent(i);
  auto y = Tensor<T, OutRank>::empty(reduced_shape<OutRank>(x.shape(), axis));
  T* const to = y.data();
  parallel_for(outer * inner, 16384 / (n + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i)
      to[i] = factor * long_sum(x.data() + i / inner * n * inner + i % inner, n, inner);
  });
  if (Recorder* tape = recording(x))
    tape->push([axis, factor, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const auto kept = dy.template reshaped<Rank>(reduced_shape<Rank>(xv.shape, axis));
      // dy repeated along the axis, scaled.
      const Tensor<T, Rank> ones(xv.shape, factor);
      g.add(xv, broadcast(ones, kept, "sum", std::multiplies<>()));
    });
  return y;
}

}  // namespace detail

/// Sum over one axis, which stays with extent 1. Float is summed in double. Throws ShapeError.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> sum(const Tensor<T, Rank>& x, std::size_t axis, std::true_type /*keep_axis*/) {
  return detail::reduce_axis<Rank>(x, axis, T{1}, "sum");
}
/// Sum over one axis, which goes.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank - 1> sum(const Tensor<T, Rank>& x, std::size_t axis) {
  return detail::reduce_axis<Rank - 1>(x, axis, T{1}, "sum");
}
/// Mean over one axis, which stays with extent 1; NaN for an axis of extent 0.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> mean(const Tensor<T, Rank>& x, std::size_t axis, std::true_type /*keep_axis*/) {
  const index_t n = axis < Rank ? x.extent(axis) : 1;
  return detail::reduce_axis<Rank>(x, axis, T{1} / static_cast<T>(n), "mean");
}
/// Mean over one axis, which goes.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank - 1> mean(const Tensor<T, Rank>& x, std::size_t axis) {
  const index_t n = axis < Rank ? x.extent(axis) : 1;
  return detail::reduce_axis<Rank - 1>(x, axis, T{1} / static_cast<T>(n), "mean");
}

/// Passed as the last argument, keeps the reduced axis with extent 1.
inline constexpr std::true_type keep_axis{};

/// Sum of all elements.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> sum(const Tensor<T, Rank>& x) {
  Tensor<T, 0> y({}, detail::long_sum(x.data(), x.size(), index_t{1}));
  if (Recorder* tape = recording(x))
    tape->push([xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (dy.defined()) g.add(xv, Tensor<T, Rank>(xv.shape, dy.item()));
    });
  return y;
}

/// Mean of all elements; NaN when there are none.
template <Scalar T, std::size_t Rank>
Tensor<T, 0> mean(const Tensor<T, Rank>& x) {
  return scale(sum(x), T{1} / static_cast<T>(x.size()));
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<1, float, 2>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<1, double, 2>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<2, float, 2>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<2, double, 2>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<2, float, 3>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<2, double, 3>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<3, float, 3>);
SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<3, double, 3>);
