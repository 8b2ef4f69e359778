/// Activation functions as operations of their own.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/activation.hpp"

#include <string>
#include <string_view>

namespace sequin::inline SEQUIN_ABI {

/// The activation that transformers' ACT2FN calls `name`. Throws ConfigError, its message beginning
/// with `label`.
inline Activation activation_named(std::string_view name, const std::string& label) {
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu" || name == "gelu_python") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh")
    return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "tanh") return Activation::tanh;
  if (name == "linear") return Activation::identity;
  detail::fail<ConfigError>(
      {label, ": expected silu, gelu, gelu_new, relu, sigmoid, tanh or linear, found '",
       detail::printable(name, 60), "'"});
}

/// activation(x), elementwise.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> activate(const Tensor<T, Rank>& x, Activation activation) {
  if (activation == Activation::identity) return x;
  auto y = Tensor<T, Rank>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.size(), index_t{8192}, [&](index_t begin, index_t end) {
    kernels::activation_forward(activation, x.data() + begin, to + begin, end - begin);
  });
  if (Recorder* tape = recording(x))
    tape->push([x, activation, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      auto dx = Tensor<T, Rank>::empty(x.shape());
      T* const out = dx.data();
      parallel_for(x.size(), index_t{8192}, [&](index_t begin, index_t end) {
        kernels::activation_backward(activation, x.data() + begin, dy.data() + begin, out + begin,
                                     end - begin);
      });
      g.add(xv, dx);
    });
  return y;
}

/// max(x, 0).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> relu(const Tensor<T, Rank>& x) {
  return activate(x, Activation::relu);
}
/// x / 2 (1 + erf(x / sqrt 2)).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> gelu(const Tensor<T, Rank>& x) {
  return activate(x, Activation::gelu);
}
/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> gelu_tanh(const Tensor<T, Rank>& x) {
  return activate(x, Activation::gelu_tanh);
}
/// x sigmoid(x).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> silu(const Tensor<T, Rank>& x) {
  return activate(x, Activation::silu);
}
/// 1 / (1 + e^-x).
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> sigmoid(const Tensor<T, Rank>& x) {
  return activate(x, Activation::sigmoid);
}
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> tanh(const Tensor<T, Rank>& x) {
  return activate(x, Activation::tanh);
}
/// log(1 + e^x); x itself above 20, as in PyTorch.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> softplus(const Tensor<T, Rank>& x) {
  return activate(x, Activation::softplus);
}
/// x above 0, e^x - 1 below: torch.nn.functional.elu with alpha 1.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> elu(const Tensor<T, Rank>& x) {
  return activate(x, Activation::elu);
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE_RANKS(activate);
SEQUIN_INSTANTIATE_RANKS(relu);
SEQUIN_INSTANTIATE_RANKS(gelu);
SEQUIN_INSTANTIATE_RANKS(gelu_tanh);
SEQUIN_INSTANTIATE_RANKS(silu);
SEQUIN_INSTANTIATE_RANKS(sigmoid);
SEQUIN_INSTANTIATE_RANKS(tanh);
SEQUIN_INSTANTIATE_RANKS(softplus);
SEQUIN_INSTANTIATE_RANKS(elu);
