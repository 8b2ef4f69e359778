// fwd.hpp after the definitions: it declares nothing otherwise than they do, or this does not
// compile; fwd_test.cpp has the other order. cmake/check_includes.cmake sees to it that all exists.
#include "sequin/core/thread_pool.hpp"
#include "sequin/io/tokenizer.hpp"
#include "sequin/sequin.hpp"

#include "sequin/fwd.hpp"
#include "support/catch.hpp"

#include <type_traits>

TEST_CASE("fwd: its names are those of the definitions") {
  CHECK(std::is_same_v<sequin::Session<sequin::Mamba<float>>::State, sequin::MambaState<float>>);
  CHECK(std::is_same_v<sequin::TimeMoe<double>::State, sequin::TimeMoeState<double>>);
}
