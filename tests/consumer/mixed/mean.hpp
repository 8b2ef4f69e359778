// A function of one object that another calls with a tensor.
#pragma once

#include "sequin/core/tensor.hpp"

float mean(const sequin::Tensor<float, 1>& x);
