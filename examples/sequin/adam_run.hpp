/// The short training that some cases record.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/io/config.hpp"
#include "sequin/train/optimizer.hpp"

namespace sequin_cli {

/// Losses of a short Adam run on one batch: before each step and after the last.
template <class Model, class Loss>
auto adam_run(Model& model, const sequin::Config& settings, const Loss& loss) {
  using T = typename Model::value_type;
  using namespace sequin;
  AdamOptions options;
  options.learning_rate = settings.get_double("lr", 0.001);
  options.eps = settings.get_double("eps", 1e-8);
  options.weight_decay = settings.get_double("weight_decay", 0.0);
  const index_t steps = settings.get_int("steps", 10, 0, 1000000);
  Adam<T> adam(parameters(model), options);
  Tensor<T, 1> losses(Shape<1>{steps + 1});
  for (index_t i = 0; i < steps; ++i) {
    Tape tape;
    const Tensor<T, 0> value = loss();
    losses(i) = value.item();
    adam.step(tape.gradients(value));
  }
  losses(steps) = loss().item();
  return losses;
}

}  // namespace sequin_cli
