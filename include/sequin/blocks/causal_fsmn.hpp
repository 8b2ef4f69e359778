/// The causal feed-forward sequential memory network: a memory of the past that streams.
#pragma once

#include "sequin/blocks/linear.hpp"
#include "sequin/core/stream_state.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/ops/causal_conv1d.hpp"
#include "sequin/ops/elementwise.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a CausalFsmn.
struct CausalFsmnConfig {
  index_t dim = 0;      ///< in and out
  index_t hidden = 0;   ///< of the map between
  index_t lorder = 20;  ///< steps that the memory sees, the current one included
};

/// What a CausalFsmn remembers of B sequences: the last lorder - 1 steps of p.
template <Scalar T>
struct CausalFsmnState : StreamState<CausalFsmnState<T>> {
  StateTensor<T, 3> memory;  ///< (B, C, lorder - 1), oldest first

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("memory", s.memory...);
  }
};

/// y_t = x_t + p_t + sum_i a_i * p_{t-i}, i = 0 .. lorder - 1, with p = project(relu(linear(x)))
/// and one vector a_i of weights for each lag: the vectorised, unidirectional memory of Zhang et
/// al., "Feedforward Sequential Memory Networks: A New Structure to Learn Long-term Dependency",
/// arXiv 1512.08301 (2015), eq. 4, on the projected layer with skip connections of arXiv
/// 1803.05030. The two-sided form of MossFormer2 is Fsmn.
template <Scalar T>
class CausalFsmn {
 public:
  using value_type = T;
  using State = CausalFsmnState<T>;

  Linear<T> linear, project;
  Tensor<T, 3> memory;  ///< (C, 1, lorder): a, the last tap meets the current step

  CausalFsmn() = default;
  /// Throws ConfigError.
  explicit CausalFsmn(const CausalFsmnConfig& c)
      : linear(c.dim, c.hidden), project(c.hidden, c.dim, false), config_(c) {
    if (c.dim < 1 || c.hidden < 1 || c.lorder < 1)
      throw ConfigError("CausalFsmn: dim is " + std::to_string(c.dim) + ", hidden " +
                        std::to_string(c.hidden) + " and lorder " + std::to_string(c.lorder) +
                        ", expected >= 1");
    memory = Tensor<T, 3>({c.dim, 1, c.lorder});
  }

  const CausalFsmnConfig& config() const noexcept { return config_; }

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.memory = Tensor<T, 3>({batch, config_.dim, config_.lorder - 1});
    return state;
  }
  StreamTiming timing() const noexcept { return {config_.lorder, 0, 0}; }

  /// x (B, T, C) -> (B, T, C), any T >= 0. With a state, the sequence continues where the last call
  /// ended: any cutting into calls gives the result of one call. Throws ShapeError. Real-time safe
  /// under an arena.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr) const {
    const Tensor<T, 3> p = project.forward(linear.forward(x, Activation::relu));
    const CausalConv1dOptions<T> plain;
    const Tensor<T, 3> remembered = state == nullptr
                                        ? causal_conv1d(p, memory, plain).y
                                        : causal_conv1d(p, memory, plain, &state->memory);
    return probe(*this, x + (p + remembered));
  }

  void initialize(Generator& generator) {
    linear.initialize(generator);
    project.initialize(generator);
    Tensor<T, 1> none;
    init::torch_default(memory, none, generator);
  }

  void visit(Visitor<T>& v) {
    v.child("linear", linear);
    v.child("project", project);
    v.parameter("memory.weight", memory);
  }

 private:
  CausalFsmnConfig config_;
};

}  // namespace sequin::inline SEQUIN_ABI
