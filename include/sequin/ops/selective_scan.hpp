/// The selective scan of Mamba (version 1), recorded, with its state carried by the caller.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/selective_scan_backward.hpp"
#include "sequin/ops/time_channel.hpp"

#include <type_traits>

namespace sequin::inline SEQUIN_ABI {

/// B or C of a selective scan: constant [E, N], varying in time [B, T, N], or by groups of
/// channels as well [B, T, G, N]. Converts from a tensor of either rank.
template <Scalar T>
class ScanMatrix {
 public:
  ScanMatrix(const Tensor<T, 2>& constant) : constant_(constant) {}  // NOLINT
  ScanMatrix(const Tensor<T, 4>& grouped) : varying_(grouped) {}     // NOLINT
  ScanMatrix(const Tensor<T, 3>& varying)                            // NOLINT
      : varying_(
            varying.reshaped(Shape<4>{varying.extent(0), varying.extent(1), 1, varying.extent(2)})),
        flat_(true) {
    varying_.set_var(varying.var().id);
  }

  bool is_constant() const noexcept { return constant_.defined(); }
  const Tensor<T, 2>& constant() const noexcept { return constant_; }
  const Tensor<T, 4>& varying() const noexcept { return varying_; }
  /// True when made from [B, T, N].
  bool is_flat() const noexcept { return flat_; }
  /// Number of groups of channels; 1 for a constant.
  index_t groups() const noexcept { return is_constant() ? 1 : varying_.extent(2); }

 private:
  Tensor<T, 2> constant_;
  Tensor<T, 4> varying_;
  bool flat_ = false;
};

/// What a selective scan may have besides its five inputs; an undefined tensor is absent.
template <Scalar T>
struct SelectiveScanOptions {
  Tensor<T, 1> D{};           ///< [E]: adds D u to the output
  Tensor<T, 3> z{};           ///< [B, T, E]: multiplies the output, skip included, by silu(z)
  Tensor<T, 1> delta_bias{};  ///< [E]: added to delta
  bool delta_softplus = false;
  Tensor<T, 3> initial_state{};  ///< [B, E, N]; zeros when absent
};

template <Scalar T>
struct SelectiveScanResult {
  Tensor<T, 3> y;           ///< [B, T, E]
  Tensor<T, 3> last_state;  ///< [B, E, N]
};

namespace detail {

template <Scalar T>
struct SelectiveScanCall {
  Tensor<T, 3> u, delta;
  Tensor<T, 2> A;
  ScanMatrix<T> B, C;
  SelectiveScanOptions<T> options;

  index_t groups() const noexcept { return (std::max)(B.groups(), C.groups()); }

  kernels::SelectiveScanInputs<T> inputs() const {
    kernels::SelectiveScanInputs<T> in;
    in.u = u.view();
    in.delta = delta.view();
    in.A = A.view();
    in.groups = groups();
    const auto spread = [&](const Tensor<T, 4>& m) {
      View<const T, 4> v = m.view();
      Shape<4> strides = v.strides();
      // One matrix for all channels beside one for each group: every group reads the same.
      if (m.extent(2) == 1) strides[2] = 0;
      return View<const T, 4>(v.data(), v.shape(), strides);
    };
    if (B.is_constant())
      in.B_constant = B.constant().view();
    else
      in.B = spread(B.varying());
    if (C.is_constant())
      in.C_constant = C.constant().view();
    else
      in.C = spread(C.varying());
    in.z = options.z.view();
    in.D = options.D.data();
    in.delta_bias = options.delta_bias.data();
    in.delta_softplus = options.delta_softplus;
    return in;
  }
};

template <Scalar T, std::size_t Rank>
void check_scan_shape(const char* what, const Tensor<T, Rank>& t, const Shape<Rank>& expected,
                      const char* letters, const Shape<3>& u) {
  if (!t.defined())
    fail<ShapeError>({"selective_scan: ", what, " is undefined, expected ", letters, " = ",
                      expected, " (u is ", u, ")"});
  if (t.shape() != expected)
    fail<ShapeError>({"selective_scan: ", what, " is ", t.shape(), ", expected ", letters, " = ",
                      expected, " (u is ", u, ")"});
}

template <Scalar T>
void check_selective_scan(const SelectiveScanCall<T>& call) {
  const Shape<3>& u = call.u.shape();
  if (!call.u.defined()) throw ShapeError("selective_scan: u is undefined, expected [B, T, E]");
  check_scan_shape("delta", call.delta, u, "[B, T, E]", u);
  const index_t states = call.A.extent(1);
  check_scan_shape("A", call.A, Shape<2>{u[2], states}, "[E, N]", u);
  const auto check_matrix = [&](const char* what, const ScanMatrix<T>& m) {
    if (m.is_constant()) {
      check_scan_shape(what, m.constant(), Shape<2>{u[2], states}, "[E, N]", u);
      return;
    }
    const Tensor<T, 4>& v = m.varying();
    check_scan_shape(what, v, Shape<4>{u[0], u[1], v.extent(2), states}, "[B, T, G, N]", u);
    if (v.extent(2) < 1 || u[2] % v.extent(2) != 0)
      fail<ShapeError>({"selective_scan: ", what, " has G=", v.extent(2),
                        " groups, expected a divisor of E=", u[2]});
  };
  check_matrix("B", call.B);
  check_matrix("C", call.C);
  const index_t b = call.B.groups();
  const index_t c = call.C.groups();
  if (b != c && b != 1 && c != 1)
    fail<ShapeError>(
        {"selective_scan: B has ", b, " groups, C has ", c, ", expected the same number or 1"});
  const SelectiveScanOptions<T>& o = call.options;
  if (o.D.defined()) check_scan_shape("D", o.D, Shape<1>{u[2]}, "[E]", u);
  if (o.z.defined()) check_scan_shape("z", o.z, u, "[B, T, E]", u);
  if (o.delta_bias.defined())
    check_scan_shape("delta_bias", o.delta_bias, Shape<1>{u[2]}, "[E]", u);
  if (o.initial_state.defined())
    check_scan_shape("the state", o.initial_state, Shape<3>{u[0], u[2], states}, "[B, E, N]", u);
}

/// The sum over the leading axis, in order.
template <Scalar T>
Tensor<T, 1> sum_leading(const Tensor<T, 2>& parts) {
  auto sum = Tensor<T, 1>::empty({parts.extent(1)});
  kernels::sum_parts(parts.data(), parts.extent(0), parts.extent(1), sum.data());
  return sum;
}

template <Scalar T>
void selective_scan_backward(const SelectiveScanCall<T>& call, const Tensor<T, 3>& checkpoints,
                             const Var<T, 3>& y, const Var<T, 3>& last_state, Gradients& g) {
  auto dy = g.take(y);
  const auto dlast = g.take(last_state);
  if (!dy.defined() && !dlast.defined()) return;
  if (!dy.defined()) dy = Tensor<T, 3>(y.shape);
  const auto in = call.inputs();
  const auto& o = call.options;
  const Shape<3>& shape = call.u.shape();
  const index_t batch = shape[0];
  const index_t states = in.states();
  const index_t parts = kernels::selective_scan_parts<T>(shape[2], in.groups);
  const auto part_shape = [&](const ScanMatrix<T>& m) {
    return m.is_constant() ? Shape<2>{batch, shape[2] * states}
                           : Shape<2>{parts, batch * shape[1] * in.groups * states};
  };
  auto du = Tensor<T, 3>::empty(shape);
  auto ddelta = Tensor<T, 3>::empty(shape);
  auto dz = o.z.defined() ? Tensor<T, 3>::empty(shape) : Tensor<T, 3>();
  auto dstate = dlast.defined() ? dlast.clone() : Tensor<T, 3>(last_state.shape);
  Tensor<T, 2> dA({batch, shape[2] * states});
  Tensor<T, 2> dB(part_shape(call.B));
  Tensor<T, 2> dC(part_shape(call.C));
  auto dD = o.D.defined() ? Tensor<T, 2>({batch, shape[2]}) : Tensor<T, 2>();
  auto dbias = o.delta_bias.defined() ? Tensor<T, 2>({batch, shape[2]}) : Tensor<T, 2>();
  const kernels::SelectiveScanGradients<T> out{std::as_const(dy).view(),
                                               checkpoints.data(),
                                               dstate.data(),
                                               du.view(),
                                               ddelta.view(),
                                               dz.view(),
                                               dA.data(),
                                               dB.data(),
                                               dC.data(),
                                               dD.data(),
                                               dbias.data()};
  parallel_for(kernels::selective_scan_backward_items(in), 1, [&](index_t begin, index_t end) {
    kernels::selective_scan_backward(in, out, begin, end);
  });
  g.add(call.u.var(), du);
  g.add(call.delta.var(), ddelta);
  g.add(call.A.var(), sum_leading(dA));
  const auto add_matrix = [&](const ScanMatrix<T>& m, const Tensor<T, 2>& sums) {
    if (m.is_constant()) {
      g.add(m.constant().var(), sum_leading(sums));
    } else if (m.groups() == in.groups) {
      g.add(m.varying().var(), sum_leading(sums));
    } else {
      // [B T, G, N] to [B T, N]: all groups read the same matrix.
      const auto grouped = sum_leading(sums);
      auto sum = Tensor<T, 4>::empty(m.varying().shape());
      for (index_t row = 0; row < batch * shape[1]; ++row)
        kernels::sum_parts(grouped.data() + row * in.groups * states, in.groups, states,
                           sum.data() + row * states);
      g.add(m.varying().var(), sum);
    }
  };
  add_matrix(call.B, dB);
  add_matrix(call.C, dC);
  if (o.D.defined()) g.add(o.D.var(), sum_leading(dD));
  if (o.z.defined()) g.add(o.z.var(), dz);
  if (o.delta_bias.defined()) g.add(o.delta_bias.var(), sum_leading(dbias));
  if (o.initial_state.defined()) g.add(o.initial_state.var(), dstate);
}

/// Runs a checked call with the state before in `state`, which gets the state after in place; the
/// recorded form makes `state` a new value.
template <Scalar T>
Tensor<T, 3> run_selective_scan(const SelectiveScanCall<T>& call, Tensor<T, 3>& state,
                                Recorder* tape) {
  const auto in = call.inputs();
  auto y = Tensor<T, 3>::empty(call.u.shape());
  Tensor<T, 3> checkpoints;
  if (tape != nullptr)
    checkpoints = Tensor<T, 3>::empty(
        {in.batch() * kernels::selective_scan_chunks(in.length()), in.channels(), in.states()});
  if (y.size() > 0) {
    T* const kept = checkpoints.data();
    const auto state_view = state.view();
    const auto y_view = y.view();
    parallel_for(kernels::selective_scan_forward_items(in), 1, [&](index_t begin, index_t end) {
      kernels::selective_scan_forward(in, state_view, y_view, kept, begin, end);
    });
  }
  if (tape != nullptr) {
    const auto yv = tape->track(y);
    const auto sv = tape->track(state);
    tape->push([call, checkpoints, yv, sv](auto& g) -> void {
      selective_scan_backward(call, checkpoints, yv, sv, g);
    });
  }
  return y;
}

template <Scalar T>
Recorder* scan_recording(const SelectiveScanCall<T>& c) noexcept {
  return recording(c.u, c.delta, c.A, c.B.constant(), c.B.varying(), c.C.constant(), c.C.varying(),
                   c.options.D, c.options.z, c.options.delta_bias, c.options.initial_state);
}

}  // namespace detail

/// The selective scan with everything that surrounds it in a Mamba block (arXiv 2312.00752;
/// official `selective_scan_ref`, here time-major):
///
///     dt = delta + delta_bias, then softplus
///     h[n] = exp(dt A[n]) h[n] + dt B[n] u,   y = sum_n h[n] C[n] + D u,   y silu(z)
///
/// u, delta [B, T, E]; A [E, N]; B and C as ScanMatrix. Differentiable in every tensor, the
/// initial state and the last one included, which the official function is not.
/// Any cut of a sequence into calls that pass the state on gives the same bits.
/// Throws ShapeError: "selective_scan: A is [64, 16], expected [E, N] = [128, 16] (u is ...)".
template <Scalar T>
SelectiveScanResult<T> selective_scan(
    const Tensor<T, 3>& u, const Tensor<T, 3>& delta, const Tensor<T, 2>& A,
    const std::type_identity_t<ScanMatrix<T>>& B, const std::type_identity_t<ScanMatrix<T>>& C,
    const std::type_identity_t<SelectiveScanOptions<T>>& options = {}) {
  const detail::SelectiveScanCall<T> call{u, delta, A, B, C, options};
  detail::check_selective_scan(call);
  auto state = options.initial_state.defined()
                   ? options.initial_state.clone()
                   : Tensor<T, 3>(Shape<3>{u.extent(0), u.extent(2), A.extent(1)});
  auto y = detail::run_selective_scan(call, state, detail::scan_recording(call));
  return {y, state};
}

/// The same with the state carried: `state` [B, E, N] holds h before and after; undefined means
/// zeros. When nothing is recorded its own elements are overwritten and y is all that is
/// allocated; when something is, it becomes a new, tracked tensor. `options.initial_state` is
/// ignored. Real-time safe under an arena.
template <Scalar T>
Tensor<T, 3> selective_scan(const Tensor<T, 3>& u, const Tensor<T, 3>& delta, const Tensor<T, 2>& A,
                            const std::type_identity_t<ScanMatrix<T>>& B,
                            const std::type_identity_t<ScanMatrix<T>>& C,
                            std::type_identity_t<SelectiveScanOptions<T>> options,
                            Tensor<T, 3>* state) {
  options.initial_state = *state;
  const detail::SelectiveScanCall<T> call{u, delta, A, B, C, std::move(options)};
  detail::check_selective_scan(call);
  Recorder* const tape = detail::scan_recording(call);
  if (!state->defined()) {
    *state = Tensor<T, 3>(Shape<3>{u.extent(0), u.extent(2), A.extent(1)});
  } else if (tape != nullptr) {
    *state = state->clone();
  }
  return detail::run_selective_scan(call, *state, tape);
}

/// The official layout: u, delta, z and y [B, E, T], B and C [E, N], [B, N, T] or [B, G, N, T].
/// Transposes and calls the time-major form.
template <Scalar T>
SelectiveScanResult<T> selective_scan_channel_major(
    const Tensor<T, 3>& u, const Tensor<T, 3>& delta, const Tensor<T, 2>& A,
    const std::type_identity_t<ScanMatrix<T>>& B, const std::type_identity_t<ScanMatrix<T>>& C,
    std::type_identity_t<SelectiveScanOptions<T>> options = {}) {
  const auto time_major = [](const ScanMatrix<T>& m) {
    if (m.is_constant()) return m;
    // Both [B, N, T] and [B, G, N, T] arrive here as four axes, the first as [B, N, 1, T].
    const Tensor<T, 4>& v = m.varying();
    const bool grouped = !m.is_flat();
    auto folded = v.reshaped(Shape<3>{v.extent(0), v.extent(1) * v.extent(2), v.extent(3)});
    folded.set_var(v.var().id);
    const auto swapped = swap_time_channels(folded);
    const Shape<4> shape{swapped.extent(0), swapped.extent(1), grouped ? v.extent(1) : index_t{1},
                         grouped ? v.extent(2) : v.extent(1)};
    auto out = swapped.reshaped(shape);
    out.set_var(swapped.var().id);
    return ScanMatrix<T>(out);
  };
  if (options.z.defined()) options.z = swap_time_channels(options.z);
  auto result = selective_scan(swap_time_channels(u), swap_time_channels(delta), A, time_major(B),
                               time_major(C), options);
  result.y = swap_time_channels(result.y);
  return result;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::check_selective_scan);
SEQUIN_INSTANTIATE(detail::run_selective_scan);
SEQUIN_INSTANTIATE(selective_scan_channel_major);
