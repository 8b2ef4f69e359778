// A model from one file or from the headers: the same bits.
#ifdef ONE_FILE
#include "sequin_itransformer.hpp"
#else
#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#endif

#include <cstdio>

int main() {
  const auto config = sequin::Config::parse(
      R"({"seq_len": 8, "pred_len": 4, "d_model": 8, "n_heads": 2, "e_layers": 1, "d_ff": 16})",
      "config");
  sequin::ITransformer<float> model(sequin::ITransformerConfig::read(config));
  sequin::Generator generator(1);
  model.initialize(generator);
  sequin::Tensor<float, 3> x({1, 8, 3});
  for (float& value : x.span()) value = generator.uniform<float>();
  const auto y = model.forward(x);
  std::printf("Sequin %s:", sequin::kVersion);
  for (const float value : y.span()) std::printf(" %a", static_cast<double>(value));
  std::printf("\n");
}
