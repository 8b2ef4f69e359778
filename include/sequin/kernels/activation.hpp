/// Activation functions over arrays, forward and backward.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"
#include "sequin/core/vmath.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What a fused operation applies last.
enum class Activation { identity, relu, gelu, gelu_tanh, silu, sigmoid, tanh, softplus, elu };

namespace kernels {
namespace detail {

/// Calls `f` with the vector function of `activation` and its derivative. NaN stays NaN.
template <class T, class F>
void with_activation(Activation activation, F&& f) {
  using V = simd::Vec<T>;
  switch (activation) {
    case Activation::identity:
      return f([](const V& x) { return x; }, [](const V&) { return V(T{1}); });
    case Activation::relu:
      return f([](const V& x) { return simd::max<T>(V(T{0}), x); },
               [](const V& x) { return simd::select<T>(x <= V(T{0}), V(T{0}), V(T{1})); });
    case Activation::gelu:
      return f([](const V& x) { return simd::gelu_erf<T>(x); },
               [](const V& x) { return simd::gelu_erf_grad<T>(x); });
    case Activation::gelu_tanh:
      return f([](const V& x) { return simd::gelu_tanh<T>(x); },
               [](const V& x) { return simd::gelu_tanh_grad<T>(x); });
    case Activation::silu:
      return f([](const V& x) { return simd::silu<T>(x); },
               [](const V& x) { return simd::silu_grad<T>(x); });
    case Activation::sigmoid:
      return f([](const V& x) { return simd::sigmoid<T>(x); },
               [](const V& x) { return simd::sigmoid_grad<T>(x); });
    case Activation::tanh:
      return f([](const V& x) { return simd::tanh<T>(x); },
               [](const V& x) { return simd::tanh_grad<T>(x); });
    case Activation::softplus:
      return f([](const V& x) { return simd::softplus<T>(x); },
               [](const V& x) { return simd::softplus_grad<T>(x); });
    case Activation::elu:
      return f([](const V& x) { return simd::elu<T>(x); },
               [](const V& x) { return simd::elu_grad<T>(x); });
  }
}

}  // namespace detail

/// y[i] = activation(x[i]); y may be x. Real-time safe.
template <class T>
void activation_forward(Activation activation, const T* x, T* y, index_t n) {
  detail::with_activation<T>(
      activation, [&](auto function, auto) { simd::transform_once<T>(n, y, function, x); });
}

/// dx[i] = dy[i] * activation'(x[i]), x being the input; dx may be dy. Real-time safe.
template <class T>
void activation_backward(Activation activation, const T* x, const T* dy, T* dx, index_t n) {
  detail::with_activation<T>(activation, [&](auto, auto derivative) {
    simd::transform_once<T>(
        n, dx, [&](const auto& v, const auto& d) { return d * derivative(v); }, x, dy);
  });
}

}  // namespace kernels
}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(kernels::activation_forward);
SEQUIN_INSTANTIATE(kernels::activation_backward);
