/// What the lines of whole models share: drawn weights handed over to the peers, training steps.
#pragma once

#include "run_in_arena.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/train/optimizer.hpp"

namespace sequin_compare {

/// A model with drawn weights, and what its training needs.
template <class Model>
struct Drawn {
  Model model;
  std::unique_ptr<sequin::Adam<float>> adam;
  sequin::Arena arena;
  std::vector<float> losses;  ///< of the first two steps

  explicit Drawn(const typename Model::Config& config) : model(config) {
    sequin::Generator generator(1);
    model.initialize(generator);
  }
};

/// The model's parameters and buffers, by name, become inputs of the peers.
template <class Model>
void hand_over(Line& line, Model& model) {
  for (const auto& p : sequin::parameters(model).items) {
    Input input;
    input.name = p.name;
    input.shape.assign(p.shape.begin(), p.shape.end());
    const auto values = std::as_const(p.values).span();
    input.values.assign(values.begin(), values.end());
    line.inputs.push_back(std::move(input));
  }
}

/// Makes a step of Adam on `loss()` the line's own way. Its output is the loss of the first two
/// steps: the second depends on every gradient.
template <class Kept, class Loss>
void set_training(Line& line, Kept* kept, Loss loss) {
  line.request["trains"] = true;
  sequin::set_requires_grad(kept->model);
  kept->adam =
      std::make_unique<sequin::Adam<float>>(sequin::parameters(kept->model), sequin::AdamOptions{});
  line.run = [kept, loss] {
    {
      const sequin::ArenaScope scope(&kept->arena);
      sequin::Tape tape;
      const sequin::Tensor<float, 0> error = loss();
      kept->adam->step(tape.gradients(error));
      const sequin::ArenaScope heap(nullptr);
      if (kept->losses.size() < 2) kept->losses.push_back(error.item());
    }
    kept->arena.fit();
  };
  line.output = [kept, run = line.run]() -> std::span<const float> {
    while (kept->losses.size() < 2) run();
    return kept->losses;
  };
}

void add_itransformer_lines(std::vector<LineMaker>& lines);
void add_informer_lines(std::vector<LineMaker>& lines);
void add_mamba_lines(std::vector<LineMaker>& lines);
void add_time_moe_lines(std::vector<LineMaker>& lines);
void add_mossformer2_lines(std::vector<LineMaker>& lines);

}  // namespace sequin_compare
