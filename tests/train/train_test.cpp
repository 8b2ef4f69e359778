// The general loop: numbered and drawn examples, accumulation, averages, freezing, rates.
#include "sequin/train/train.hpp"

#include "sequin/blocks/linear.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/dropout.hpp"
#include "sequin/ops/loss.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

using namespace sequin;

namespace {

struct Pairs {
  Tensor<float, 2> x, y;
};

// y = sin of a mixture of x's entries; example i is always the same.
void put_example(index_t i, index_t row, Pairs& batch) {
  float sum = 0;
  for (index_t c = 0; c < 3; ++c) {
    batch.x(row, c) = static_cast<float>(std::sin(0.9 * double(i) + 1.7 * double(c)));
    sum += batch.x(row, c) * static_cast<float>(c + 1);
  }
  batch.y(row, 0) = std::sin(sum);
}

void fit(Pairs& batch, index_t n) { batch = {Tensor<float, 2>({n, 3}), Tensor<float, 2>({n, 1})}; }

struct Numbered {
  using Batch = Pairs;
  index_t examples = 40;
  index_t count() const { return examples; }
  void fetch(std::span<const index_t> numbers, Batch& batch) const {
    fit(batch, static_cast<index_t>(numbers.size()));
    for (std::size_t k = 0; k < numbers.size(); ++k)
      put_example(numbers[k], static_cast<index_t>(k), batch);
  }
};

struct Drawn {
  using Batch = Pairs;
  void draw(Generator& generator, index_t n, Batch& batch) const {
    fit(batch, n);
    for (index_t k = 0; k < n; ++k) put_example(generator.below(1000), k, batch);
  }
};

struct Net {
  using value_type = float;
  Linear<float> first{3, 8}, second{8, 1};
  Net() {
    Generator generator(2);
    first.initialize(generator);
    second.initialize(generator);
  }
  Tensor<float, 2> forward(const Tensor<float, 2>& x, Generator* drop = nullptr) const {
    const auto h = first.forward(x, Activation::gelu);
    return second.forward(drop == nullptr ? h : dropout(h, 0.2, *drop));
  }
  void visit(Visitor<float>& v) {
    v.child("first", first);
    v.child("second", second);
  }
};

std::vector<float> weights_of(Net& net) {
  std::vector<float> all;
  for (const auto& p : parameters(net).items)
    all.insert(all.end(), std::as_const(p.values).span().begin(),
               std::as_const(p.values).span().end());
  return all;
}

struct Outcome {
  TrainResult result;
  std::vector<float> weights;
};

TrainOptions options() {
  TrainOptions o;
  o.epochs = 3;
  o.batch_size = 8;
  o.learning_rate = 0.02;
  o.lradj = "constant";
  o.drop_last_train = false;
  o.log_every = 2;
  return o;
}

// Trains with dropout, stopping after `stop_after` questions when it is positive.
template <class Source>
Outcome run(TrainOptions o, const Source& source, index_t stop_after = 0, bool noisy = true) {
  Net net;
  Generator noise(5);
  o.generators.emplace_back("noise", &noise);
  if constexpr (DrawnSource<Source>) o.steps_per_epoch = 5;
  TrainCallbacks callbacks;
  index_t asked = 0;
  if (stop_after > 0) callbacks.stop_requested = [&] { return ++asked >= stop_after; };
  const auto loss = [&](const Pairs& b) { return mse_loss(net.forward(b.x), b.y); };
  const Numbered held_out{16};
  Outcome out;
  out.result = train(
      net, source,
      [&](const Pairs& b) { return mse_loss(net.forward(b.x, noisy ? &noise : nullptr), b.y); },
      validate_on(held_out, 8, loss), o, callbacks);
  out.weights = weights_of(net);
  return out;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    worst = (std::max)(worst, std::abs(double(a[i]) - double(b[i])));
  return worst;
}

std::string steps_of_log(const std::filesystem::path& path) {
  std::string seen;
  for (const LoggedStep& s : MetricsLog::read_steps(path))
    seen += std::to_string(s.step) + ":" + std::to_string(s.loss) + " ";
  return seen;
}

}  // namespace

TEMPLATE_TEST_CASE("train: cut anywhere and resumed it gives bit-identical results", "[train]",
                   Numbered, Drawn) {
  for (const index_t accumulate : {1, 3})
    for (const double ema : {0.0, 0.9}) {
      TrainOptions o = options();
      o.accumulate = accumulate;
      o.ema_decay = ema;
      o.freeze = {"first.bias"};
      const sequin_test::TemporaryFolder whole;
      o.metrics_log = whole / "log.jsonl";
      const Outcome straight = run(o, TestType{});
      REQUIRE(straight.result.history.size() == 3);
      for (const index_t every : {2, 3, 5}) {
        const sequin_test::TemporaryFolder folder;
        TrainOptions cut = o;
        cut.checkpoint_dir = folder / "run";
        cut.metrics_log = folder / "log.jsonl";
        Outcome out;
        int runs = 0;
        do {
          out = run(cut, TestType{}, every);
          cut.resume = true;
          REQUIRE(++runs < 100);
        } while (out.result.interrupted);
        INFO("accumulate " << accumulate << ", average " << ema << ", " << runs << " runs");
        CHECK(runs > 1);
        CHECK(out.weights == straight.weights);
        REQUIRE(out.result.history.size() == 3);
        for (std::size_t e = 0; e < 3; ++e) {
          CHECK(out.result.history[e].train_loss == straight.result.history[e].train_loss);
          CHECK(out.result.history[e].val_loss == straight.result.history[e].val_loss);
        }
        // Each step is in the log once, with the same mean over its interval.
        CHECK(steps_of_log(cut.metrics_log) == steps_of_log(o.metrics_log));
        CHECK_FALSE(steps_of_log(o.metrics_log).empty());
      }
    }
}

TEMPLATE_TEST_CASE("train: several passes a step give the weights of one big batch", "[train]",
                   Numbered, Drawn) {
  TrainOptions o = options();
  o.optimizer.eps = 1e-4;  // at 1e-8 Adam would make rounding of tiny gradients large
  const Outcome one = run(o, TestType{}, 0, false);
  for (const index_t passes : {2, 3, 8}) {
    o.accumulate = passes;
    const Outcome several = run(o, TestType{}, 0, false);
    INFO(passes << " passes");
    // 15 steps at rate 0.02 on weights of about 0.3: some roundings of 6e-8 each.
    CHECK(largest_difference(several.weights, one.weights) < 2e-5);
    CHECK(several.result.history[2].train_loss == Approx(one.result.history[2].train_loss));
  }
  o.accumulate = 2;
  o.batch_size = 7;  // 40 examples: five steps of 7 in parts of 3 and 4, one of 5
  const Outcome uneven = run(o, TestType{}, 0, false);
  o.accumulate = 1;
  CHECK(largest_difference(uneven.weights, run(o, TestType{}, 0, false).weights) < 2e-5);
  CHECK(largest_difference(uneven.weights, one.weights) > 1e-3);  // the check can fail
}

TEST_CASE("train: accumulation clips the whole step's gradient", "[train]") {
  TrainOptions o = options();
  o.optimizer.eps = 1e-2;
  o.clip_norm = 0.05;
  const Outcome one = run(o, Numbered{}, 0, false);
  o.accumulate = 4;
  CHECK(largest_difference(run(o, Numbered{}, 0, false).weights, one.weights) < 2e-5);
  o.clip_norm = 0;
  CHECK(largest_difference(run(o, Numbered{}, 0, false).weights, one.weights) > 1e-3);
}

TEST_CASE("train: frozen parameters keep their bits, others move", "[train]") {
  Net before;
  TrainOptions o = options();
  o.freeze = {"first.*"};
  Net net;
  const auto loss = [&](const Pairs& b) { return mse_loss(net.forward(b.x), b.y); };
  const Numbered source;
  train(net, source, loss, validate_on(source, 8, loss), o);
  CHECK(sequin_test::identical(net.first.weight, before.first.weight));
  CHECK(sequin_test::identical(net.first.bias, before.first.bias));
  CHECK_FALSE(sequin_test::identical(net.second.weight, before.second.weight));
  o.freeze = {"third.*"};
  CHECK_THROWS_AS(run(o, source), ConfigError);
  o.freeze = {"*"};
  CHECK_THROWS_AS(run(o, source), ConfigError);
}

TEST_CASE("train: a parameter moves at the rate times its factor", "[train]") {
  const Numbered source;
  const auto moved = [&](std::vector<std::pair<std::string, double>> factors) {
    TrainOptions o = options();
    o.epochs = 1;
    o.batch_size = 40;  // one step: Adam's first is the rate, whatever the gradient
    o.rate_factors = std::move(factors);
    Net net, before;
    const auto loss = [&](const Pairs& b) { return mse_loss(net.forward(b.x), b.y); };
    train(net, source, loss, validate_on(source, 40, loss), o);
    return std::pair(double(net.first.weight(0, 0)) - double(before.first.weight(0, 0)),
                     double(net.second.weight(0, 0)) - double(before.second.weight(0, 0)));
  };
  const auto [first, second] = moved({});
  CHECK(std::abs(first) == Approx(0.02).epsilon(1e-3));
  const auto [slow, same] = moved({{"first.*", 0.25}});
  CHECK(slow == Approx(first / 4).epsilon(1e-3));
  CHECK(same == second);
  const auto [last, unchanged] = moved({{"*", 0.5}, {"first.weight", 2}});
  CHECK(last == Approx(first * 2).epsilon(1e-3));
  CHECK(unchanged == Approx(second / 2).epsilon(1e-3));
  TrainOptions o = options();
  o.rate_factors = {{"third.*", 0.5}};
  CHECK_THROWS_AS(run(o, source), ConfigError);
  o.rate_factors = {{"first.*", -1}};
  CHECK_THROWS_AS(run(o, source), ConfigError);
}

TEST_CASE("train: the average of the weights is what is validated and kept, if asked", "[train]") {
  TrainOptions o = options();
  o.patience = 0;
  const Outcome plain = run(o, Numbered{});
  // By hand: the same steps, the average beside them.
  std::vector<double> by_hand;
  o.ema_decay = 0.8;
  Net net;
  Generator noise(5);
  TrainOptions watched = options();
  watched.generators.emplace_back("noise", &noise);
  TrainCallbacks callbacks;
  for (const float w : weights_of(net)) by_hand.push_back(w);
  callbacks.on_step = [&](const StepInfo& s) {
    const double t = static_cast<double>(s.total_steps);
    const double keep = (std::min)(0.8, (1 + t) / (10 + t));
    const auto now = weights_of(net);
    for (std::size_t i = 0; i < now.size(); ++i)
      by_hand[i] = keep * by_hand[i] + (1 - keep) * double(now[i]);
  };
  index_t epochs = 0;
  const Numbered source;
  train(
      net, source, [&](const Pairs& b) { return mse_loss(net.forward(b.x, &noise), b.y); },
      [&] { return -static_cast<double>(++epochs); }, watched, callbacks);
  CHECK(weights_of(net) == run(watched, Numbered{}).weights);

  // Validation that always likes the last epoch best shows the average after all steps.
  const auto final_average = [&](bool validates) {
    const sequin_test::TemporaryFolder folder;
    Net model;
    Generator drop(5);
    TrainOptions averaged = options();
    averaged.generators.emplace_back("noise", &drop);
    averaged.ema_decay = 0.8;
    averaged.ema_validates = validates;
    averaged.checkpoint_dir = folder / "run";
    index_t n = 0;
    train(
        model, source, [&](const Pairs& b) { return mse_loss(model.forward(b.x, &drop), b.y); },
        [&] { return -static_cast<double>(++n); }, averaged);
    CHECK(std::filesystem::exists(averaged.checkpoint_dir / "average.safetensors") != validates);
    return weights_of(model);
  };
  const auto averaged = final_average(true);
  REQUIRE(averaged.size() == by_hand.size());
  double worst = 0;
  for (std::size_t i = 0; i < averaged.size(); ++i)
    worst = (std::max)(worst, std::abs(double(averaged[i]) - by_hand[i]));
  CHECK(worst < 1e-6);
  CHECK(final_average(false) == weights_of(net));
  CHECK(largest_difference(averaged, weights_of(net)) > 1e-4);
}

TEST_CASE("train: impossible options are named", "[train]") {
  const auto message = [](TrainOptions o, auto source) {
    Net net;
    try {
      train(
          net, source, [&](const Pairs& b) { return mse_loss(net.forward(b.x), b.y); },
          [] { return 0.0; }, o);
    } catch (const ConfigError& e) {
      return std::string(e.what());
    }
    return std::string("nothing was thrown");
  };
  TrainOptions o = options();
  o.accumulate = 9;
  CHECK(message(o, Numbered{}) == "train: accumulate is 9, expected 1 to batch_size = 8");
  o = options();
  o.ema_decay = 1;
  CHECK(message(o, Numbered{}) == "train: ema_decay is 1, expected 0 (none) or more, below 1");
  o = options();
  CHECK(message(o, Drawn{}) ==
        "train: steps_per_epoch is 0, batch_size is 8, expected both >= 1 where batches are drawn");
}

TEST_CASE("train: another freezing, average or accumulation does not resume", "[train]") {
  const sequin_test::TemporaryFolder folder;
  TrainOptions o = options();
  o.checkpoint_dir = folder / "run";
  run(o, Numbered{});
  o.resume = true;
  run(o, Numbered{});
  const auto refused = [&](const TrainOptions& other, const std::string& text) {
    try {
      run(other, Numbered{});
    } catch (const LoadError& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(text) != std::string::npos);
      return;
    }
    FAIL("resumed, expected: " << text);
  };
  TrainOptions other = o;
  other.accumulate = 2;
  refused(other, "train.accumulate is \"1\", expected \"2\"");
  other = o;
  other.freeze = {"first.*"};
  refused(other, "train.freeze is \"\", expected \"first.*\"");
  other = o;
  other.ema_decay = 0.5;
  refused(other, "train.ema_decay is \"0\", expected \"0.5\"");
  other = o;
  other.rate_factors = {{"first.*", 0.5}};
  refused(other, "train.rate_factors is \"\", expected \"first.*=0.5\"");
}

TEST_CASE("train: a checkpoint whose numbers contradict each other does not resume", "[train]") {
  const sequin_test::TemporaryFolder folder;
  TrainOptions o = options();
  o.checkpoint_dir = folder / "run";
  run(o, Numbered{});
  o.resume = true;
  const auto path = o.checkpoint_dir / "checkpoint.safetensors";
  const std::string whole = sequin_test::contents(path);
  // The checkpoint with another number in a counter.
  const auto refused = [&](const char* name, std::int64_t number, const std::string& text) {
    std::string changed = whole;
    {
      const auto bytes = sequin_test::bytes_of(changed);
      const auto file = SafetensorsFile::from_memory(bytes);
      const auto at = static_cast<std::size_t>(file.find(name)->bytes.data() - bytes.data());
      std::memcpy(changed.data() + at, &number, sizeof number);
    }
    sequin_test::put(path, changed);
    INFO(name << " " << number);
    try {
      run(o, Numbered{});
    } catch (const LoadError& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(text) != std::string::npos);
      return;
    }
    FAIL("resumed, expected: " << text);
  };
  refused("epoch", 2, "epoch 2, position -1 and the history do not belong together");
  refused("order.position", 6, "epoch 4, position 6 and the history do not belong together");
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  for (const char* name : {"epoch", "steps", "order.position", "interval.steps", "optimizer.steps",
                           "early_stopping.epoch", "early_stopping.waited"})
    for (const std::int64_t number : {least, -(least + 1)})
      refused(name, number, std::string(name) + " is " + std::to_string(number) + ", expected ");
  sequin_test::put(path, whole);
  run(o, Numbered{});
}

TEST_CASE("train: what a killed run left half-written is cleared away", "[train]") {
  const sequin_test::TemporaryFolder folder;
  TrainOptions o = options();
  o.checkpoint_dir = folder / "run";
  std::filesystem::create_directories(o.checkpoint_dir);
  const auto left = o.checkpoint_dir / "checkpoint.safetensors.tmp123456";
  const auto mine = o.checkpoint_dir / "checkpoint.safetensors.tmp_mine";
  std::ofstream(left) << "half";
  std::ofstream(mine) << "whole";
  run(o, Numbered{});
  CHECK_FALSE(std::filesystem::exists(left));
  CHECK(std::filesystem::exists(mine));
}
