#include "sequin/io/state_file.hpp"

#include "common/allocation_count.hpp"
#include "io/file_helpers.hpp"
#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"
#include "sequin/io/weights_fingerprint.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/time_moe.hpp"
#include "sequin/stream/block_stream.hpp"
#include "stream/hop_net.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cstdlib>
#include <vector>

using namespace sequin;
using sequin_test::contains;
using sequin_test::message_of;
using sequin_test::wavy;

namespace {

/// Drawn weights, of two widths: `make<T>(1)` and the model that it is mistaken for, `make<T>(2)`.
template <class Model>
Model drawn(Model model) {
  Generator generator(4);
  model.initialize(generator);
  prepare(model);
  return model;
}

/// What step t of a batch takes.
template <class T>
Tensor<T, 3> input(index_t batch, index_t t, index_t width) {
  return wavy<T, 3>({batch, 1, width}, 0.1 + 0.37 * static_cast<double>(t));
}

/// A block with forward(x, state).
struct OfBlock {
  template <class Block>
  static auto initial(const Block& block, index_t batch) {
    return block.initial_state(batch);
  }
  template <class Block, class State>
  static auto step(const Block& block, State& state, index_t batch, index_t t, index_t width) {
    return block.forward(input<typename Block::value_type>(batch, t, width), &state);
  }
};

struct OfGru : OfBlock {
  static index_t width(index_t) { return 3; }
  template <class T>
  static Gru<T> make(index_t size) {
    return drawn(Gru<T>({.input_size = 3, .hidden_size = 5 * size, .num_layers = 2}));
  }
};

struct OfLstm : OfBlock {
  static index_t width(index_t) { return 3; }
  template <class T>
  static Lstm<T> make(index_t size) {
    return drawn(Lstm<T>({.input_size = 3, .hidden_size = 5, .num_layers = size}));
  }
};

struct OfFsmn : OfBlock {
  static index_t width(index_t size) { return 4 * size; }
  template <class T>
  static CausalFsmn<T> make(index_t size) {
    return drawn(CausalFsmn<T>({4 * size, 6, 5}));
  }
};

struct OfMixer : OfBlock {
  static index_t width(index_t size) { return 6 * size; }
  template <class T>
  static MambaMixer<T> make(index_t size) {
    MambaMixerConfig config;
    config.d_model = 6 * size;
    config.d_state = 3;
    return drawn(MambaMixer<T>(config));
  }
};

struct OfAttention {
  static index_t width(index_t size) { return 8 * size; }
  template <class T>
  static CausalSelfAttention<T> make(index_t size) {
    CausalSelfAttentionConfig config;
    config.hidden_size = 8 * size;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    return drawn(CausalSelfAttention<T>(config));
  }
  template <class Block>
  static auto initial(const Block& block, index_t batch) {
    return block.initial_cache(batch, 2);  // grows on the way
  }
  template <class Block, class Cache>
  static auto step(const Block& block, Cache& cache, index_t batch, index_t t, index_t width) {
    using T = typename Block::value_type;
    const auto rotary =
        rotary_table<T>(Tensor<std::int64_t, 2>({1, 1}, cache.length()), width / 2, 1e4);
    return block.forward(input<T>(batch, t, width), rotary, {}, &cache);
  }
};

struct OfMamba : OfBlock {
  static index_t width(index_t) { return 1; }
  template <class T>
  static Mamba<T> make(index_t size) {
    MambaConfig config;
    config.d_model = 8;
    config.n_layer = size;
    config.vocab_size = 16;
    return drawn(Mamba<T>(config));
  }
  template <class T>
  static auto step(const Mamba<T>& model, MambaState<T>& state, index_t batch, index_t t, index_t) {
    return model.forward(Tensor<std::int64_t, 2>({batch, 1}, (5 * t + 3) % 16), &state);
  }
};

struct OfTimeMoe : OfBlock {
  static index_t width(index_t) { return 1; }
  template <class T>
  static TimeMoe<T> make(index_t size) {
    TimeMoeConfig config;
    config.hidden_size = 8;
    config.intermediate_size = 12;
    config.num_hidden_layers = 2 * size;
    config.num_attention_heads = config.num_key_value_heads = 2;
    config.use_dense = true;
    return drawn(TimeMoe<T>(config));
  }
  template <class Model>
  static auto initial(const Model& model, index_t batch) {
    return model.initial_state(batch, 3);
  }
  template <class T>
  static auto step(const TimeMoe<T>& model, TimeMoeState<T>& state, index_t batch, index_t t,
                   index_t) {
    TimeMoeCall<T> call;
    call.state = &state;
    // The first row begins later than the others.
    call.attention_mask = Tensor<std::int64_t, 2>({batch, 1}, 1);
    call.attention_mask(0, 0) = t >= 3;
    return model.hidden_states(input<T>(batch, t, 1), call);
  }
};

/// A model of one size, its inputs and a batch of streams.
template <class Case, class T>
class Streams {
 public:
  explicit Streams(index_t size = 1, index_t batch = 2) : size_(size), batch_(batch) {}

  auto fresh() const { return Case::initial(model_, batch_); }
  /// The outputs of steps [from, to).
  template <class State>
  std::vector<T> run(State& state, index_t from, index_t to) const {
    const NoGrad no_grad;
    std::vector<T> all;
    for (index_t t = from; t < to; ++t) {
      const auto y = Case::step(model_, state, batch_, t, Case::width(size_));
      all.insert(all.end(), y.span().begin(), y.span().end());
    }
    return all;
  }

 private:
  index_t size_, batch_;
  decltype(Case::template make<T>(1)) model_ = Case::template make<T>(size_);
};

}  // namespace

#define SEQUIN_STREAMING OfGru, OfLstm, OfFsmn, OfMixer, OfAttention, OfMamba, OfTimeMoe

TEMPLATE_TEST_CASE("states: a copy goes its own way, so does an assigned one", "",
                   SEQUIN_STREAMING) {
  const Streams<TestType, float> streams;
  auto state = streams.fresh();
  streams.run(state, 0, 7);
  const auto copy = state;
  auto assigned = streams.fresh();
  streams.run(assigned, 2, 4);
  assigned.assign(state);
  const auto before = state_bytes(copy);
  const auto once = streams.run(state, 7, 12);
  CHECK(state_bytes(copy) == before);
  CHECK(state_bytes(state) != before);
  auto again = copy;
  CHECK(streams.run(again, 7, 12) == once);
  CHECK(streams.run(assigned, 7, 12) == once);
}

TEMPLATE_TEST_CASE("states: a reset one is a fresh one", "", SEQUIN_STREAMING) {
  const Streams<TestType, float> streams;
  auto fresh = streams.fresh();
  auto used = streams.fresh();
  streams.run(used, 3, 9);
  used.reset();
  CHECK(state_bytes(used) == state_bytes(fresh));
  CHECK(streams.run(used, 0, 6) == streams.run(fresh, 0, 6));
}

TEMPLATE_TEST_CASE("states: saved and loaded they continue with the same bits", "",
                   SEQUIN_STREAMING) {
  const sequin_test::TemporaryFolder folder;
  const auto path = folder / "state.safetensors";
  const Streams<TestType, double> streams;
  auto state = streams.fresh();
  streams.run(state, 0, 7);
  save_state(path, state, "these weights");
  CHECK(folder.count() == 1);
  const auto in_memory = state_bytes(state, "these weights");
  CHECK(sequin_test::contents(path) ==
        std::string(reinterpret_cast<const char*>(in_memory.data()), in_memory.size()));
  const auto once = streams.run(state, 7, 12);
  auto fresh = streams.fresh();
  load_state(path, fresh, "these weights");
  CHECK(streams.run(fresh, 7, 12) == once);
  auto used = streams.fresh();
  streams.run(used, 1, 11);
  load_state(in_memory, used, "these weights");
  CHECK(streams.run(used, 7, 12) == once);
}

TEMPLATE_TEST_CASE("states: those of another model, batch, type or weights are refused", "",
                   SEQUIN_STREAMING) {
  const Streams<TestType, float> streams;
  auto state = streams.fresh();
  streams.run(state, 0, 5);
  const auto kept = state_bytes(state);
  const auto refused = [&](const std::vector<std::byte>& bytes, std::string_view of = {}) {
    const std::string what = message_of<LoadError>([&] { load_state(bytes, state, of); });
    CHECK(state_bytes(state) == kept);
    return what;
  };
  const auto used = [](const auto& other) {
    auto s = other.fresh();
    other.run(s, 0, 4);
    return s;
  };
  const auto wider = used(Streams<TestType, float>(2));
  const auto fewer = used(Streams<TestType, float>(1, 1));
  const auto precise = used(Streams<TestType, double>());
  for (const auto& bytes : {state_bytes(wider), state_bytes(fewer), state_bytes(precise)}) {
    const std::string what = refused(bytes);
    CAPTURE(what);
    CHECK(what.starts_with("state: the state is of another model, batch or scalar type: '"));
    CHECK(contains(what, "expected"));
  }
  CHECK(contains(refused(state_bytes(precise)), "expected F32 ["));
  CHECK(contains(refused(state_bytes(precise)), "found F64 ["));
  CHECK(contains(message_of<ShapeError>([&] { state.assign(wider); }),
                 "the state is of another model or batch: "));
  CHECK(contains(message_of<ShapeError>([&] { state.assign(fewer); }), ", expected "));
  CHECK(state_bytes(state) == kept);
  CHECK(refused(state_bytes(state, "b"), "a") == "state: state_of: expected \"a\", found \"b\"");
  for (std::size_t cut = 0; cut < kept.size(); cut += 7)
    CHECK(refused({kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(cut)}) !=
          "nothing thrown");
}

TEMPLATE_TEST_CASE("states: reset and assign allocate nothing", "", OfGru, OfLstm, OfFsmn, OfMixer,
                   OfAttention, OfMamba) {
  const Streams<TestType, float> streams;
  auto a = streams.fresh(), b = streams.fresh();
  streams.run(a, 0, 5);
  streams.run(b, 0, 8);
  const std::size_t before = sequin_examples::allocation_count();
  b.assign(a);
  a.reset();
  REQUIRE(sequin_examples::allocation_count() == before);
}

TEST_CASE("states: weights that differ in one bit have another fingerprint") {
  auto a = OfGru::make<float>(1), b = OfGru::make<float>(1);
  CHECK(weights_fingerprint(a) == weights_fingerprint(b));
  CHECK(weights_fingerprint(a).size() == 16);
  b.cells[1].bias_hh(3) = std::nextafter(b.cells[1].bias_hh(3), 1.0f);
  CHECK(weights_fingerprint(a) != weights_fingerprint(b));
}

TEST_CASE("states: a file that is no state is refused by its format") {
  auto state = OfGru::make<float>(1).initial_state(1);
  const auto other = safetensors_bytes({}, {{"format", "pt"}});
  CHECK(message_of<LoadError>([&] { load_state(other, state); }) ==
        "state: format: expected \"sequin.state\", found \"pt\"");
}

TEST_CASE("states: an interrupted write leaves the older state") {
  const sequin_test::TemporaryFolder folder;
  const auto state = OfGru::make<float>(1).initial_state(1);
  CHECK_THROWS_AS(save_state(folder / "missing/state", state), LoadError);
  CHECK(folder.count() == 0);
}

TEST_CASE("states: a block stream goes on in the middle of a hop") {
  const sequin_test::HopNet<float> model(5);
  BlockStream first(model), second(model);
  const auto x = wavy<float, 1>({40}, 0.2);
  std::vector<float> whole(40), rest(40);
  first.process(x.span().first(23), std::span(whole).first(23));
  const auto bytes = state_bytes(first.state());
  auto state = second.state();
  load_state(bytes, state);
  second.set_state(state);
  first.process(x.span().subspan(23), std::span(whole).subspan(23));
  second.process(x.span().subspan(23), std::span(rest).subspan(23));
  CHECK(std::equal(whole.begin() + 23, whole.end(), rest.begin() + 23));
  state.filled = 5;
  CHECK_THROWS_AS(second.set_state(state), ShapeError);
  auto fresh = second.state();
  CHECK(contains(message_of<LoadError>([&] { load_state(state_bytes(state), fresh); }),
                 "'filled': expected a position from 0 to 4, found 5"));
  CHECK(contains(message_of<ShapeError>([&] { fresh.assign(state); }),
                 "filled is 5, expected a position from 0 to 4"));
}
