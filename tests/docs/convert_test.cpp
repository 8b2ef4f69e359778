// The code of docs/convert.md.
#include "sequin/io/npy.hpp"
#include "sequin/ops/elementwise.hpp"

#if __has_include(<zlib.h>)
#include "sequin/io/npz.hpp"
#endif

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
#if __has_include(<zlib.h>)
#include "from_docs/convert/archive-of-arrays.inc"
  CHECK(input(1, 2, 0) == 1.5F);
  CHECK(archive.tensor<double, 3>("output")(1, 2, 0) == 3.0);
#endif
}
