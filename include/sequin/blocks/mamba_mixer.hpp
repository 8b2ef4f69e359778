/// The selective state-space mixer of Mamba (v1).
#pragma once

#include "sequin/blocks/linear.hpp"
#include "sequin/core/no_grad.hpp"
#include "sequin/core/stream_state.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/causal_conv1d.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/selective_scan.hpp"
#include "sequin/ops/shape.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

/// Constructor arguments of `Mamba` under their official names.
struct MambaMixerConfig {
  index_t d_model = 0;
  index_t d_state = 16;
  index_t d_conv = 4;
  double expand = 2;
  index_t dt_rank = 0;  ///< 0: "auto", ceil(d_model / 16)
  bool bias = false;    ///< of in_proj and out_proj
  bool conv_bias = true;

  index_t d_inner() const noexcept {
    return static_cast<index_t>(expand * static_cast<double>(d_model));
  }
  index_t rank() const noexcept { return dt_rank > 0 ? dt_rank : (d_model + 15) / 16; }

  /// Number of parameters of a mixer of this configuration.
  double parameter_count() const {
    const auto d = static_cast<double>(d_model);
    const auto e = static_cast<double>(d_inner());
    const auto n = static_cast<double>(d_state);
    const auto r = static_cast<double>(rank());
    return e * n + e + 2 * e * d + (bias ? 2 * e + d : 0) + e * static_cast<double>(d_conv) +
           (conv_bias ? e : 0) + (r + 2 * n) * e + e * r + e + d * e;
  }

  /// Reads the official constructor arguments (`ssm_cfg` of a model, the config of a block).
  /// Throws ConfigError.
  template <class Reader>
  static MambaMixerConfig read(const Reader& r, index_t d_model) {
    constexpr index_t kMax = index_t{1} << 20;
    MambaMixerConfig c;
    c.d_model = d_model;
    c.d_state = r.get_int("d_state", 16, 1, 4096);
    c.d_conv = r.get_int("d_conv", 4, 1, 4096);
    c.expand = r.get_double("expand", 2.0, 1e-6, 4096.0);
    c.dt_rank = r.is_string("dt_rank") && r.get_string("dt_rank", "auto") == "auto"
                    ? 0
                    : r.get_int("dt_rank", 0, r.has("dt_rank") ? 1 : 0, kMax);
    c.bias = r.get_bool("bias", false);
    c.conv_bias = r.get_bool("conv_bias", true);
    if (c.d_inner() < 1)
      throw ConfigError(r.label() + ": expand: expected at least 1 / d_model, found " +
                        std::to_string(c.expand));
    return c;
  }
};

/// What a mixer remembers of B sequences.
template <Scalar T>
struct MambaMixerState : StreamState<MambaMixerState<T>> {
  /// (B, E, d_conv): the last raw inputs of the convolution, oldest first.
  StateTensor<T, 3> conv_state;
  StateTensor<T, 3> ssm_state;  ///< (B, E, N)

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("conv_state", s.conv_state...);
    v.tensor("ssm_state", s.ssm_state...);
  }
};

/// `Mamba` of mamba_ssm/modules/mamba_simple.py; Gu and Dao, "Mamba: Linear-Time Sequence Modeling
/// with Selective State Spaces", arXiv 2312.00752, algorithm 2.
template <Scalar T>
class MambaMixer {
 public:
  using value_type = T;
  using State = MambaMixerState<T>;

  Tensor<T, 2> A_log;  ///< (E, N)
  Tensor<T, 1> D;      ///< (E)
  Linear<T> in_proj;
  Tensor<T, 3> conv1d_weight;  ///< (E, 1, K)
  Tensor<T, 1> conv1d_bias;    ///< (E) or undefined
  Linear<T> x_proj;
  Linear<T> dt_proj;
  Linear<T> out_proj;

  MambaMixer() = default;
  explicit MambaMixer(const MambaMixerConfig& config)
      : A_log({config.d_inner(), config.d_state}),
        D({config.d_inner()}, T{1}),
        in_proj(config.d_model, 2 * config.d_inner(), config.bias),
        conv1d_weight({config.d_inner(), 1, config.d_conv}),
        x_proj(config.d_inner(), config.rank() + 2 * config.d_state, false),
        dt_proj(config.rank(), config.d_inner()),
        out_proj(config.d_inner(), config.d_model, config.bias),
        config_(config) {
    if (config.conv_bias) conv1d_bias = Tensor<T, 1>(Shape<1>{config.d_inner()});
  }

  const MambaMixerConfig& config() const noexcept { return config_; }

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.conv_state = Tensor<T, 3>({batch, config_.d_inner(), config_.d_conv});
    state.ssm_state = Tensor<T, 3>({batch, config_.d_inner(), config_.d_state});
    return state;
  }
  /// The scan sees everything so far.
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }

  /// v (B, T, D) -> (B, T, D), any T >= 0. With a state, the sequence continues where the last call
  /// ended, and the state is updated: any cutting into calls gives the result of one call. `mask`
  /// (B, T), undefined or 0 at padding on the left and 1 elsewhere, makes padding leave no trace.
  Tensor<T, 3> forward(const Tensor<T, 3>& v, State* state = nullptr,
                       const Tensor<T, 2>& mask = {}) const {
    const index_t inner = config_.d_inner();
    const index_t rank = config_.rank();
    const index_t states = config_.d_state;
    const Tensor<T, 3> xz = in_proj.forward(v);
    const Tensor<T, 3> z = slice(xz, 2, inner, 2 * inner);
    const auto masked = [&](const Tensor<T, 3>& x) {
      return mask.defined() ? x * mask.template reshaped<3>({x.extent(0), x.extent(1), 1}) : x;
    };
    const Tensor<T, 3> x_raw = masked(slice(xz, 2, 0, inner));
    const CausalConv1dOptions<T> conv{conv1d_bias, true};
    const Tensor<T, 3> x =
        masked(state == nullptr ? causal_conv1d(x_raw, conv1d_weight, conv).y
                                : causal_conv1d(x_raw, conv1d_weight, conv, &state->conv_state));

    const Tensor<T, 3> dbc = x_proj.forward(x);
    // The bias of dt_proj enters inside the scan, before softplus.
    const Tensor<T, 3> delta = linear(slice(dbc, 2, 0, rank), dt_proj.weight, Tensor<T, 1>{},
                                      Activation::identity, dt_proj.packed());
    const Tensor<T, 3> b = slice(dbc, 2, rank, rank + states);
    const Tensor<T, 3> c = slice(dbc, 2, rank + states, rank + 2 * states);
    SelectiveScanOptions<T> scan;
    scan.D = D;
    scan.z = z;
    scan.delta_bias = dt_proj.bias;
    scan.delta_softplus = true;
    const Tensor<T, 2> a = negative_exp_A_log();
    const Tensor<T, 3> y = state == nullptr
                               ? selective_scan<T>(x, delta, a, b, c, scan).y
                               : selective_scan<T>(x, delta, a, b, c, scan, &state->ssm_state);
    return probe(*this, out_proj.forward(y));
  }

  /// Draws fresh parameters as the official constructor does: A_log = log(1..N), D = 1, dt between
  /// dt_min = 0.001 and dt_max = 0.1.
  void initialize(Generator& generator) {
    in_proj.initialize(generator);
    init::torch_default(conv1d_weight, conv1d_bias, generator);
    x_proj.initialize(generator);
    out_proj.initialize(generator);
    init::uniform(dt_proj.weight, 1 / std::sqrt(static_cast<double>(config_.rank())), generator);
    for (T& bias : dt_proj.bias.span()) {
      const double low = std::log(0.001);
      const double high = std::log(0.1);
      const double dt =
          (std::max)(std::exp(generator.uniform<double>() * (high - low) + low), 1e-4);
      bias = static_cast<T>(dt + std::log(-std::expm1(-dt)));
    }
    for (index_t e = 0; e < A_log.extent(0); ++e)
      for (index_t n = 0; n < A_log.extent(1); ++n)
        A_log(e, n) = static_cast<T>(std::log(static_cast<double>(n + 1)));
    D.fill(T{1});
  }

  void visit(Visitor<T>& v) {
    v.parameter("A_log", A_log);
    v.parameter("D", D);
    v.child("in_proj", in_proj);
    v.parameter("conv1d.weight", conv1d_weight);
    v.parameter("conv1d.bias", conv1d_bias);
    v.child("x_proj", x_proj);
    v.child("dt_proj", dt_proj);
    v.child("out_proj", out_proj);
    v.derived(*this);
  }
  void refresh_derived() {
    const NoGrad no_grad;
    A_ = neg(exp(A_log));
    A_version_ = A_log.version();
  }

 private:
  Tensor<T, 2> negative_exp_A_log() const {
    const bool fresh = A_.defined() && A_version_ == A_log.version() && !recording_is_on();
    return fresh ? A_ : neg(exp(A_log));
  }

  MambaMixerConfig config_;
  Tensor<T, 2> A_;  // -exp(A_log) of version A_version_
  std::uint32_t A_version_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
