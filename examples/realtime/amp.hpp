/// A causal model of an audio effect: one sample in, one sample out.
#pragma once

#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/linear.hpp"
#include "sequin/ops/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

namespace realtime {

using sequin::index_t;

/// config.json of an Amp.
struct AmpConfig {
  index_t hidden_size = 16;
  index_t sample_rate = 48000;  ///< of the audio that it was trained on

  double parameter_count() const {
    const auto h = static_cast<double>(hidden_size);
    return 3 * h * (h + 3) + h + 1;
  }

  /// Throws ConfigError.
  template <class Reader>
  static AmpConfig read(const Reader& r) {
    if (const std::string name = r.get_string("model"); name != "amp")
      throw sequin::ConfigError(r.label() + ": model: expected amp, found '" +
                                sequin::detail::printable(name) + "'");
    AmpConfig c;
    c.hidden_size = r.get_int("hidden_size", 1, 1024);
    c.sample_rate = r.get_int("sample_rate", 8000, 768000);
    return c;
  }
};

/// y_t = x_t + w h_t + b with h = GRU(x): Wright, Damskägg, Juvela and Välimäki, "Real-Time Guitar
/// Amplifier Emulation with Deep Learning", Applied Sciences 10 (2020), the GRU in place of their
/// LSTM.
template <sequin::Scalar T>
class Amp {
 public:
  using value_type = T;
  using Config = AmpConfig;
  using State = sequin::GruState<T>;
  using StreamInput = T;

  sequin::Gru<T> gru;
  sequin::Linear<T> linear;

  explicit Amp(const AmpConfig& c)
      : gru({.input_size = 1, .hidden_size = c.hidden_size}),
        linear(c.hidden_size, 1),
        config_(c) {}

  const AmpConfig& config() const noexcept { return config_; }

  /// Samples (B, T, 1) -> (B, T, 1).
  sequin::Tensor<T, 3> forward(const sequin::Tensor<T, 3>& x, State* state = nullptr) const {
    return x + linear.forward(gru.forward(x, state));
  }

  // What BlockStream needs.
  State initial_state(index_t batch) const { return gru.initial_state(batch); }
  index_t stream_width() const noexcept { return 1; }
  sequin::StreamTiming timing() const noexcept { return gru.timing(); }
  /// What is not a number would stay in the state.
  bool accepts(std::span<const T> x) const noexcept {
    return std::all_of(x.begin(), x.end(), [](T v) { return std::isfinite(v); });
  }
  sequin::Tensor<T, 2> step(std::span<const T> x, State& state) const {
    const auto batch = static_cast<index_t>(x.size());
    return sequin::Tensor<T, 2>({batch, 1}, x) + linear.forward(gru.step(x, state));
  }

  void initialize(sequin::Generator& generator) {
    gru.initialize(generator);
    linear.initialize(generator);
  }
  void visit(sequin::Visitor<T>& v) {
    v.child("gru", gru);
    v.child("linear", linear);
  }

 private:
  AmpConfig config_;
};

}  // namespace realtime
