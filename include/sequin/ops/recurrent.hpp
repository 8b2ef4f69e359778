/// What the operations gru and lstm share: parameters, their packed form, checks, weight gradients.
#pragma once

#include "sequin/kernels/recurrent.hpp"
#include "sequin/ops/matmul.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// The parameters of one layer and direction of torch.nn.GRU (G = 3 gates) or torch.nn.LSTM (G =
/// 4).
template <Scalar T>
struct RecurrentParameters {
  Tensor<T, 2> weight_ih;  ///< (G H, I)
  Tensor<T, 2> weight_hh;  ///< (G H, H)
  Tensor<T, 1> bias_ih;    ///< (G H), undefined without biases
  Tensor<T, 1> bias_hh;    ///< (G H), undefined without biases
};

/// Parameters packed for inference. It remembers which version of them it was made from and is not
/// used once one has changed.
template <Scalar T>
class PackedRecurrent {
 public:
  /// `gates` is G. Allocates.
  void pack(const RecurrentParameters<T>& p, index_t gates) {
    if (p.weight_ih.released()) return;
    const index_t hidden = p.weight_hh.extent(1);
    const index_t columns = kernels::recurrent_columns<T>(gates, hidden);
    const auto packed = [&](const Tensor<T, 2>& weight) {
      const index_t k = weight.extent(1);
      auto to = Tensor<T, 1>::empty({kernels::packed_size<T>(k, columns)});
      kernels::pack_gates(weight.data(), gates, hidden, k, to.data());
      return to;
    };
    const auto packed_bias = [&](const Tensor<T, 1>& bias) {
      auto to = Tensor<T, 1>::empty({columns});
      kernels::pack_gate_bias(bias.data(), gates, hidden, to.data());
      return to;
    };
    input_ = packed(p.weight_ih);
    recurrent_ = packed(p.weight_hh);
    input_bias_ = packed_bias(p.bias_ih);
    recurrent_bias_ = packed_bias(p.bias_hh);
    const Tensor<T, 1>& bias = input_bias_;
    weights_ = {std::as_const(input_).data(),
                std::as_const(recurrent_).data(),
                bias.data(),
                std::as_const(recurrent_bias_).data(),
                p.weight_ih.extent(1),
                hidden};
    made_from_ = Source(p);
  }

  /// Packs them and gives up their memory: they keep their extents only.
  void take(RecurrentParameters<T>& p, index_t gates) {
    if (!p.weight_ih.defined()) return;
    pack(p, gates);
    p.weight_ih.release();
    p.weight_hh.release();
    p.bias_ih.release();
    p.bias_hh.release();
    made_from_ = {};
  }

  /// True when this is the packed form of `p` as it is now.
  bool fresh(const RecurrentParameters<T>& p) const noexcept {
    return weights_.recurrent != nullptr && made_from_ == Source(p);
  }

  const kernels::RecurrentWeights<T>& weights() const noexcept { return weights_; }

 private:
  struct Source {
    const T *weight_ih = nullptr, *weight_hh = nullptr, *bias_ih = nullptr, *bias_hh = nullptr;
    std::uint32_t versions[4] = {};

    Source() = default;
    explicit Source(const RecurrentParameters<T>& p) noexcept
        : weight_ih(p.weight_ih.data()),
          weight_hh(p.weight_hh.data()),
          bias_ih(p.bias_ih.data()),
          bias_hh(p.bias_hh.data()),
          versions{p.weight_ih.version(), p.weight_hh.version(), p.bias_ih.version(),
                   p.bias_hh.version()} {}
    bool operator==(const Source&) const noexcept = default;
  };

  Tensor<T, 1> input_, recurrent_, input_bias_, recurrent_bias_;
  kernels::RecurrentWeights<T> weights_;
  Source made_from_;
};

/// How a recurrent layer reads its input.
template <Scalar T>
struct RecurrentOptions {
  bool reverse = false;                        ///< from the last step to the first
  const PackedRecurrent<T>* packed = nullptr;  ///< used when it is fresh
};

namespace detail {

/// Throws ShapeError unless x (B, T, I), the parameters and each given state (B, H) fit.
template <Scalar T, class... States>
void check_recurrent(const char* name, index_t gates, const Tensor<T, 3>& x,
                     const RecurrentParameters<T>& p, const States&... states) {
  const auto fail = [&](const char* what, const std::string& found, const std::string& expected) {
    throw ShapeError(std::string(name) + ": " + what + " is " + found + ", expected " + expected +
                     " (x is " + to_string(x.shape()) + ", weight_hh " +
                     to_string(p.weight_hh.shape()) + ")");
  };
  const auto check = [&](const char* what, const auto& t, const auto& expected,
                         const char* letters) {
    if (t.shape() != expected) fail(what, to_string(t.shape()), letters + to_string(expected));
  };
  if (!x.defined()) throw ShapeError(std::string(name) + ": x is undefined, expected [B, T, I]");
  const index_t hidden = p.weight_hh.extent(1);
  const index_t rows = gates * hidden;
  const std::string letter = gates == 3 ? "3" : "4";
  check("weight_hh", p.weight_hh, Shape<2>{rows, hidden}, ("[" + letter + "H, H] = ").c_str());
  check("weight_ih", p.weight_ih, Shape<2>{rows, x.extent(2)}, ("[" + letter + "H, I] = ").c_str());
  if (p.bias_ih.defined())
    check("bias_ih", p.bias_ih, Shape<1>{rows}, ("[" + letter + "H] = ").c_str());
  if (p.bias_hh.defined())
    check("bias_hh", p.bias_hh, Shape<1>{rows}, ("[" + letter + "H] = ").c_str());
  const auto check_state = [&](const auto& state) {
    if (state.defined()) check("the state", state, Shape<2>{x.extent(0), hidden}, "[B, H] = ");
  };
  (check_state(states), ...);
}

/// The packed parameters: the given ones when fresh, else made here in `own`. Throws ConfigError
/// for parameters that were given up and are to be trained.
template <Scalar T>
const kernels::RecurrentWeights<T>& recurrent_weights(const char* name, index_t gates,
                                                      const RecurrentParameters<T>& p,
                                                      const RecurrentOptions<T>& options,
                                                      bool recorded, PackedRecurrent<T>& own) {
  const bool fresh = options.packed != nullptr && options.packed->fresh(p);
  if (p.weight_ih.released() && (recorded || !fresh))
    throw ConfigError(std::string(name) + ": the weight " + to_string(p.weight_ih.shape()) +
                      " was given up by prepare_for_inference, which ends training");
  if (fresh) return options.packed->weights();
  own.pack(p, gates);
  return own.weights();
}

/// x W_ih^T + b_ih for every step, columns as packed: (B T, columns).
template <Scalar T>
Tensor<T, 2> input_gates(const Tensor<T, 3>& x, const kernels::RecurrentWeights<T>& w,
                         index_t columns) {
  const index_t rows = x.extent(0) * x.extent(1);
  auto gates = Tensor<T, 2>::empty({rows, columns});
  kernels::GemmProblem<T> p;
  p.a = x.data();
  p.a_row = w.input_size;
  p.b = w.input;
  p.c = gates.data();
  p.c_row = columns;
  p.bias = w.input_bias;
  p.n = columns;
  p.k = w.input_size;
  parallel_gemm(p, rows);
  return gates;
}

/// h before every step (B T, H): y moved on by one step, beginning with `before`.
template <Scalar T>
Tensor<T, 2> states_before(const Tensor<T, 3>& y, const Tensor<T, 2>& before, bool reverse) {
  const index_t length = y.extent(1);
  const index_t hidden = y.extent(2);
  auto h = Tensor<T, 2>::empty({y.extent(0) * length, hidden});
  T* const to = h.data();
  for (index_t b = 0; b < y.extent(0) && length > 0; ++b) {
    const T* const from = y.data() + b * length * hidden;
    T* const rows = to + b * length * hidden;
    const index_t moved = (length - 1) * hidden;
    std::copy_n(from + (reverse ? hidden : 0), moved, rows + (reverse ? 0 : hidden));
    std::copy_n(before.data() + b * hidden, hidden, rows + (reverse ? moved : 0));
  }
  return h;
}

/// Adds the gradients of x and of all parameters, given those of what enters the gates, (B T, G H).
template <Scalar T>
void add_recurrent_gradients(Gradients& g, const Tensor<T, 3>& x, const RecurrentParameters<T>& p,
                             const Tensor<T, 2>& before, const Tensor<T, 2>& dx_gates,
                             const Tensor<T, 2>& dh_gates) {
  const index_t steps = dx_gates.extent(0);
  const index_t rows = dx_gates.extent(1);
  const auto weight_gradient = [&](const Tensor<T, 2>& weight, const Tensor<T, 2>& d,
                                   const T* input) {
    if (!g.wants(weight.var())) return;
    const index_t width = weight.extent(1);
    auto dw = Tensor<T, 2>::empty(weight.shape());
    product(d.data(), index_t{1}, rows, input, width, dw.data(), rows, width, steps);
    g.add(weight.var(), dw);
  };
  weight_gradient(p.weight_ih, dx_gates, x.data());
  weight_gradient(p.weight_hh, dh_gates, before.data());
  if (g.wants(p.bias_ih.var())) g.add(p.bias_ih.var(), column_sums(dx_gates.data(), steps, rows));
  if (g.wants(p.bias_hh.var())) g.add(p.bias_hh.var(), column_sums(dh_gates.data(), steps, rows));
  if (!g.wants(x.var())) return;
  auto dx = Tensor<T, 3>::empty(x.shape());
  product(dx_gates.data(), rows, index_t{1}, p.weight_ih.data(), x.extent(2), dx.data(), steps,
          x.extent(2), rows);
  g.add(x.var(), dx);
}

/// weight_hh as the second factor of a product with gradients of gates.
template <Scalar T>
Tensor<T, 1> backward_panels(const Tensor<T, 2>& weight_hh) {
  const index_t hidden = weight_hh.extent(1);
  return pack_b_parallel(weight_hh.data(), hidden, index_t{1}, weight_hh.extent(0), hidden);
}

/// The gradient that arrived at a state, or zeros, as memory of one's own.
template <Scalar T>
Tensor<T, 2> own_gradient(Gradients& g, const Var<T, 2>& state) {
  const auto d = g.take(state);
  return d.defined() ? d.clone() : Tensor<T, 2>(state.shape);
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
