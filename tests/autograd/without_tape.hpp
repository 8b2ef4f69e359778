// What a file computes that never starts a Tape.
#pragma once

#include "sequin/core/tensor.hpp"

namespace sequin_test {

/// An operation that no other file of the program has.
sequin::Tensor<double, 5> square_only_here(const sequin::Tensor<double, 5>& x);

/// One that a file with a Tape has as well.
sequin::Tensor<double, 1> square_here_too(const sequin::Tensor<double, 1>& x);

}  // namespace sequin_test
