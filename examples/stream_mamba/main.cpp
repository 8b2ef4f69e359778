// Streams a small Mamba language model token by token and compares it with one pass over the whole
// sequence: the same outputs, at a constant cost and without a heap allocation a step.
//
// usage: stream_mamba [d_model] [n_layer] [tokens]
#include "../common/allocation_count.hpp"

#include "sequin/models/mamba.hpp"
#include "sequin/stream/session.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  const auto argument = [&](int i, long fallback) {
    return argc > i ? std::strtol(argv[i], nullptr, 10) : fallback;
  };
  sequin::MambaConfig config;
  config.d_model = argument(1, 128);
  config.n_layer = argument(2, 4);
  config.vocab_size = 256;
  const long length = argument(3, 512);
  if (config.d_model < 1 || config.n_layer < 1 || length < 1) {
    std::fprintf(stderr, "stream_mamba: d_model, n_layer and tokens must be at least 1\n");
    return 2;
  }

  sequin::Mamba<float> model(config);
  sequin::Generator generator(7);
  model.initialize(generator);
  sequin::prepare(model);

  sequin::Tensor<std::int64_t, 2> ids({1, length});
  for (auto& id : ids.span()) id = generator.below(256);
  const auto batch = model.forward(ids);

  sequin::Session session(model);
  double worst_difference = 0;
  double largest = 0;
  std::vector<double> microseconds;
  microseconds.reserve(static_cast<std::size_t>(length));
  const std::size_t before = sequin_examples::allocation_count();
  for (long t = 0; t < length; ++t) {
    const auto start = std::chrono::steady_clock::now();
    const auto logits = session.step({ids.data() + t, 1});
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    microseconds.push_back(took.count());
    for (std::size_t v = 0; v < logits.size(); ++v) {
      const double official = batch.data()[static_cast<std::size_t>(t) * logits.size() + v];
      worst_difference = std::max(worst_difference, std::abs(logits[v] - official));
      largest = std::max(largest, std::abs(official));
    }
  }
  const std::size_t allocations = sequin_examples::allocation_count() - before;

  std::sort(microseconds.begin(), microseconds.end());
  const auto at = [&](double share) {
    return microseconds[static_cast<std::size_t>(share * static_cast<double>(length - 1))];
  };
  std::printf("Mamba, d_model %ld, %ld layers, %ld tokens streamed one by one\n",
              static_cast<long>(config.d_model), static_cast<long>(config.n_layer), length);
  std::printf("  step against batch   worst relative difference %.1e\n",
              worst_difference / largest);
  std::printf("  latency of a step    median %.1f us, p99 %.1f us, worst %.1f us\n", at(0.5),
              at(0.99), at(1.0));
  if (sequin_examples::allocations_are_counted())
    std::printf("  heap allocations     %.3g a step\n",
                static_cast<double>(allocations) / static_cast<double>(length));
  return worst_difference <= 1e-5 * largest ? 0 : 1;
}
