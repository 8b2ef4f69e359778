// What one step of each streaming block takes: the least time of a step in a row of steps, median,
// 99th percentile and worst of single steps, and heap allocations, which have to be none.
//
//   bench_step_latency [--steps N] [--filter TEXT] [--json FILE]
#include "common/measure.hpp"
#include "sequin/blocks/causal_flash_gau.hpp"
#include "sequin/blocks/causal_fsmn.hpp"
#include "sequin/blocks/causal_gated_fsmn.hpp"
#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"
#include "sequin/blocks/mamba_mixer.hpp"
#include "sequin/core/arena.hpp"
#include "sequin/core/no_grad.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/stream/session.hpp"
#include "support/noise.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sequin;
using sequin_bench::noise;
using sequin_examples::Measurement;

/// Steps in a row between two looks at the clock, which takes as long as a small step does.
constexpr int kRow = 50;

struct Line {
  std::string block;
  index_t width;
  Measurement single, row;
};

class Table {
 public:
  Table(int steps, std::string filter) : steps_(steps), filter_(std::move(filter)) {
    std::printf("%-28s %6s %10s %10s %10s %10s %12s\n", "microseconds", "width", "in a row",
                "median", "p99", "worst", "allocations");
  }

  /// `make()` gives a function that does one step.
  template <class Make>
  void add(const std::string& block, index_t width, Make&& make) {
    if (block.find(filter_) == std::string::npos) return;
    auto step = make();
    constexpr int warm_up = 100;
    Line line{block, width, sequin_examples::measure(step, steps_, warm_up), {}};
    line.row = sequin_examples::measure(
        [&] {
          for (int i = 0; i < kRow; ++i) step();
        },
        (std::max)(steps_ / kRow, 20));
    std::printf("%-28s %6td %10.3f %10.3f %10.3f %10.3f %12.4g\n", block.c_str(), width,
                1e3 * line.row.best / kRow, 1e3 * line.single.median, 1e3 * line.single.p99,
                1e3 * line.single.worst, line.single.allocations);
    std::fflush(stdout);
    lines_.push_back(std::move(line));
  }

  void write(const std::string& path) const {
    JsonWriter json;
    json.begin_object().key("instruction_set").value(std::string_view(kInstructionSet));
    json.key("allocations_are_counted").value(sequin_examples::allocations_are_counted());
    json.key("steps").begin_array();
    for (const Line& line : lines_) {
      json.begin_object().key("block").value(line.block).key("width").value(line.width);
      json.key("row_us").value(1e3 * line.row.best / kRow);
      json.key("median_us").value(1e3 * line.single.median);
      json.key("p99_us").value(1e3 * line.single.p99);
      json.key("worst_us").value(1e3 * line.single.worst);
      json.key("allocations").value(line.single.allocations).end_object();
    }
    json.end_array().end_object();
    std::ofstream file(path);
    file << json.text() << '\n';
    if (!file) {
      std::fprintf(stderr, "step_latency: cannot write %s\n", path.c_str());
      std::exit(1);
    }
  }

  bool allocated() const {
    for (const Line& line : lines_)
      if (line.single.allocations + line.row.allocations > 0) return true;
    return false;
  }

 private:
  int steps_;
  std::string filter_;
  std::vector<Line> lines_;
};

template <class Block>
std::shared_ptr<Block> drawn(Block made) {
  auto block = std::make_shared<Block>(std::move(made));
  Generator generator(2);
  block->initialize(generator);
  prepare(*block);
  return block;
}

/// A step that makes tensors: `forward()` under an arena fitted by one rehearsal.
template <class Forward>
auto under_arena(Forward forward) {
  auto arena = std::make_shared<Arena>();
  {
    const ArenaScope scope(arena.get());
    forward();
  }
  arena->fit();
  return [arena, forward]() mutable {
    const NoGrad no_grad;
    const ArenaScope scope(arena.get());
    forward();
  };
}

template <template <class> class Block>
auto recurrent_step(index_t in, index_t hidden) {
  RecurrentConfig config;
  config.input_size = in;
  config.hidden_size = hidden;
  auto block = drawn(Block<float>(config));
  auto state = std::make_shared<typename Block<float>::State>(block->initial_state(1));
  return [block, state, x = noise(Shape<1>{in}), y = Tensor<float, 1>({hidden})]() mutable {
    if (!block->step(std::as_const(x).span(), *state, y.span())) std::abort();
  };
}

void recurrent(Table& table) {
  for (const index_t hidden : {8, 16, 24, 32, 48, 64, 128, 256, 768})
    table.add("gru, one input", hidden, [=] { return recurrent_step<Gru>(1, hidden); });
  for (const index_t hidden : {16, 32, 64, 128, 256, 768})
    table.add("gru", hidden, [=] { return recurrent_step<Gru>(hidden, hidden); });
  for (const index_t hidden : {16, 32, 64, 128, 256, 768})
    table.add("lstm, one input", hidden, [=] { return recurrent_step<Lstm>(1, hidden); });
  for (const index_t hidden : {16, 32, 64, 128, 256, 768})
    table.add("lstm", hidden, [=] { return recurrent_step<Lstm>(hidden, hidden); });
}

void convolutional(Table& table) {
  for (const index_t width : {16, 32, 64, 128, 256, 768})
    table.add("causal_conv1d, 4 taps", width, [=] {
      Tensor<float, 3> state({1, width, 3});
      return under_arena(
          [x = noise(Shape<3>{1, 1, width}), w = noise(Shape<3>{width, 1, 4}), state]() mutable {
            const CausalConv1dOptions<float> options{{}, true};
            causal_conv1d(x, w, options, &state);
          });
    });
  for (const index_t width : {16, 32, 64, 128, 256, 768})
    table.add("causal_fsmn, 20 steps", width, [=] {
      CausalFsmnConfig config;
      config.dim = config.hidden = width;
      auto block = drawn(CausalFsmn<float>(config));
      return under_arena(
          [block, x = noise(Shape<3>{1, 1, width}), state = block->initial_state(1)]() mutable {
            block->forward(x, &state);
          });
    });
}

void mamba(Table& table) {
  for (const index_t width : {16, 32, 64, 128, 256, 768})
    table.add("mamba_mixer", width, [=] {
      MambaMixerConfig config;
      config.d_model = width;
      auto block = drawn(MambaMixer<float>(config));
      return under_arena(
          [block, x = noise(Shape<3>{1, 1, width}), state = block->initial_state(1)]() mutable {
            block->forward(x, &state);
          });
    });
}

void attention(Table& table) {
  for (const index_t past : {256, 2048})
    for (const index_t width : {64, 128, 256, 768})
      table.add("causal_attention, " + std::to_string(past) + " keys", width, [=] {
        CausalSelfAttentionConfig config;
        config.hidden_size = width;
        config.num_attention_heads = config.num_key_value_heads = width / 32;
        auto block = drawn(CausalSelfAttention<float>(config));
        auto cache = std::make_shared<KeyValueCache<float>>(block->initial_cache(1, past));
        const auto old = noise(Shape<4>{1, past - 1, width / 32, 32});
        cache->append(old, old);
        const auto rotary =
            rotary_table<float>(Tensor<std::int64_t, 2>({1, 1}, past - 1), index_t{32}, 1e4);
        return under_arena([=, x = noise(Shape<3>{1, 1, width})] {
          block->forward(x, rotary, {}, cache.get());
          cache->truncate(past - 1);
        });
      });
}

template <class Block>
auto stateful_step(Block made, index_t width) {
  auto block = drawn(std::move(made));
  return under_arena([block, x = noise(Shape<3>{1, 1, width}),
                      state = block->initial_state(1)]() mutable { block->forward(x, &state); });
}

void separation(Table& table) {
  for (const index_t width : {64, 128}) {
    table.add("causal_flash_gau, groups of 64", width, [=] {
      CausalFlashGauConfig config;
      config.dim = width;
      return stateful_step(CausalFlashGau<float>(config), width);
    });
    table.add("causal_gated_fsmn, 20 steps", width, [=] {
      return stateful_step(CausalGatedFsmn<float>({width, width, 20, 17}), width);
    });
  }
  table.add("causal_mossformer2, 4 layers", 64, [] {
    auto model = drawn(CausalMossFormer2<float>(CausalMossFormer2Config{}));
    auto session = std::make_shared<Session<CausalMossFormer2<float>>>(*model);
    return [model, session, x = noise(Shape<1>{model->stream_width()})] {
      if (session->step(x.span()).empty()) std::abort();
    };
  });
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 5000;
  std::string filter, json;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (i + 1 < argc && name == "--steps" && std::atoi(argv[i + 1]) > 0) {
      steps = std::atoi(argv[++i]);
    } else if (i + 1 < argc && name == "--filter") {
      filter = argv[++i];
    } else if (i + 1 < argc && name == "--json") {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: bench_step_latency [--steps N] [--filter TEXT] [--json FILE]\n");
      return 1;
    }
  }
  Table table(steps, filter);
  table.add("(the clock alone)", 0, [] { return [] {}; });
  recurrent(table);
  convolutional(table);
  mamba(table);
  attention(table);
  separation(table);
  if (!json.empty()) table.write(json);
  if (!table.allocated()) return 0;
  std::fprintf(stderr, "step_latency: a step took memory from the heap\n");
  return 1;
}
