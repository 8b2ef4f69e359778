/// How fresh parameters are drawn.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI::init {

/// Uniform in [-bound, bound).
template <Scalar T, std::size_t Rank>
void uniform(Tensor<T, Rank>& t, double bound, Generator& generator) {
  for (T& v : t.span()) v = static_cast<T>((2 * generator.uniform<double>() - 1) * bound);
}

/// Normal with mean 0.
template <Scalar T, std::size_t Rank>
void normal(Tensor<T, Rank>& t, double deviation, Generator& generator) {
  for (T& v : t.span()) v = static_cast<T>(generator.normal<double>() * deviation);
}

/// PyTorch's default for Linear and Conv: weight and bias U(-1/sqrt(fan_in), 1/sqrt(fan_in)), with
/// fan_in = weight elements per output. An undefined bias is left alone.
template <Scalar T, std::size_t Rank>
void torch_default(Tensor<T, Rank>& weight, Tensor<T, 1>& bias, Generator& generator) {
  const index_t outputs = weight.extent(0);
  const index_t fan_in = outputs == 0 ? 1 : weight.size() / outputs;
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  uniform(weight, bound, generator);
  if (bias.defined()) uniform(bias, bound, generator);
}

}  // namespace sequin::inline SEQUIN_ABI::init
