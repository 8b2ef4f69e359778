#include "sequin/autograd/tape.hpp"

#include "autograd/without_tape.hpp"
#include "sequin/ops/elementwise.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace sequin;
using sequin_test::identical;

TEST_CASE("gradients on demand: a file without Tape computes the values", "[tape]") {
  Tensor<double, 5> x({1, 1, 1, 1, 2}, {3, -4});
  REQUIRE(identical(sequin_test::square_only_here(x), Tensor<double, 5>(x.shape(), {9, 16})));
  // An input that asks for a gradient changes nothing where no Tape lives, nor does NoGrad.
  x.set_requires_grad();
  REQUIRE_FALSE(sequin_test::square_only_here(x).requires_grad());
  Tape tape;
  const NoGrad no_grad;
  REQUIRE_FALSE(sequin_test::square_only_here(x).requires_grad());
}

TEST_CASE("gradients on demand: what a file with a Tape compiles serves all files", "[tape]") {
  Tensor<double, 1> x({2}, {3, -4});
  x.set_requires_grad();
  Tape tape;
  const Gradients g =
      tape.gradients(sequin_test::square_here_too(square(x)), Tensor<double, 1>({2}, {1, 1}));
  REQUIRE(identical(g.of(x), Tensor<double, 1>({2}, {4 * 27, -4 * 64})));
}

TEST_CASE("gradients on demand: what none compiled is refused, not left out", "[tape]") {
  Tensor<double, 5> x({1, 1, 1, 1, 2}, {3, -4});
  x.set_requires_grad();
  Tape tape;
#if SEQUIN_GRADIENTS_ON_DEMAND
  REQUIRE_THROWS_WITH(sequin_test::square_only_here(x),
                      "tape: an operation comes from a file compiled without gradients; include "
                      "\"sequin/autograd/tape.hpp\" in each file whose operations are recorded");
  // The tape goes on with what it has.
  const auto y = square(Tensor<double, 1>({1}, {2.0}).set_requires_grad());
  REQUIRE(y.requires_grad());
#else
  REQUIRE(sequin_test::square_only_here(x).requires_grad());
#endif
}
