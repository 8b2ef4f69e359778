// Meets what the package depends on: JSON, Eigen and xsimd.
#include <cstdio>

#include "sequin/core/eigen.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/io/config.hpp"

int main() {
  const auto config = sequin::Config::parse(R"({"rows": 3})", "config");
  const sequin::Tensor<float, 2> x({config.get_int("rows", 1, 100), 2}, 1.0f);
  if (x.matrix().sum() != 6.0f) return 1;
  std::printf("Sequin %s for %s, %zu floats a register\n", sequin::kVersion,
              sequin::kInstructionSet, sequin::simd::Vec<float>::size);
}
