// What a training does again and again takes no memory from the heap for its tensors.
#include "sequin/autograd/tape.hpp"
#include "sequin/train/forecast_data.hpp"
#include "sequin/train/optimizer.hpp"
#include "sequin/train/train_forecaster.hpp"

#include "common/allocation_count.hpp"
#include "support/catch.hpp"

#include <vector>

using namespace sequin;

namespace {

ForecastData<float> ramp() {
  Series s{{"OT"}, Tensor<double, 2>({60, 1}), {}};
  for (index_t r = 0; r < 60; ++r) {
    s.values(r, 0) = static_cast<double>(r * r % 17);
    s.times.push_back(3600 * r);
  }
  WindowOptions o;
  o.seq_len = 4;
  o.label_len = 2;
  o.pred_len = 2;
  return ForecastData<float>(s, o);
}

struct OneWeight {
  using value_type = float;
  Tensor<float, 1> w{Shape<1>{1}, 0.5f};
  void visit(Visitor<float>& v) { v.parameter("w", w); }
};

// Allocations of the last step but one of an epoch whose every step makes `extra` tensors more.
std::size_t allocations_of_a_step(int extra) {
  const auto data = ramp();
  OneWeight model;
  TrainOptions o;
  o.epochs = 1;
  o.batch_size = 4;
  std::vector<std::size_t> counts;
  counts.reserve(100);
  TrainCallbacks callbacks;
  callbacks.on_step = [&](const StepInfo&) {
    counts.push_back(sequin_examples::allocation_count());
  };
  train_forecaster(
      model, data.part(Part::kTrain), data.part(Part::kVal),
      [&](const WindowBatch<float>& b) {
        for (int i = 0; i < extra; ++i) Tensor<float, 1> scratch({64 + i});
        Tensor<float, 0> loss(Shape<0>{}, std::as_const(model.w)(0) * b.x(0, 0, 0));
        if (Recorder* tape = recording(model.w)) {
          tape->push([wv = model.w.var(), lv = tape->track(loss)](Gradients& g) {
            g.add(wv, g.take(lv).reshaped<1>({1}));
          });
        }
        return loss;
      },
      [](const WindowBatch<float>& b) { return repeat_last(b.x, 2); }, o, callbacks);
  return counts.at(counts.size() - 2) - counts.at(counts.size() - 3);
}

}  // namespace

TEST_CASE("fetch, step: no allocation after the first", "[train]") {
  const auto data = ramp();
  const auto set = data.part(Part::kTrain);
  const std::vector<index_t> whole{3, 1, 2}, part{4};
  WindowBatch<float> batch;
  set.fetch(whole, batch);
  OneWeight model;
  set_requires_grad(model);
  Adam<float> adam(parameters(model));
  const std::vector<Tensor<float, 1>> gradient{Tensor<float, 1>({1}, 1.0f)};
  const std::size_t before = sequin_examples::allocation_count();
  for (int i = 0; i < 4; ++i) {
    set.fetch(i % 2 == 0 ? part : whole, batch);
    adam.step(gradient);
  }
  CHECK(sequin_examples::allocation_count() == before);
}

TEST_CASE("train_forecaster: tensors of a step cost no allocation", "[train]") {
  if (!sequin_examples::allocations_are_counted()) {
    WARN("skipped: allocations are not counted in this build");
    return;
  }
  CHECK(allocations_of_a_step(0) > 0);  // the tape's own, so the counter counts
  CHECK(allocations_of_a_step(200) == allocations_of_a_step(0));
}
