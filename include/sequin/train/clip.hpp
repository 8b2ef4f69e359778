/// Gradient clipping with PyTorch's semantics.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/core/replicas.hpp"

#include <array>
#include <cmath>
#include <span>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Takes the gradients of `parameters` (of an Optimizer or a ParameterList's items) out of
/// `gradients`, one tensor for each, undefined where none arrived. They may be written: one that
/// shares its memory with anything is copied first.
template <Scalar T>
std::vector<Tensor<T, 1>> take_gradients(Gradients& gradients,
                                         std::span<const Parameter<T>> parameters) {
  std::vector<Tensor<T, 1>> taken(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!gradients.has(parameters[i].values)) continue;
    taken[i] = gradients.take(parameters[i].values.var());
    if (!taken[i].storage().unique()) taken[i] = taken[i].clone();
  }
  return taken;
}
template <Scalar T>
std::vector<Tensor<T, 1>> take_gradients(Gradients& gradients,
                                         const std::vector<Parameter<T>>& parameters) {
  return take_gradients(gradients, std::span<const Parameter<T>>(parameters));
}

namespace detail {

/// The sum of squares in double, in an order that nothing but n decides.
template <class T>
double sum_of_squares(std::span<const T> x) noexcept {
  std::array<double, 8> sums{};
  std::size_t i = 0;
  for (; i + 8 <= x.size(); i += 8)
    for (std::size_t k = 0; k < 8; ++k) {
      const auto v = static_cast<double>(x[i + k]);
      sums[k] += v * v;
    }
  for (std::size_t k = 0; i < x.size(); ++i, ++k) {
    const auto v = static_cast<double>(x[i]);
    sums[k] += v * v;
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// clip_grad_norm where squares() gives the square of the norm.
template <Scalar T, class Squares>
double clip_to_norm(std::span<Tensor<T, 1>> gradients, double max_norm, Squares&& squares) {
  if (!(max_norm > 0))
    throw ConfigError("clip_grad_norm: max_norm is " + std::to_string(max_norm) + ", expected > 0");
  const double norm = std::sqrt(squares());
  const double coefficient = max_norm / (norm + 1e-6);
  if (coefficient >= 1) return norm;
  const auto factor = static_cast<T>(coefficient);
  for (auto& g : gradients) {
    if (!g.defined()) continue;
    T* const x = g.data();
    parallel_for(g.size(), index_t{65536}, [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) x[i] *= factor;
    });
  }
  return norm;
}

}  // namespace detail

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm is the 2-norm of all of
/// them together, and returns norm, as torch.nn.utils.clip_grad_norm_. A NaN norm makes every
/// gradient NaN, as there. Undefined gradients are skipped. Sums are in double.
/// Throws ConfigError when max_norm is not positive.
template <Scalar T>
double clip_grad_norm(std::span<Tensor<T, 1>> gradients, double max_norm) {
  return detail::clip_to_norm(gradients, max_norm, [&] {
    double sum = 0;
    for (const auto& g : gradients)
      if (g.defined()) sum += detail::sum_of_squares<T>(std::as_const(g).span());
    return sum;
  });
}
/// The same over the processes that train together: the norm counts once what is alike on all of
/// them, and what one has alone as well. `parameters` tells whose gradients they are.
template <Scalar T>
double clip_grad_norm(std::span<Tensor<T, 1>> gradients,
                      const std::vector<Parameter<T>>& parameters, double max_norm,
                      Replicas& replicas) {
  return detail::clip_to_norm(gradients, max_norm, [&] {
    std::array<double, 2> sums{};  // of everybody's, of this rank's own
    for (std::size_t i = 0; i < gradients.size(); ++i)
      if (gradients[i].defined())
        sums[parameters[i].rank < 0 ? 0 : 1] +=
            detail::sum_of_squares<T>(std::as_const(gradients[i]).span());
    replicas.sum(std::span<double>(&sums[1], 1));
    return sums[0] + sums[1];
  });
}
template <Scalar T>
double clip_grad_norm(std::vector<Tensor<T, 1>>& gradients, double max_norm) {
  return clip_grad_norm(std::span<Tensor<T, 1>>(gradients), max_norm);
}

/// Limits every element to [-limit, limit], as torch.nn.utils.clip_grad_value_; NaN stays.
/// Throws ConfigError when limit is not positive.
template <Scalar T>
void clip_grad_value(std::span<Tensor<T, 1>> gradients, double limit) {
  if (!(limit > 0))
    throw ConfigError("clip_grad_value: limit is " + std::to_string(limit) + ", expected > 0");
  const auto high = static_cast<T>(limit);
  for (auto& g : gradients) {
    if (!g.defined()) continue;
    for (T& x : g.span()) x = x > high ? high : x < -high ? -high : x;
  }
}
template <Scalar T>
void clip_grad_value(std::vector<Tensor<T, 1>>& gradients, double limit) {
  clip_grad_value(std::span<Tensor<T, 1>>(gradients), limit);
}

}  // namespace sequin::inline SEQUIN_ABI
