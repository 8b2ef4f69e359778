// The code of docs/convert.md.
#include "sequin/io/npy.hpp"
#include "sequin/ops/elementwise.hpp"

#include "docs/working_folder.hpp"
#include "support/catch.hpp"

using namespace sequin;

TEST_CASE("docs: the code of convert.md reads an array and writes one") {
  const sequin_test::WorkingFolder folder;
  Tensor<float, 3> given({2, 3, 1});
  given(1, 2, 0) = 1.5F;
  write_npy("x.npy", given);
#include "from_docs/convert/arrays.inc"
  CHECK(y(1, 2, 0) == 3.0F);
}
