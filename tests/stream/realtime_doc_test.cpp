// The code of docs/realtime.md: the document quotes this file, and a test compares the two.
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

class Tremolo {  // y_t = x_t h_t
 public:
  using value_type = float;
  using StreamInput = float;              // what a step takes
  using State = sequin::GruState<float>;  // what it remembers

  Tremolo() : gru_({.input_size = 1, .hidden_size = 1}) {
    sequin::Generator generator(1);
    gru_.initialize(generator);
  }
  void visit(sequin::Visitor<float>& v) { v.child("gru", gru_); }

  State initial_state(sequin::index_t batch) const { return gru_.initial_state(batch); }
  sequin::index_t stream_width() const noexcept { return 1; }  // samples in a hop
  sequin::StreamTiming timing() const noexcept { return gru_.timing(); }
  bool accepts(std::span<const float> x) const noexcept { return std::isfinite(x[0]); }
  sequin::Tensor<float, 2> step(std::span<const float> x, State& state) const {
    return sequin::Tensor<float, 2>({1, 1}, x) * gru_.step(x, state);
  }

 private:
  sequin::Gru<float> gru_;
};

struct EchoState : sequin::StreamState<EchoState> {
  sequin::StateTensor<float, 1> line;
  sequin::index_t at = 0;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("line", s.line...);
    v.number("at", s.at...);
  }
};

}  // namespace

TEST_CASE("docs/realtime.md: its programs do what it says") {
  const sequin_test::TemporaryFolder folder;
  const auto path = folder / "state.safetensors";
  const auto x = sequin_test::wavy<float, 1>({256}, 0.1);
  const std::span<const float> input = x.span();
  std::vector<float> output(256), again(256);

  Tremolo model;
  sequin::prepare(model);             // before threads share it
  sequin::BlockStream stream(model);  // everything is allocated here
  const sequin::index_t late = stream.timing().latency;
  const std::size_t before = sequin_examples::allocation_count();

  // In the callback, blocks of any size:
  stream.process(input, output);

  CHECK(sequin_examples::allocation_count() == before);
  CHECK(late == 0);

  sequin::BlockStreamState<Tremolo> kept = stream.state();  // allocates
  stream.process(input, output);
  stream.set_state(kept);  // no allocation: memory is there already
  stream.process(input, again);

  CHECK(output == again);

  const std::string weights = sequin::weights_fingerprint(model);
  sequin::save_state(path, kept, weights);
  sequin::load_state(path, kept, weights);

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
