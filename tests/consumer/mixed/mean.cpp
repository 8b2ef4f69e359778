#include "mean.hpp"

float mean(const sequin::Tensor<float, 1>& x) {
  float sum = 0.0f;
  for (const float value : x.span()) sum += value;
  return sum / static_cast<float>(x.size());
}
