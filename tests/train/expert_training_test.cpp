// Training with experts spread over ranks, which are threads here: tests/mpi has processes.
#include "sequin/train/train_files.hpp"

#include "sequin/io/load_model.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/expert_training.hpp"
#include "support/thread_replicas.hpp"

#include <stdexcept>
#include <string>

using namespace sequin;
using sequin_test::contents;
using sequin_test::difference_of_files;
using sequin_test::expert_options;
using sequin_test::run_ranks;
using sequin_test::small_time_moe;
using sequin_test::TemporaryFolder;
using sequin_test::train_experts;

namespace {

using Path = std::filesystem::path;

// Sums of other partial sums: 1e-16 a step, which Adam's division by small moments enlarges.
constexpr double kRounding = 1e-11;

template <class... More>
std::vector<TrainResult> train_ranks(index_t ranks, const TrainOptions& options,
                                     const std::vector<TrainCallbacks>& callbacks,
                                     const More&... more) {
  std::vector<TrainResult> results(static_cast<std::size_t>(ranks));
  run_ranks(ranks, [&](Replicas& replicas) {
    TrainOptions o = options;
    o.replicas = &replicas;
    const auto i = static_cast<std::size_t>(replicas.rank());
    results[i] =
        train_experts<double>(o, callbacks.empty() ? TrainCallbacks{} : callbacks[i], more...);
  });
  return results;
}

void check_same_bytes(const Path& a, const Path& b) {
  for (const char* name : {"checkpoint.safetensors", "weights.safetensors"}) {
    CHECK(!contents(a / name).empty());
    CHECK(contents(a / name) == contents(b / name));
  }
}

// Everything that the checkpoints hold, and the best weights, as one process with all experts.
void check_equal_to_one(index_t ranks, index_t batch, const TrainOptions& more, bool drawn = false,
                        const TimeMoeConfig& config = small_time_moe()) {
  const TemporaryFolder one, many;
  TrainOptions o = more;
  o.checkpoint_dir = one.path();
  o.batch_size = batch * ranks;
  const TrainResult alone = train_experts<double>(o, {}, drawn, config);
  o.checkpoint_dir = many.path();
  o.batch_size = batch;
  const auto results = train_ranks(ranks, o, {}, drawn, config);
  for (const char* name : {"checkpoint.safetensors", "weights.safetensors"})
    CHECK(difference_of_files(one.path() / name, many.path() / name) < kRounding);
  for (const auto& result : results) {
    CHECK(result.steps == alone.steps);
    REQUIRE(result.history.size() == alone.history.size());
    for (std::size_t i = 0; i < alone.history.size(); ++i) {
      CHECK(std::abs(result.history[i].train_loss - alone.history[i].train_loss) < kRounding);
      CHECK(std::abs(result.history[i].val_loss - alone.history[i].val_loss) < kRounding);
    }
  }
}

std::string message_of(const auto& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("train: experts on n ranks end as those of one process with batch n b", "[experts]") {
  // Five experts and seven examples: uneven parts of both, and last steps that leave a rank or two
  // without an example, as the validation's last batch does.
  for (const index_t ranks : {2, 3})
    for (const index_t batch : {1, 2, 3}) {
      INFO(ranks << " ranks, batch " << batch);
      check_equal_to_one(ranks, batch, expert_options(batch, {}));
    }
}

TEST_CASE("train: experts keep to clipping, averages, patterns and drawn examples", "[experts]") {
  TrainOptions o = expert_options(2, {});
  o.clip_norm = 0.3;
  o.ema_decay = 0.9;
  // Patterns for experts of the first rank, of the last and of all.
  o.freeze = {"model.layers.0.ffn_layer.experts.0.*", "*.layers.1.*.experts.4.up_proj.weight",
              "lm_heads.0.*"};
  o.rate_factors = {{"*.experts.3.*", 0.3}, {"*.experts.?.down_proj.weight", 2}};
  for (const index_t ranks : {2, 3})
    for (const bool drawn : {false, true}) {
      INFO(ranks << " ranks, drawn " << drawn);
      check_equal_to_one(ranks, 2, o, drawn);
    }
  // Clipping was at work, by the norm over all experts.
  run_ranks(2, [&](Replicas& replicas) {
    TrainOptions mine = o;
    mine.replicas = &replicas;
    TrainCallbacks callbacks;
    callbacks.on_step = [&](const StepInfo& info) {
      if (!(info.grad_norm > 0.3)) throw std::runtime_error("nothing was clipped");
    };
    train_experts<double>(mine, callbacks);
  });
}

TEST_CASE("train: experts in several passes a step", "[experts]") {
  // The balance of a pass is not that of a step, so that it is left out.
  TimeMoeConfig config = small_time_moe();
  config.router_aux_loss_factor = 0;
  TrainOptions o = expert_options(3, {});
  o.accumulate = 2;
  check_equal_to_one(2, 3, o, false, config);
}

TEST_CASE("train: the average of spread experts is written whole", "[experts]") {
  const TemporaryFolder one, many;
  TrainOptions o = expert_options(4, one.path());
  o.ema_decay = 0.8;
  o.ema_validates = false;
  train_experts<double>(o);
  o.checkpoint_dir = many.path();
  o.batch_size = 2;
  train_ranks(2, o, {});
  CHECK(difference_of_files(one.path() / "average.safetensors",
                            many.path() / "average.safetensors") < kRounding);
  // What was written is a model of one process.
  TimeMoe<double> whole(small_time_moe());
  load_weights(whole, open_weights(many.path()));
}

TEST_CASE("train: ranks with experts that are cut anywhere resume to the same bytes", "[experts]") {
  const TemporaryFolder straight;
  TrainOptions options = expert_options(2, straight.path());
  options.ema_decay = 0.9;
  options.clip_norm = 0.5;
  options.checkpoint_every = 2;
  train_ranks(3, options, {});
  for (const int every : {2, 3, 5}) {
    INFO("rank 1 stops all after every " << every << " questions");
    const TemporaryFolder folder;
    TrainOptions o = options;
    o.checkpoint_dir = folder.path();
    bool interrupted = true;
    int runs = 0;
    for (; interrupted && runs < 100; ++runs) {
      int questions = 0;
      std::vector<TrainCallbacks> callbacks(3);
      callbacks[1].stop_requested = [&] { return ++questions >= every; };
      interrupted = train_ranks(3, o, callbacks)[0].interrupted;
      o.resume = true;
    }
    CHECK(runs > 1);
    CHECK(runs < 100);
    check_same_bytes(folder.path(), straight.path());
  }
}

TEST_CASE("train: a rank with experts that fails leaves the last checkpoint whole", "[experts]") {
  const TemporaryFolder straight, folder;
  TrainOptions o = expert_options(1, straight.path());
  o.checkpoint_every = 2;
  train_ranks(2, o, {});
  o.checkpoint_dir = folder.path();
  for (const index_t last : {3, 6, 9}) {
    std::vector<TrainCallbacks> callbacks(2);
    callbacks[1].on_step = [&](const StepInfo& info) {
      if (info.total_steps == last) throw std::runtime_error("died");
    };
    CHECK_THROWS_WITH(train_ranks(2, o, callbacks), "died");
    o.resume = true;
  }
  train_ranks(2, o, {});
  check_same_bytes(folder.path(), straight.path());
}

TEST_CASE("train: what does not fit spread experts is refused and harms nothing", "[experts]") {
  const TemporaryFolder folder;
  TrainOptions o = expert_options(2, folder.path());
  o.epochs = 1;
  train_ranks(2, o, {});
  const std::string before = contents(folder.path() / "checkpoint.safetensors");
  o.resume = true;
  CHECK(message_of([&] { train_ranks(3, o, {}); }).find("train.ranks is \"2\", expected \"3\"") !=
        std::string::npos);
  TimeMoeConfig other = small_time_moe();
  other.num_experts = 6;
  CHECK(message_of([&] {
          train_ranks(2, o, {}, false, other);
        }).find("experts.5.gate_proj.weight is missing") != std::string::npos);
  o.resume = false;
  CHECK(message_of([&] {
          run_ranks(2, [&](Replicas& replicas) {
            TrainOptions mine = o;
            mine.replicas = &replicas;
            train_experts<double>(mine, {}, false, replicas.rank() == 0 ? small_time_moe() : other);
          });
        }) ==
        "train: rank 1 has parameter model.layers.0.ffn_layer.gate.weight \"[6, 8]\", "
        "expected parameter model.layers.0.ffn_layer.gate.weight \"[5, 8]\" as rank 0");
  CHECK(message_of([&] {
          run_ranks(2, [&](Replicas& replicas) {
            TrainOptions mine = o;
            mine.replicas = &replicas;
            mine.checkpoint_every = replicas.rank();
            train_experts<double>(mine);
          });
        }) ==
        "train: rank 1 has checkpoint_every \"1\", expected checkpoint_every \"0\" as rank "
        "0");
  CHECK(message_of([&] {
          run_ranks(2, [&](Replicas& replicas) {
            TimeMoe<double> model(small_time_moe(), &replicas);
            sequin_test::Waves<double> source;
            const auto loss = [](const auto&) { return Tensor<double, 0>(Shape<0>{}); };
            train(
                model, source, loss, [] { return 0.0; }, o);  // without its replicas
          });
        }).find("lies on rank") != std::string::npos);
  CHECK(contents(folder.path() / "checkpoint.safetensors") == before);
}

TEST_CASE("train: each rank begins with experts of its own and the first's other weights",
          "[experts]") {
  // Weights drawn from other seeds: the file has rank 0's, and rank 1's for its experts alone.
  const TemporaryFolder folder;
  const auto initial = [&](std::uint64_t seed) {
    TimeMoe<double> model(small_time_moe());
    Generator generator(seed);
    model.initialize(generator);
    save_weights(model, folder / ("initial" + std::to_string(seed) + ".safetensors"));
    return SafetensorsFile(folder / ("initial" + std::to_string(seed) + ".safetensors"));
  };
  const SafetensorsFile first = initial(5), second = initial(6);
  run_ranks(2, [&](Replicas& replicas) {
    TrainOptions o = expert_options(2, folder.path());
    o.epochs = 1;
    o.learning_rate = 0;
    o.replicas = &replicas;
    train_experts<double>(o, {}, false, small_time_moe(),
                          static_cast<std::uint64_t>(5 + replicas.rank()));
  });
  const SafetensorsFile trained(folder / "weights.safetensors");
  int of_second = 0;
  for (const auto& entry : trained.tensors()) {
    const bool late = entry.name.find("experts.2") != std::string::npos ||
                      entry.name.find("experts.3") != std::string::npos ||
                      entry.name.find("experts.4") != std::string::npos;
    of_second += late ? 1 : 0;
    CHECK(trained.read<double>(entry.name) == (late ? second : first).read<double>(entry.name));
  }
  CHECK(of_second == 2 * 3 * 3);
}

TEST_CASE("save_weights: ranks write one file, and one alone is told that it cannot", "[experts]") {
  const TemporaryFolder folder;
  TimeMoe<float> whole(small_time_moe());
  Generator generator(9);
  whole.initialize(generator);
  save_weights(whole, folder / "whole.safetensors");
  run_ranks(3, [&](Replicas& replicas) {
    TimeMoe<float> model(small_time_moe(), &replicas);
    Generator again(9);
    model.initialize(again);
    save_weights(model, folder / "spread.safetensors", replicas);
    const std::string said = message_of([&] { save_weights(model, folder / "no.safetensors"); });
    if (said.find("expected here to be saved, found on rank") == std::string::npos)
      throw std::runtime_error(said);
  });
  CHECK(contents(folder / "whole.safetensors") == contents(folder / "spread.safetensors"));
  CHECK_FALSE(std::filesystem::exists(folder / "no.safetensors"));
}
