// A program whose tensors, model and config come from sequin::compiled.
#include <cstdio>

#include "sequin/sequin.hpp"

#ifndef SEQUIN_COMPILED
#error "sequin::compiled does not say so"
#endif

int main() {
  const auto config = sequin::Config::parse(R"({"seq_len": 8})", "config");
  sequin::ITransformer<float> model({.seq_len = config.get_int("seq_len", 1, 100),
                                     .pred_len = 4,
                                     .d_model = 8,
                                     .n_heads = 2,
                                     .e_layers = 1,
                                     .d_ff = 16});
  sequin::Generator generator(1);
  model.initialize(generator);
  const auto y = model.forward(sequin::Tensor<float, 3>({1, 8, 3}, 1.0f));
  if (y.shape() != sequin::Shape<3>{1, 4, 3}) return 1;
  std::printf("Sequin %s for %s\n", sequin::kVersion, sequin::kInstructionSet);
}
