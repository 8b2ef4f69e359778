/// Activation functions as operations of their own.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/activation.hpp"

namespace sequin::inline SEQUIN_ABI {

/// activation(x), elementwise.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> activate(const Tensor<T, Rank>& x, Activation activation) {
  if (activation == Activation::identity) return x;
  auto y = Tensor<T, Rank>::empty(x.shape());
  T* const to = y.data();
  parallel_for(x.size(), index_t{8192}, [&](index_t begin, index_t end) {
    kernels::activation_forward(activation, x.data() + begin, to + begin, end - begin);
  });
  if (Tape* tape = recording(x))
    tape->push([x, activation, xv = x.var(), yv = tape->track(y)](Gradients& g) {
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

}  // namespace sequin::inline SEQUIN_ABI
