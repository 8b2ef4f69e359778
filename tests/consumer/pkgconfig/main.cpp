// A program that meets each dependency of the library: Eigen, xsimd, JSON and threads.
#include <cstdio>

#include "sequin/core/eigen.hpp"
#include "sequin/core/simd.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/io/config.hpp"

int main() {
  const auto config = sequin::Config::parse(R"({"rows": 3})", "config");
  sequin::Tensor<float, 2> x({config.get_int("rows", 1, 100), 2}, 1.0f);
  x.matrix() *= 2.0f;
  sequin::ThreadPool pool(2);
  const sequin::ExecutorScope scope(&pool);
  const auto elements = x.view();
  sequin::parallel_for(x.rows(), 1, [&](sequin::index_t begin, sequin::index_t end) {
    for (sequin::index_t row = begin; row < end; ++row) elements(row, 0) += 1.0f;
  });
  if (x.matrix().sum() != 15.0f) return 1;
  std::printf("Sequin %s for %s, %zu floats a register\n", sequin::kVersion,
              sequin::kInstructionSet, sequin::simd::Vec<float>::size);
}
