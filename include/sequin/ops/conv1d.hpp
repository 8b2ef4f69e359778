/// The dense convolution over time.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/pad_time.hpp"
#include "sequin/kernels/transpose.hpp"
#include "sequin/ops/linear.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin::inline SEQUIN_ABI {

/// How `conv1d` walks over time.
struct Conv1dOptions {
  index_t stride = 1;
  index_t padding = 0;   ///< steps at each end
  index_t dilation = 1;  ///< steps between taps
  PaddingMode padding_mode = PaddingMode::zeros;
};

namespace detail {

/// A convolution as matrix products: a window of undilated taps is one row of K * C adjacent
/// values, so that rows which overlap in memory take the place of an unfolded copy; dilated taps
/// are one product each.
struct Conv1dPlan {
  index_t batch, length, in, out, taps, steps;
  Conv1dOptions options;

  index_t padded() const noexcept { return length + 2 * options.padding; }
  index_t products() const noexcept { return options.dilation == 1 ? 1 : taps; }
  index_t depth() const noexcept { return options.dilation == 1 ? taps * in : in; }
};

template <Scalar T>
Conv1dPlan conv1d_plan(const Tensor<T, 3>& x, const Tensor<T, 3>& weight, const Tensor<T, 1>& bias,
                       const Conv1dOptions& o) {
  if (o.stride < 1 || o.dilation < 1 || o.padding < 0)
    throw ConfigError("conv1d: stride is " + std::to_string(o.stride) + ", dilation " +
                      std::to_string(o.dilation) + " and padding " + std::to_string(o.padding) +
                      ", expected >= 1, >= 1 and >= 0");
  const auto fail = [](const std::string& what) { throw ShapeError("conv1d: " + what); };
  if (weight.extent(2) < 1)
    fail("weight is " + to_string(weight.shape()) + ", expected [Cout, Cin, K >= 1]");
  if (x.extent(2) != weight.extent(1))
    fail("x is " + to_string(x.shape()) +
         ", expected [B, T, Cin=" + std::to_string(weight.extent(1)) + "] (Cin from weight " +
         to_string(weight.shape()) + ")");
  if (bias.defined() && bias.extent(0) != weight.extent(0))
    fail("bias is " + to_string(bias.shape()) +
         ", expected [Cout=" + std::to_string(weight.extent(0)) + "] (Cout from weight " +
         to_string(weight.shape()) + ")");
  const index_t span = (weight.extent(2) - 1) * o.dilation + 1;
  const index_t least = (std::max)(index_t{1}, span - 2 * o.padding);
  if (x.extent(1) < least)
    fail("x is " + to_string(x.shape()) + ", expected [B, T >= " + std::to_string(least) +
         ", Cin] (the taps reach over " + std::to_string(span) + " steps, padding is " +
         std::to_string(o.padding) + ")");
  const index_t steps = (x.extent(1) + 2 * o.padding - span) / o.stride + 1;
  return {x.extent(0), x.extent(1), x.extent(2), weight.extent(0), weight.extent(2), steps, o};
}

/// x (B, T, C) -> (B, T + 2 padding, C), or x itself.
template <Scalar T>
Tensor<T, 3> pad_time(const Tensor<T, 3>& x, const Conv1dPlan& p) {
  if (p.options.padding == 0) return x.detach();
  auto y = Tensor<T, 3>::empty({p.batch, p.padded(), p.in});
  T* const to = y.data();
  parallel_for(p.batch, 16384 / (p.padded() * p.in + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b)
      kernels::pad_time_forward(x.data() + b * p.length * p.in, p.length, p.in, p.options.padding,
                                p.options.padding_mode, to + b * p.padded() * p.in);
  });
  return y;
}

}  // namespace detail

/// The weight of a convolution in the layout that `conv1d` reads fastest; see PackedWeight.
template <Scalar T>
class PackedConv1dWeight {
 public:
  /// Packs `weight` (Cout, Cin, K) for this dilation. Allocates.
  void pack(const Tensor<T, 3>& weight, index_t dilation) {
    const index_t out = weight.extent(0);
    const index_t in = weight.extent(1);
    const index_t taps = weight.extent(2);
    auto by_tap = Tensor<T, 1>::empty({weight.size()});
    T* const w = by_tap.data();
    kernels::transpose(weight.data(), w, out, in, index_t{1}, taps, index_t{1});
    const index_t products = dilation == 1 ? 1 : taps;
    const index_t depth = taps / products * in;
    const index_t size = kernels::packed_size<T>(depth, out);
    panels_ = Tensor<T, 1>::empty({products * size});
    T* const to = panels_.data();
    constexpr index_t columns = kernels::kPanelColumns<T>;
    for (index_t i = 0; i < products; ++i)
      parallel_for(out, columns * 16, [&](index_t begin, index_t end) {
        kernels::pack_b(static_cast<const T*>(w) + i * depth, index_t{1}, taps * in, depth, out,
                        to + i * size, begin, end);
      });
    source_ = weight.data();
    version_ = weight.version();
    products_ = products;
  }

  /// True when this is the packed form of `weight` as it is now.
  bool fresh(const Tensor<T, 3>& weight, index_t dilation) const noexcept {
    return panels_.defined() && source_ == weight.data() && version_ == weight.version() &&
           products_ == (dilation == 1 ? 1 : weight.extent(2));
  }

  const Tensor<T, 1>& panels() const noexcept { return panels_; }

 private:
  Tensor<T, 1> panels_;
  const T* source_ = nullptr;
  std::uint32_t version_ = 0;
  index_t products_ = 0;
};

namespace detail {

template <Scalar T>
Tensor<T, 3> conv1d_forward(const Conv1dPlan& p, const Tensor<T, 3>& padded,
                            const Tensor<T, 1>& panels, const Tensor<T, 1>& bias) {
  auto y = Tensor<T, 3>::empty({p.batch, p.steps, p.out});
  T* const to = y.data();
  constexpr index_t block = 48;
  const index_t blocks = (p.steps + block - 1) / block;
  const index_t work = (std::min)(block, p.steps) * p.out * p.taps * p.in;
  parallel_for(p.batch * blocks, 131072 / (work + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t item = begin; item < end; ++item) {
      const index_t b = item / blocks;
      const index_t first = item % blocks * block;
      for (index_t i = 0; i < p.products(); ++i) {
        kernels::GemmProblem<T> g;
        g.a = padded.data() + (b * p.padded() + i * p.options.dilation) * p.in;
        g.a_row = p.options.stride * p.in;
        g.b = panels.data() + i * kernels::packed_size<T>(p.depth(), p.out);
        g.c = to + b * p.steps * p.out;
        g.c_row = p.out;
        g.bias = i == p.products() - 1 ? bias.data() : nullptr;
        g.accumulate = i > 0;
        g.n = p.out;
        g.k = p.depth();
        kernels::gemm(g, first, (std::min)(first + block, p.steps), index_t{0}, p.out);
      }
    }
  });
  return y;
}

template <Scalar T>
Tensor<T, 3> conv1d_backward_input(const Conv1dPlan& p, const Tensor<T, 3>& dy,
                                   const Tensor<T, 3>& weight) {
  const index_t size = kernels::packed_size<T>(p.out, p.in);
  auto panels = Tensor<T, 1>::empty({p.taps * size});
  T* const pack = panels.data();
  for (index_t k = 0; k < p.taps; ++k)
    kernels::pack_b(weight.data() + k, p.in * p.taps, p.taps, p.out, p.in, pack + k * size);
  Tensor<T, 3> padded({p.batch, p.padded(), p.in});
  T* const sum = padded.data();
  auto dx = p.options.padding == 0 ? padded : Tensor<T, 3>::empty({p.batch, p.length, p.in});
  constexpr index_t block = 4 * kernels::kPanelColumns<T>;
  const index_t blocks = (p.in + block - 1) / block;
  const index_t work = p.steps * p.out * p.taps * (std::min)(block, p.in);
  parallel_for(p.batch * blocks, 131072 / (work + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t item = begin; item < end; ++item) {
      const index_t b = item / blocks;
      const index_t first = item % blocks * block;
      for (index_t k = 0; k < p.taps; ++k) {
        kernels::GemmProblem<T> g;
        g.a = dy.data() + b * p.steps * p.out;
        g.a_row = p.out;
        g.b = pack + k * size;
        g.c = sum + (b * p.padded() + k * p.options.dilation) * p.in;
        g.c_row = p.options.stride * p.in;
        g.accumulate = true;
        g.n = p.in;
        g.k = p.out;
        kernels::gemm(g, index_t{0}, p.steps, first, (std::min)(first + block, p.in));
      }
    }
  });
  if (p.options.padding == 0) return dx;
  T* const to = dx.data();
  parallel_for(p.batch, 16384 / (p.padded() * p.in + 1) + 1, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b)
      kernels::pad_time_backward(static_cast<const T*>(sum) + b * p.padded() * p.in, p.length, p.in,
                                 p.options.padding, p.options.padding_mode,
                                 to + b * p.length * p.in);
  });
  return dx;
}

template <Scalar T>
Tensor<T, 3> conv1d_backward_weight(const Conv1dPlan& p, const Tensor<T, 3>& dy,
                                    const Tensor<T, 3>& padded) {
  auto by_tap = Tensor<T, 3>::empty({p.taps, p.out, p.in});
  auto seen = Tensor<T, 3>::empty({p.batch, p.steps, p.in});
  for (index_t k = 0; k < p.taps; ++k) {
    // What tap k saw, row for row of dy.
    for (index_t b = 0; b < p.batch; ++b)
      copy_chunks(padded.data() + (b * p.padded() + k * p.options.dilation) * p.in,
                  p.options.stride * p.in, seen.data() + b * p.steps * p.in, p.in, p.in, p.steps);
    product(dy.data(), index_t{1}, p.out, std::as_const(seen).data(), p.in,
            by_tap.data() + k * p.out * p.in, p.out, p.in, p.batch * p.steps);
  }
  auto dw = Tensor<T, 3>::empty({p.out, p.in, p.taps});
  kernels::transpose(std::as_const(by_tap).data(), dw.data(), index_t{1}, p.taps, index_t{1},
                     p.out * p.in, index_t{1});
  return dw;
}

}  // namespace detail

/// y[t, o] = bias[o] + sum_k sum_c weight[o, c, k] x[t stride + k dilation - padding, c], at
/// torch.nn.functional.conv1d but time-major: x (B, T, Cin), weight (Cout, Cin, K), bias (Cout) or
/// undefined -> (B, T', Cout), T' = (T + 2 padding - (K - 1) dilation - 1) / stride + 1. What
/// stands past the ends is zero or, circular, the series again (as often as the padding asks, where
/// PyTorch stops at once around). `packed` may hold the packed weight; it is used when it is fresh.
/// Beside the result a padded copy of x is allocated, no unfolded one. A step's result does not
/// depend on batch or threads. Differentiable in x, weight and bias. Throws ShapeError,
/// ConfigError.
template <Scalar T>
Tensor<T, 3> conv1d(const Tensor<T, 3>& x, const Tensor<T, 3>& weight,
                    const Tensor<T, 1>& bias = {}, const Conv1dOptions& options = {},
                    const PackedConv1dWeight<T>* packed = nullptr) {
  const detail::Conv1dPlan plan = detail::conv1d_plan(x, weight, bias, options);
  const Tensor<T, 3> padded = detail::pad_time(x, plan);
  PackedConv1dWeight<T> own;
  if (packed == nullptr || !packed->fresh(weight, options.dilation)) {
    own.pack(weight, options.dilation);
    packed = &own;
  }
  auto y = detail::conv1d_forward(plan, padded, packed->panels(), bias);
  if (Recorder* tape = recording(x, weight, bias))
    tape->push([plan, padded = kept_if(tape->tracks(weight), padded),
                weight = kept_if(tape->tracks(x), weight), xv = x.var(), wv = weight.var(),
                bv = bias.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      if (g.wants(xv)) g.add(xv, detail::conv1d_backward_input(plan, dy, weight));
      if (g.wants(wv)) g.add(wv, detail::conv1d_backward_weight(plan, dy, padded));
      if (g.wants(bv)) g.add(bv, detail::column_sums(dy.data(), plan.batch * plan.steps, plan.out));
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(conv1d);
