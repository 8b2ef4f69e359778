// docs/realtime.md: its code, with what it leaves out.
#include "sequin/blocks/gru.hpp"
#include "sequin/io/state_file.hpp"
#include "sequin/io/weights_fingerprint.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/stream/block_stream.hpp"

#include "common/allocation_count.hpp"
#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <span>
#include <vector>

namespace {

#include "from_docs/realtime/tremolo.inc"

#include "from_docs/realtime/echo-state.inc"

}  // namespace

TEST_CASE("realtime.md: its programs do what it says") {
  const sequin_test::TemporaryFolder folder;
  const auto path = folder / "state.safetensors";
  const auto x = sequin_test::wavy<float, 1>({256}, 0.1);
  const std::span<const float> input = x.span();
  std::vector<float> output(256), again(256);

#include "from_docs/realtime/prepare.inc"
  const std::size_t before = sequin_examples::allocation_count();

#include "from_docs/realtime/process.inc"

  CHECK(sequin_examples::allocation_count() == before);
  CHECK(late == 0);

#include "from_docs/realtime/keep.inc"
  stream.process(input, again);

  CHECK(output == again);

#include "from_docs/realtime/save.inc"

  stream.set_state(kept);
  stream.process(input, again);
  CHECK(output == again);

  EchoState echo;
  echo.line = sequin::Tensor<float, 1>({480});
  echo.at = 7;
  EchoState copy = echo;  // a value: the elements are copied
  echo.reset();

  CHECK(copy.at == 7);
  CHECK(echo.at == 0);
  CHECK(!copy.line.shares_storage_with(echo.line));
}
