// Training on several ranks, which are threads here: tests/mpi has processes.
#include "sequin/core/replicas.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/small_training.hpp"
#include "support/thread_replicas.hpp"

#include <set>
#include <string>

using namespace sequin;
using sequin_test::run_ranks;
using sequin_test::small_options;
using sequin_test::train_small;
using sequin_test::Trained;

namespace {

using Many = std::vector<Trained<double>>;

// What each of `ranks` comes out with; `change(options, rank)` comes before.
template <class Change>
Many train_ranks(index_t ranks, const TrainOptions& options, bool noise, bool drawn,
                 Change&& change, const std::vector<TrainCallbacks>& callbacks = {}) {
  Many all(static_cast<std::size_t>(ranks));
  run_ranks(ranks, [&](Replicas& replicas) {
    TrainOptions o = options;
    o.replicas = &replicas;
    change(o, replicas.rank());
    const auto i = static_cast<std::size_t>(replicas.rank());
    all[i] =
        train_small<double>(o, noise, drawn, callbacks.empty() ? TrainCallbacks{} : callbacks[i]);
  });
  return all;
}

Many train_ranks(index_t ranks, const TrainOptions& options, bool noise = false,
                 bool drawn = false) {
  return train_ranks(ranks, options, noise, drawn, [](TrainOptions&, index_t) {});
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i] - b[i])) return INFINITY;
    worst = (std::max)(worst, std::abs(a[i] - b[i]));
  }
  return worst;
}

// Sums of other partial sums: 1e-16 a step, which Adam's division by small moments enlarges.
constexpr double kRounding = 1e-11;

void check_equal_to_one(const Many& many, const Trained<double>& one) {
  for (const auto& each : many) {
    CHECK(each.weights == many[0].weights);
    CHECK(largest_difference(each.weights, one.weights) < kRounding);
    CHECK(each.result.steps == one.result.steps);
    CHECK(each.result.best_epoch == one.result.best_epoch);
    REQUIRE(each.result.history.size() == one.result.history.size());
    for (std::size_t i = 0; i < one.result.history.size(); ++i) {
      const EpochRecord &a = each.result.history[i], &b = one.result.history[i];
      CHECK(std::abs(a.train_loss - b.train_loss) < kRounding);
      CHECK(std::abs(a.val_loss - b.val_loss) < kRounding);
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

TEST_CASE("train: n ranks of batch b end as one of batch n b does", "[train]") {
  for (const index_t ranks : {2, 3})
    // 22 examples: last batches that are cut unevenly, and of one example for three ranks.
    for (const index_t batch : {1, 2, 5, 7})
      for (const index_t accumulate : {index_t{1}, (std::min)(batch, index_t{2})}) {
        INFO(ranks << " ranks, batch " << batch << " in " << accumulate);
        TrainOptions o = small_options(batch);
        o.accumulate = accumulate;
        TrainOptions whole = small_options(batch * ranks);
        check_equal_to_one(train_ranks(ranks, o), train_small<double>(whole));
      }
}

TEST_CASE("train: ranks agree on clipping, averages and drawn examples too", "[train]") {
  TrainOptions o = small_options(4);
  o.clip_norm = 0.1;
  o.ema_decay = 0.9;
  o.drop_last_train = true;
  TrainOptions whole = o;
  whole.batch_size = 12;
  for (const bool drawn : {false, true}) {
    INFO("drawn " << drawn);
    const auto one = train_small<double>(whole, false, drawn);
    check_equal_to_one(train_ranks(3, o, false, drawn), one);
    CHECK(largest_difference(train_small<double>(o, false, drawn).weights, one.weights) > 1e-6);
  }
}

TEST_CASE("train: one rank among replicas is the same bits as none", "[train]") {
  const Many one = train_ranks(1, small_options(5), true);
  CHECK(one[0].weights == train_small<double>(small_options(5), true).weights);
}

TEST_CASE("train: each rank and step has noise of its own, the same in each run", "[train]") {
  const Many first = train_ranks(3, small_options(2), true);
  std::set<std::uint64_t> seeds;
  std::size_t draws = 0;
  for (const auto& each : first) {
    seeds.insert(each.draws.begin(), each.draws.end());
    draws += each.draws.size();
    CHECK(each.weights == first[0].weights);
  }
  CHECK(draws == 3 * 3 * 4);
  CHECK(seeds.size() == draws);
  const Many again = train_ranks(3, small_options(2), true);
  for (std::size_t r = 0; r < 3; ++r) CHECK(again[r].draws == first[r].draws);
  CHECK(again[0].weights == first[0].weights);
}

TEST_CASE("train: ranks that are cut anywhere resume to the same bits", "[train]") {
  const Many straight = train_ranks(2, small_options(3), true);
  for (const bool leader : {true, false})
    for (const int every : {2, 3, 5}) {
      INFO("rank " << (leader ? 0 : 1) << " stops all after every " << every << " questions");
      const sequin_test::TemporaryFolder folder;
      TrainOptions o = small_options(3);
      Many out;
      int runs = 0;
      do {
        int questions = 0;
        std::vector<TrainCallbacks> callbacks(2);
        callbacks[leader ? 0 : 1].stop_requested = [&] { return ++questions >= every; };
        out = train_ranks(
            2, o, true, false,
            [&](TrainOptions& mine, index_t rank) {
              mine.checkpoint_dir = folder.path() / std::to_string(rank);
            },
            callbacks);
        CHECK(out[0].result.interrupted == out[1].result.interrupted);
        CHECK(out[0].result.steps == out[1].result.steps);
        o.resume = true;
        REQUIRE(++runs < 100);
      } while (out[0].result.interrupted);
      CHECK(runs > 1);
      for (const auto& each : out) {
        CHECK(each.weights == straight[0].weights);
        REQUIRE(each.result.history.size() == 3);
        CHECK(each.result.history[2].val_loss == straight[0].result.history[2].val_loss);
      }
      CHECK(std::filesystem::exists(folder.path() / "0" / "weights.safetensors"));
      CHECK_FALSE(std::filesystem::exists(folder.path() / "1"));
    }
}

TEST_CASE("train: another number of ranks is refused", "[train]") {
  const sequin_test::TemporaryFolder folder;
  TrainOptions o = small_options(3);
  o.epochs = 1;
  o.checkpoint_dir = folder.path();
  train_ranks(2, o);
  o.resume = true;
  CHECK(message_of([&] { train_ranks(3, o); }).find("train.ranks is \"2\", expected \"3\"") !=
        std::string::npos);
  CHECK(message_of([&] { train_small<double>(o); }).find("train.ranks is \"2\", expected \"1\"") !=
        std::string::npos);
  train_ranks(2, o);
}

TEST_CASE("train: a rank with other options is named", "[train]") {
  const auto seed_of_one = [](TrainOptions& o, index_t rank) { o.seed = rank == 1 ? 5 : 6; };
  CHECK(message_of([&] { train_ranks(2, small_options(3), false, false, seed_of_one); }) ==
        "train: rank 1 has train.seed \"5\", expected train.seed \"6\" as rank 0");
  const auto more_on_zero = [](TrainOptions& o, index_t rank) {
    if (rank == 0) o.fingerprint = {{"data", "x"}};
  };
  CHECK(message_of([&] { train_ranks(2, small_options(3), false, false, more_on_zero); }) ==
        "train: rank 1 has train.batch_size \"3\", expected data \"x\" as rank 0");
}

TEST_CASE("train: buffers are the first rank's", "[train]") {
  std::vector<double> counted(2);
  run_ranks(2, [&](Replicas& replicas) {
    sequin_test::SmallNet<double> net;
    TrainOptions o = small_options(11);  // 10 examples for the first, 11 for the second
    o.replicas = &replicas;
    const auto loss = [&](const auto& b) { return mse_loss(net.forward(b.x), b.y); };
    sequin_test::NumberedPoints<double> points;
    points.examples = 21;
    std::vector<double> seen;
    const auto validate = [&] {
      seen.push_back(net.examples(0));
      // Only one of them says the truth, and it counts.
      return replicas.rank() == 0 ? 2.0 : 1.0;
    };
    if (replicas.rank() == 1) net.examples(0) = 100;
    const TrainResult r = train(net, points, loss, validate, o);
    counted[static_cast<std::size_t>(replicas.rank())] = seen.back() + r.best_val_loss;
  });
  CHECK(counted == std::vector<double>{32, 32});
}
