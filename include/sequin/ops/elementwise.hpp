/// Elementwise arithmetic with NumPy broadcasting, and functions of one tensor.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/core/vmath.hpp"
#include "sequin/kernels/elementwise.hpp"

#include <functional>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The common shape of two broadcasting operands, axes aligned at the end.
template <std::size_t RankA, std::size_t RankB>
Shape<RankA> broadcast_shape(const Shape<RankA>& a, const Shape<RankB>& b, const char* op) {
  static_assert(RankA >= RankB, "the operand of higher rank stands on the left");
  Shape<RankA> out = a;
  for (std::size_t i = 0; i < RankB; ++i) {
    index_t& extent = out[RankA - RankB + i];
    if (extent == b[i] || b[i] == 1) continue;
    if (extent != 1)
      detail::fail<ShapeError>({op, ": right operand is ", b,
                                ", expected extents of 1 or those of the left operand ", a});
    extent = b[i];
  }
  return out;
}

/// Strides with which an operand of `shape` walks over `common`: 0 where it repeats.
template <std::size_t Rank, std::size_t OwnRank>
Shape<Rank> broadcast_strides(const Shape<OwnRank>& shape, const Shape<Rank>& common) {
  const Shape<OwnRank> own = row_major_strides(shape);
  Shape<Rank> strides{};
  for (std::size_t i = 0; i < OwnRank; ++i) {
    const std::size_t at = Rank - OwnRank + i;
    strides[at] = shape[i] == common[at] ? own[i] : 0;
  }
  return strides;
}

template <std::size_t Rank>
kernels::BroadcastPlan plan_broadcast(const Shape<Rank>& common, const Shape<Rank>& a,
                                      const Shape<Rank>& b) {
  static_assert(Rank <= kernels::kMaxAxes);
  kernels::BroadcastPlan plan;
  for (std::size_t i = 0; i < Rank; ++i) plan.add_axis(common[i], a[i], b[i]);
  return plan;
}

template <class T>
using BroadcastRows = void (*)(const kernels::BroadcastPlan& plan, const T* a, const T* b, T* out,
                               index_t begin, index_t end);

template <class T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> broadcast(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b, const char* op,
                           BroadcastRows<T> rows) {
  const Shape<RankA> shape = broadcast_shape(a.shape(), b.shape(), op);
  auto out = Tensor<T, RankA>::empty(shape);
  if (out.size() == 0) return out;
  const auto plan = plan_broadcast(shape, broadcast_strides(a.shape(), shape),
                                   broadcast_strides(b.shape(), shape));
  T* const to = out.data();
  const index_t n = plan.columns();
  if (plan.rows() == 1) {
    // One long row: cut along it.
    const index_t sa = plan.rank == 0 ? 0 : plan.a_stride[plan.rank - 1];
    const index_t sb = plan.rank == 0 ? 0 : plan.b_stride[plan.rank - 1];
    parallel_for(n, index_t{16384}, [&](index_t begin, index_t end) {
      kernels::BroadcastPlan part = plan;
      if (part.rank > 0) part.extent[0] = end - begin;
      rows(part, a.data() + begin * sa, b.data() + begin * sb, to + begin, index_t{0}, index_t{1});
    });
  } else {
    parallel_for(plan.rows(), 16384 / n + 1, [&](index_t begin, index_t end) {
      rows(plan, a.data(), b.data(), to, begin, end);
    });
  }
  return out;
}

/// f(a, b), `f` without state and of registers.
template <class T, std::size_t RankA, std::size_t RankB, class F>
Tensor<T, RankA> broadcast(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b, const char* op,
                           F) {
  return broadcast(a, b, op, BroadcastRows<T>(&kernels::broadcast_rows<T, F>));
}

/// The gradient of an operand of `shape` that was broadcast: dy summed over what it repeated.
template <class T, std::size_t Rank, std::size_t OwnRank>
Tensor<T, OwnRank> sum_to(const Tensor<T, Rank>& dy, const Shape<OwnRank>& shape) {
  if constexpr (Rank == OwnRank)
    if (dy.shape() == shape) return dy;
  Tensor<double, OwnRank> sum(shape);
  if (dy.size() != 0) {
    const auto plan = plan_broadcast(dy.shape(), row_major_strides(dy.shape()),
                                     broadcast_strides(shape, dy.shape()));
    kernels::reduce_broadcast(plan, dy.data(), sum.data());
  }
  if constexpr (std::same_as<T, double>)
    return sum;
  else
    return sum.template cast<T>();
}

/// y = f(x); `backward(dx, x, y, dy)` of registers gives dx.
template <class T, std::size_t Rank, class F, class Backward>
Tensor<T, Rank> unary(const Tensor<T, Rank>& x, F f, Backward backward) {
  auto y = Tensor<T, Rank>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.size(), index_t{8192}, [&](index_t begin, index_t end) {
    simd::transform<T>(end - begin, to + begin, f, x.data() + begin);
  });
  if (Recorder* tape = recording(x)) {
    const auto yv = tape->track(y);
    tape->push([x, y, backward, xv = x.var(), yv](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      auto dx = Tensor<T, Rank>::empty(x.shape());
      T* const out = dx.data();
      parallel_for(x.size(), index_t{8192}, [&](index_t begin, index_t end) {
        simd::transform<T>(end - begin, out + begin, backward, x.data() + begin, y.data() + begin,
                           dy.data() + begin);
      });
      g.add(xv, dx);
    });
  }
  return y;
}

}  // namespace detail

/// a + b; b may have fewer axes (aligned at the end) or extents of 1, a extents of 1. This and the
/// other three throw ShapeError when the extents do not broadcast.
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> add(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  auto y = detail::broadcast(a, b, "add", std::plus<>());
  if (Recorder* tape = recording(a, b))
    tape->push([av = a.var(), bv = b.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      if (g.wants(av)) g.add(av, detail::sum_to(dy, av.shape));
      if (g.wants(bv)) g.add(bv, detail::sum_to(dy, bv.shape));
    });
  return y;
}

/// a - b, broadcasting as `add`.
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> sub(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  auto y = detail::broadcast(a, b, "sub", std::minus<>());
  if (Recorder* tape = recording(a, b))
    tape->push([av = a.var(), bv = b.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      if (g.wants(av)) g.add(av, detail::sum_to(dy, av.shape));
      if (g.wants(bv)) {
        const auto sum = detail::sum_to(dy, bv.shape);
        auto db = Tensor<T, RankB>::empty(bv.shape);
        simd::transform<T>(
            db.size(), db.data(), [](const auto& v) { return -v; }, sum.data());
        g.add(bv, db);
      }
    });
  return y;
}

/// a * b elementwise, broadcasting as `add`.
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> mul(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  auto y = detail::broadcast(a, b, "mul", std::multiplies<>());
  if (Recorder* tape = recording(a, b))
    tape->push([a = kept_if(tape->tracks(b), a), b = kept_if(tape->tracks(a), b), av = a.var(),
                bv = b.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      if (g.wants(av))
        g.add(av, detail::sum_to(detail::broadcast(dy, b, "mul", std::multiplies<>()), av.shape));
      if (g.wants(bv))
        g.add(bv, detail::sum_to(detail::broadcast(dy, a, "mul", std::multiplies<>()), bv.shape));
    });
  return y;
}

/// a / b elementwise, broadcasting as `add`.
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> div(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  auto y = detail::broadcast(a, b, "div", simd::Quotient<T>());
  if (Recorder* tape = recording(a, b)) {
    const auto yv = tape->track(y);
    tape->push([b, y = kept_if(tape->tracks(b), y), av = a.var(), bv = b.var(),
                yv](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const auto da = detail::broadcast(dy, b, "div", simd::Quotient<T>());
      if (g.wants(av)) g.add(av, detail::sum_to(da, av.shape));
      if (g.wants(bv)) {
        const auto db =
            detail::broadcast(da, y, "div", [](const auto& u, const auto& v) { return -(u * v); });
        g.add(bv, detail::sum_to(db, bv.shape));
      }
    });
  }
  return y;
}

template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> operator+(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  return add(a, b);
}
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> operator-(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  return sub(a, b);
}
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> operator*(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  return mul(a, b);
}
template <Scalar T, std::size_t RankA, std::size_t RankB>
Tensor<T, RankA> operator/(const Tensor<T, RankA>& a, const Tensor<T, RankB>& b) {
  return div(a, b);
}

/// x * factor.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> scale(const Tensor<T, Rank>& x, std::type_identity_t<T> factor) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [factor](const V& v) { return v * V(factor); },
      [factor](const V&, const V&, const V& d) { return d * V(factor); });
}

/// x + term.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> add_scalar(const Tensor<T, Rank>& x, std::type_identity_t<T> term) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [term](const V& v) { return v + V(term); },
      [](const V&, const V&, const V& d) { return d; });
}

/// -x.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> neg(const Tensor<T, Rank>& x) {
  return scale(x, T{-1});
}

/// x^2.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> square(const Tensor<T, Rank>& x) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [](const V& v) { return v * v; },
      [](const V& v, const V&, const V& d) { return d * (v + v); });
}

/// The root; its gradient at 0 is infinite, as in PyTorch.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> sqrt(const Tensor<T, Rank>& x) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [](const V& v) { return simd::sqrt<T>(v); },
      [](const V&, const V& y, const V& d) { return simd::div<T>(d, y + y); });
}

/// e^x.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> exp(const Tensor<T, Rank>& x) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [](const V& v) { return simd::exp<T>(v); },
      [](const V&, const V& y, const V& d) { return d * y; });
}

/// The natural logarithm.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> log(const Tensor<T, Rank>& x) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [](const V& v) { return simd::log<T>(v); },
      [](const V& v, const V&, const V& d) { return simd::div<T>(d, v); });
}

/// |x|; its gradient at 0 is 0.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> abs(const Tensor<T, Rank>& x) {
  using V = simd::Vec<T>;
  return detail::unary(
      x, [](const V& v) { return simd::abs<T>(v); },
      [](const V& v, const V&, const V& d) {
        const V zero(T{0});
        return simd::select<T>(v > zero, d, simd::select<T>(v < zero, -d, v * zero));
      });
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_PAIRS(add);
SEQUIN_INSTANTIATE_PAIRS(sub);
SEQUIN_INSTANTIATE_PAIRS(mul);
SEQUIN_INSTANTIATE_PAIRS(div);
SEQUIN_INSTANTIATE_RANKS(scale);
SEQUIN_INSTANTIATE_RANKS(add_scalar);
SEQUIN_INSTANTIATE_RANKS(neg);
SEQUIN_INSTANTIATE_RANKS(square);
SEQUIN_INSTANTIATE_RANKS(sqrt);
SEQUIN_INSTANTIATE_RANKS(exp);
SEQUIN_INSTANTIATE_RANKS(log);
SEQUIN_INSTANTIATE_RANKS(abs);
