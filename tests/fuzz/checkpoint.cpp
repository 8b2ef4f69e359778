#include "fuzz.hpp"

#include "sequin/train/checkpoint.hpp"
#include "sequin/train/early_stopping.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace sequin_fuzz {

using namespace sequin;

namespace {

/// Something of everything that a checkpoint holds.
struct Training {
  Tensor<float, 1> weight{Shape<1>{6}};
  Tensor<float, 1> running{Shape<1>{2}};
  EarlyStopping stopping{2};
  Generator generator{7};
  std::int64_t step = 0;
  std::vector<std::int64_t> steps{1, 2};
  double loss = 0.5;
  std::vector<double> history{1, 2, 3};

  StateList<float> state() {
    StateList<float> s;
    s.tensor("model.weight", {2, 3}, weight);
    s.tensor("model.running", {2}, running);
    s.child("early_stopping", stopping);
    s.generator("generator", generator);
    s.counter("step", step);
    s.counters("steps", steps);
    s.real("loss", loss);
    s.reals("history", history);
    return s;
  }

  /// Every bit of it.
  std::string bits() const {
    std::string all;
    const auto add = [&](const void* from, std::size_t size) {
      all.append(static_cast<const char*>(from), size);
    };
    add(weight.data(), sizeof(float) * 6);
    add(running.data(), sizeof(float) * 2);
    const double best = stopping.best();
    const std::int64_t numbers[] = {stopping.best_epoch(), stopping.waited(), step, steps[0],
                                    steps[1]};
    add(&best, sizeof best);
    add(numbers, sizeof numbers);
    add(&generator.state().seed, sizeof(std::uint64_t));
    add(&generator.state().position, sizeof(std::uint64_t));
    add(&loss, sizeof loss);
    add(history.data(), sizeof(double) * history.size());
    return all;
  }
};

const CheckpointFingerprint kFingerprint{{"d_model", "16"}, {"note", "a \"b\"\n"}};

}  // namespace

void fuzz_checkpoint(std::span<const std::byte> bytes) {
  const auto path = scratch("checkpoint.safetensors"), copy = scratch("copy.safetensors");
  sequin_test::put(path, text_of(bytes));
  Training loaded;
  const std::string before = loaded.bits();
  if (!accepts([&] { load_checkpoint(path, loaded.state(), kFingerprint); })) {
    require(loaded.bits() == before, "what is refused changes nothing");
    return;
  }
  save_checkpoint(copy, loaded.state(), kFingerprint);
  Training again;
  load_checkpoint(copy, again.state(), kFingerprint);
  require(again.bits() == loaded.bits(), "what was saved is what was loaded");
  // The training goes on.
  loaded.stopping.update(1.0);
  ++loaded.step;
  for (std::int64_t& step : loaded.steps) ++step;
  loaded.generator.uniform<double>();
}

}  // namespace sequin_fuzz
