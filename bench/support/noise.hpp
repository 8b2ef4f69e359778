/// Inputs for benchmarks.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

namespace sequin_bench {

/// Normal numbers, the same each time.
template <std::size_t Rank>
sequin::Tensor<float, Rank> noise(const sequin::Shape<Rank>& shape) {
  sequin::Tensor<float, Rank> t(shape);
  sequin::Generator generator(1);
  for (float& v : t.span()) v = generator.normal<float>();
  return t;
}

}  // namespace sequin_bench
