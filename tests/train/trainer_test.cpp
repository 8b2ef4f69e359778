#include "sequin/autograd/tape.hpp"
#include "sequin/train/train_forecaster.hpp"

#include "sequin/train/forecast_data.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <filesystem>
#include <limits>
#include <random>
#include <string>

using namespace sequin;

namespace {

// y = W x, for each channel apart: x [B, S, V], W [P, S] -> [B, P, V]; with a gradient.
template <class T>
struct TinyLinear {
  using value_type = T;
  Tensor<T, 2> weight;
  Tensor<T, 1> calls{Shape<1>{1}};  // a buffer

  TinyLinear(index_t s, index_t p) : weight({p, s}) {
    for (index_t i = 0; i < weight.size(); ++i)
      weight.data()[i] = static_cast<T>(std::sin(1.0 + static_cast<double>(i)) * 0.1);
  }
  void visit(Visitor<T>& v) {
    v.parameter("weight", weight);
    v.buffer("calls", calls);
  }

  // Noise on the weights' use stands for dropout.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, Generator* generator = nullptr) const {
    const index_t b = x.extent(0), s = x.extent(1), v = x.extent(2), p = weight.extent(0);
    auto y = Tensor<T, 3>::empty({b, p, v});
    const T scale = generator == nullptr ? T{1} : T{1} + generator->uniform<T>();
    for (index_t i = 0; i < b; ++i)
      for (index_t t = 0; t < p; ++t)
        for (index_t c = 0; c < v; ++c) {
          T sum = 0;
          for (index_t k = 0; k < s; ++k) sum += weight(t, k) * x(i, k, c);
          y.data()[(i * p + t) * v + c] = scale * sum;
        }
    if (Recorder* tape = recording(weight)) {
      tape->push([x, wv = weight.var(), yv = tape->track(y), scale](Gradients& g) {
        const Tensor<T, 3> dy = g.take(yv);
        if (!dy.defined()) return;
        Tensor<T, 2> dw(wv.shape);
        for (index_t i = 0; i < x.extent(0); ++i)
          for (index_t t = 0; t < dw.extent(0); ++t)
            for (index_t k = 0; k < dw.extent(1); ++k)
              for (index_t c = 0; c < x.extent(2); ++c)
                dw.data()[t * dw.extent(1) + k] += scale * x(i, k, c) * dy(i, t, c);
        g.add(wv, dw);
      });
    }
    return y;
  }
};

template <class T>
Tensor<T, 0> mse(const Tensor<T, 3>& y, const Tensor<T, 3>& target) {
  Tensor<T, 0> loss(Shape<0>{});
  for (index_t i = 0; i < y.size(); ++i) {
    const T d = y.data()[i] - target.data()[i];
    *loss.data() += d * d / static_cast<T>(y.size());
  }
  if (Recorder* tape = recording(y)) {
    tape->push([y, target, yv = y.var(), lv = tape->track(loss)](Gradients& g) {
      const Tensor<T, 0> dl = g.take(lv);
      auto dy = Tensor<T, 3>::empty(y.shape());
      for (index_t i = 0; i < y.size(); ++i)
        dy.data()[i] = dl.item() * 2 * (y.data()[i] - target.data()[i]) / static_cast<T>(y.size());
      g.add(yv, dy);
    });
  }
  return loss;
}

// 70 rows of two waves: 40 training, 6 validation and 10 test windows.
ForecastData<float> waves() {
  Series s{{"a", "OT"}, Tensor<double, 2>({70, 2}), {}};
  for (index_t r = 0; r < 70; ++r) {
    s.values(r, 0) = std::sin(0.3 * static_cast<double>(r));
    s.values(r, 1) = std::cos(0.2 * static_cast<double>(r)) + 0.01 * static_cast<double>(r % 7);
    s.times.push_back(3600 * r);
  }
  WindowOptions o;
  o.seq_len = 6;
  o.label_len = 2;
  o.pred_len = 4;
  return ForecastData<float>(s, o);
}

TrainOptions options() {
  TrainOptions o;
  o.epochs = 3;
  o.batch_size = 8;
  o.learning_rate = 0.02;
  o.drop_last_train = false;
  o.drop_last_val = false;
  o.seed = 11;
  return o;
}

// A folder that goes with the test.
struct Folder {
  std::filesystem::path path;
  explicit Folder(const std::string& name)
      : path(std::filesystem::temp_directory_path() /
             ("sequin_trainer_" + name + "_" + std::to_string(std::random_device()()))) {}
  ~Folder() { std::filesystem::remove_all(path); }
};

struct Outcome {
  TrainResult result;
  std::vector<float> weights;
};

// Trains with noise from `noise`, stopping after `stop_after` steps when it is positive.
Outcome train(TrainOptions o, index_t stop_after = 0) {
  const auto data = waves();
  TinyLinear<float> model(6, 4);
  Generator noise(5);
  o.generators.emplace_back("noise", &noise);
  TrainCallbacks callbacks;
  index_t steps = 0;
  if (stop_after > 0) callbacks.stop_requested = [&] { return ++steps >= stop_after; };
  Outcome out;
  out.result = train_forecaster(
      model, data.part(Part::kTrain), data.part(Part::kVal),
      [&](const auto& b) { return mse(model.forward(b.x, &noise), b.target); },
      [&](const auto& b) { return model.forward(b.x); }, o, callbacks);
  const auto w = std::as_const(model.weight).span();
  out.weights.assign(w.begin(), w.end());
  return out;
}

void check_same(const Outcome& a, const Outcome& b) {
  CHECK(a.weights == b.weights);
  CHECK(a.result.steps == b.result.steps);
  CHECK(a.result.best_epoch == b.result.best_epoch);
  CHECK(a.result.best_val_loss == b.result.best_val_loss);
  REQUIRE(a.result.history.size() == b.result.history.size());
  for (std::size_t i = 0; i < a.result.history.size(); ++i) {
    CHECK(a.result.history[i].train_loss == b.result.history[i].train_loss);
    CHECK(a.result.history[i].val_loss == b.result.history[i].val_loss);
    CHECK(a.result.history[i].learning_rate == b.result.history[i].learning_rate);
    CHECK(a.result.history[i].best == b.result.history[i].best);
  }
}

}  // namespace

TEST_CASE("train_forecaster: the loss falls and the protocol's rates are used", "[train]") {
  const Outcome out = train(options());
  REQUIRE(out.result.history.size() == 3);
  CHECK(out.result.steps == 15);
  CHECK(out.result.history[2].train_loss < 0.7 * out.result.history[0].train_loss);
  CHECK(out.result.history[1].learning_rate == 0.02);
  CHECK(out.result.history[2].learning_rate == 0.01);
  CHECK_FALSE(out.result.interrupted);
}

TEST_CASE("train_forecaster: cut anywhere and resumed it gives bit-identical results", "[train]") {
  const Outcome straight = train(options());
  // A validation of two batches asks once; stopped at each question it would never be over.
  for (index_t every = 2; every <= 9; ++every) {
    const Folder folder("resume");
    TrainOptions o = options();
    o.checkpoint_dir = folder.path;
    Outcome out;
    int runs = 0;
    do {
      out = train(o, every);
      o.resume = true;
      REQUIRE(++runs < 100);
    } while (out.result.interrupted);
    INFO("stopped after every " << every << " questions, " << runs << " runs");
    CHECK(runs > 1);
    check_same(out, straight);
    // Resuming what is done changes nothing.
    check_same(train(o), straight);
  }
}

TEST_CASE("train_forecaster: resumes from the checkpoint of a killed run", "[train]") {
  const Outcome straight = train(options());
  const Folder folder("killed");
  TrainOptions o = options();
  o.checkpoint_dir = folder.path;
  o.checkpoint_every = 3;
  struct Killed {};
  const auto data = waves();
  TinyLinear<float> model(6, 4);
  Generator noise(5);
  o.generators.emplace_back("noise", &noise);
  TrainCallbacks callbacks;
  callbacks.on_step = [](const StepInfo& s) {
    if (s.total_steps == 8) throw Killed{};
  };
  CHECK_THROWS_AS(train_forecaster(
                      model, data.part(Part::kTrain), data.part(Part::kVal),
                      [&](const auto& b) { return mse(model.forward(b.x, &noise), b.target); },
                      [&](const auto& b) { return model.forward(b.x); }, o, callbacks),
                  Killed);
  o.generators.clear();
  o.resume = true;
  check_same(train(o), straight);
}

TEST_CASE("train_forecaster: the best weights come back and are saved by name", "[train]") {
  // The first epoch is good, then a huge rate spoils everything: patience ends it.
  const Folder folder("best");
  TrainOptions o = options();
  o.epochs = 9;
  o.patience = 2;
  o.checkpoint_dir = folder.path;
  o.schedule = Schedule::warmup_cosine(5.0, 40, 1000);
  const Outcome out = train(o);
  CHECK(out.result.stopped_early);
  CHECK(out.result.history.size() == static_cast<std::size_t>(out.result.best_epoch) + 2);
  const SafetensorsFile file(folder.path / "weights.safetensors");
  const TensorEntry* const entry = file.find("weight");
  REQUIRE(entry != nullptr);
  REQUIRE(entry->bytes.size() == out.weights.size() * sizeof(float));
  CHECK(std::memcmp(entry->bytes.data(), out.weights.data(), entry->bytes.size()) == 0);
  CHECK(file.find("calls") != nullptr);

  TrainOptions one = o;
  one.checkpoint_dir.clear();
  one.epochs = out.result.best_epoch;
  CHECK(train(one).weights == out.weights);
}

TEST_CASE("train_forecaster: clipping reports the norm and changes the run", "[train]") {
  TrainOptions o = options();
  const Outcome plain = train(o);
  o.clip_norm = 1e9;
  CHECK(train(o).weights == plain.weights);
  o.clip_norm = 1e-3;
  o.optimizer.eps = 1e-2;  // otherwise Adam divides the factor out again
  CHECK(train(o).weights != plain.weights);
}

TEST_CASE("train_forecaster: NaN ends by patience and leaves no best", "[train]") {
  const auto data = waves();
  TinyLinear<float> model(6, 4);
  model.weight(0, 0) = std::numeric_limits<float>::quiet_NaN();
  TrainOptions o = options();
  o.epochs = 50;
  const TrainResult r = train_forecaster(
      model, data.part(Part::kTrain), data.part(Part::kVal),
      [&](const auto& b) { return mse(model.forward(b.x), b.target); },
      [&](const auto& b) { return model.forward(b.x); }, o);
  CHECK(r.history.size() == 3);
  CHECK(r.best_epoch == 0);
  CHECK(std::isnan(r.history[0].train_loss));
}

TEST_CASE("train_forecaster: mistakes are named", "[train]") {
  TrainOptions o = options();
  o.resume = true;
  CHECK_THROWS_WITH(train(o), "train: resume and checkpoint_every expect a checkpoint_dir");
  const Folder folder("mistakes");
  o.checkpoint_dir = folder.path;
  CHECK_THROWS_AS(train(o), LoadError);
  o.resume = false;
  train(o);
  o.resume = true;
  o.batch_size = 4;
  o.seed = 12;
  std::string message = "nothing was thrown";
  try {
    train(o);
  } catch (const LoadError& error) {
    message = error.what();
  }
  CHECK(message.find("train.batch_size is \"8\", expected \"4\"; train.seed is \"11\", expected "
                     "\"12\"") != std::string::npos);
  o = options();
  o.epochs = 0;
  CHECK_THROWS_AS(train(o), ConfigError);

  const auto data = waves();
  TinyLinear<float> model(6, 4);
  CHECK_THROWS_WITH(train_forecaster(
                        model, data.part(Part::kTrain), data.part(Part::kVal),
                        [&](const auto&) { return Tensor<float, 0>(Shape<0>{}); },
                        [&](const auto& b) { return model.forward(b.x); }, options()),
                    "train: the loss depends on none of the 1 parameters");
}
