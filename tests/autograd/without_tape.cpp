// A file that does not include autograd/tape.hpp, for on_demand_test.cpp.
#include "autograd/without_tape.hpp"

#include "sequin/ops/elementwise.hpp"

namespace sequin_test {

sequin::Tensor<double, 5> square_only_here(const sequin::Tensor<double, 5>& x) { return square(x); }

sequin::Tensor<double, 1> square_here_too(const sequin::Tensor<double, 1>& x) { return square(x); }

}  // namespace sequin_test
