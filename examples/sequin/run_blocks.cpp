// Cases of single operations.
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/ops/causal_conv1d.hpp"
#include "sequin/ops/causal_conv1d_circular.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/ops/selective_scan.hpp"
#include "sequin/ops/shape.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

template <class T>
ScanMatrix<T> time_major_matrix(const CaseIo<T>& io, const std::string& name, bool grad,
                                Tensor<T, 4>& leaf4, Tensor<T, 3>& leaf3, Tensor<T, 2>& leaf2) {
  switch (io.rank(name)) {
    case 2:
      leaf2 = io.template get<2>(name);
      if (grad) leaf2.set_requires_grad();
      return leaf2;
    case 3:
      leaf3 = io.template get<3>(name);
      if (grad) leaf3.set_requires_grad();
      return leaf3;
    default:
      leaf4 = io.template get<4>(name);
      if (grad) leaf4.set_requires_grad();
      return leaf4;
  }
}

/// Step t of B or C in the official layout.
template <class T>
ScanMatrix<T> at_step(const ScanMatrix<T>& m, index_t t) {
  if (m.is_constant()) return m;
  const Tensor<T, 4>& v = m.varying();
  const Tensor<T, 4> now = slice(v, 3, t, t + 1);
  if (!m.is_flat()) return now;
  return reshape<3>(now, Shape<3>{v.extent(0), v.extent(1) * v.extent(2), 1});
}

}  // namespace

template <class T>
void run_selective_scan(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                        const RunOptions& options) {
  auto u = io.template get<3>("u");
  auto delta = io.template get<3>("delta");
  auto A = io.template get<2>("A");
  SelectiveScanOptions<T> o;
  o.D = io.template maybe<1>("D");
  o.z = io.template maybe<3>("z");
  o.delta_bias = io.template maybe<1>("delta_bias");
  o.delta_softplus = config.get_bool("delta_softplus", false);
  o.initial_state = io.template maybe<3>("initial_state");
  const auto want = [&](auto& t) {
    if (options.grad && t.defined()) t.set_requires_grad();
  };
  want(u), want(delta), want(A), want(o.D), want(o.z), want(o.delta_bias), want(o.initial_state);
  Tensor<T, 4> b4, c4;
  Tensor<T, 3> b3, c3;
  Tensor<T, 2> b2, c2;
  const ScanMatrix<T> B = time_major_matrix(io, "B", options.grad, b4, b3, b2);
  const ScanMatrix<T> C = time_major_matrix(io, "C", options.grad, c4, c3, c2);

  if (options.stream) {
    const NoGrad no_grad;
    Tensor<T, 3> y(u.shape());
    SelectiveScanOptions<T> now = o;
    Tensor<T, 3> last = o.initial_state;
    for (index_t t = 0; t < u.extent(2); ++t) {
      if (o.z.defined()) now.z = slice(o.z, 2, t, t + 1);
      now.initial_state = last;
      const auto r = selective_scan_channel_major<T>(
          slice(u, 2, t, t + 1), slice(delta, 2, t, t + 1), A, at_step(B, t), at_step(C, t), now);
      for (index_t i = 0; i < r.y.size(); ++i) y.data()[i * u.extent(2) + t] = r.y.data()[i];
      last = r.last_state;
    }
    io.put("y", y);
    io.put("last_state", last);
  }
  Tape tape;
  const auto r = selective_scan_channel_major<T>(u, delta, A, B, C, o);
  if (!options.stream) {
    io.put("y", r.y);
    io.put("last_state", r.last_state);
  }
  if (!io.has("target")) return;
  Tensor<T, 0> loss = mse_loss(r.y, io.template get<3>("target"));
  if (config.get_bool("loss_has_last_state", false))
    loss = loss + mse_loss(r.last_state, io.template get<3>("target_state"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradient("input.u", g, u);
  io.put_gradient("input.delta", g, delta);
  io.put_gradient("input.A", g, A);
  io.put_gradient("input.B", g, b2), io.put_gradient("input.B", g, b3);
  io.put_gradient("input.B", g, b4);
  io.put_gradient("input.C", g, c2), io.put_gradient("input.C", g, c3);
  io.put_gradient("input.C", g, c4);
  io.put_gradient("input.D", g, o.D);
  io.put_gradient("input.z", g, o.z);
  io.put_gradient("input.delta_bias", g, o.delta_bias);
  io.put_gradient("input.initial_state", g, o.initial_state);
}

template <class T>
void run_causal_conv1d(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                       const RunOptions& options) {
  auto x = io.template get<3>("x");
  auto weight = io.template get<2>("weight");
  CausalConv1dOptions<T> o;
  o.bias = io.template maybe<1>("bias");
  const std::string activation = config.get_string("activation", "");
  if (!activation.empty() && activation != "silu" && activation != "swish")
    throw ConfigError(config.label() + ": activation: expected null, silu or swish, found '" +
                      detail::printable(activation) + "'");
  o.silu = !activation.empty();

  if (config.get_string("mode", "sequence") == "update") {
    auto state = io.template get<3>("conv_state");
    const bool circular = config.get_bool("circular", false);
    Tensor<std::int32_t, 1> seen;
    if (circular) seen = io.template integers<std::int32_t, 1>("cache_seqlens");
    Tensor<T, 3> y(x.shape());
    index_t at = 0;
    for (const auto length : config.get_int_list("pieces")) {
      if (length < 0 || at + length > x.extent(2))
        throw ConfigError(config.label() + ": pieces: expected lengths that add up to " +
                          std::to_string(x.extent(2)) + ", found more");
      const Tensor<T, 3> piece = swap_time_channels(slice(x, 2, at, at + length));
      const Tensor<T, 3> out = circular ? causal_conv1d_circular(piece, weight, o, state, seen)
                                        : causal_conv1d(piece, weight, o, &state);
      if (circular)
        for (auto& count : seen.span()) count += static_cast<std::int32_t>(length);
      const Tensor<T, 3> channels = swap_time_channels(out);
      for (index_t r = 0; r < x.extent(0) * x.extent(1); ++r)
        std::copy_n(channels.data() + r * length, length, y.data() + r * x.extent(2) + at);
      at += length;
    }
    io.put("y", y);
    io.put("conv_state", state);
    return;
  }

  auto initial = io.template maybe<3>("initial_states");
  const auto want = [&](auto& t) {
    if (options.grad && t.defined()) t.set_requires_grad();
  };
  want(x), want(weight), want(o.bias), want(initial);
  Tape tape;
  const auto r = causal_conv1d_channel_major(x, weight, o, initial);
  if (options.stream) {
    const NoGrad no_grad;
    auto state = initial.defined() ? initial.clone()
                                   : Tensor<T, 3>({x.extent(0), x.extent(1), weight.extent(1) - 1});
    Tensor<T, 3> y(x.shape());
    for (index_t t = 0; t < x.extent(2); ++t) {
      const auto out = causal_conv1d(swap_time_channels(slice(x, 2, t, t + 1)), weight, o, &state);
      for (index_t i = 0; i < out.size(); ++i) y.data()[i * x.extent(2) + t] = out.data()[i];
    }
    io.put("y", y);
    io.put("final_states", state);
  } else {
    io.put("y", r.y);
    io.put("final_states", r.final_state);
  }
  if (!io.has("target")) return;
  const Tensor<T, 0> loss = mse_loss(r.y, io.template get<3>("target"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradient("input.x", g, x);
  io.put_gradient("input.weight", g, weight);
  io.put_gradient("input.bias", g, o.bias);
  io.put_gradient("input.initial_states", g, initial);
}

namespace {

const RegisterModel registered[] = {
    {"blocks/selective_scan", "arXiv 2312.00752", "the state-space recurrence of Mamba", true, true,
     SEQUIN_CLI_RUN(run_selective_scan)},
    {"blocks/causal_conv1d", "arXiv 2312.00752", "depthwise causal convolution", true, true,
     SEQUIN_CLI_RUN(run_causal_conv1d)}};

}  // namespace

}  // namespace sequin_cli
