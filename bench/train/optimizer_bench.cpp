// Adam's step and the assembly of batches. The step reads four and writes three arrays and is
// bound by memory from a few hundred thousand parameters on; below that by division and root.
#include "sequin/train/forecast_data.hpp"
#include "sequin/train/optimizer.hpp"

#include <benchmark/benchmark.h>

#include <numeric>
#include <vector>

namespace {

using sequin::index_t;

void adam_step(benchmark::State& state) {
  const index_t n = state.range(0);
  sequin::Tensor<float, 1> p({n}, 0.5f);
  p.set_requires_grad();
  sequin::ParameterList<float> list;
  list.items.push_back({"p", {n}, p, true});
  sequin::Adam<float> adam(list);
  const std::vector<sequin::Tensor<float, 1>> gradient{sequin::Tensor<float, 1>({n}, 0.1f)};
  for (auto _ : state) benchmark::DoNotOptimize(adam.step(gradient));
  state.SetItemsProcessed(state.iterations() * n);
  state.SetBytesProcessed(state.iterations() * n * 7 * index_t{sizeof(float)});
}
BENCHMARK(adam_step)->Arg(1 << 12)->Arg(1 << 16)->Arg(1 << 20)->Arg(1 << 23);

// 7 variates, 96 to 96, batches of 32: the ETT protocol.
void fetch_batch(benchmark::State& state) {
  constexpr index_t rows = 14400;
  sequin::Series series{{"a", "b", "c", "d", "e", "f", "OT"},
                        sequin::Tensor<double, 2>({rows, 7}),
                        std::vector<std::int64_t>(rows)};
  for (index_t i = 0; i < series.values.size(); ++i)
    series.values.data()[i] = static_cast<double>(i % 97);
  for (index_t r = 0; r < rows; ++r) series.times[static_cast<std::size_t>(r)] = 3600 * r;
  sequin::WindowOptions options;
  options.split = sequin::SplitRule::kEttHour;
  const sequin::ForecastData<float> data(series, options);
  const auto windows = data.part(sequin::Part::kTrain);
  std::vector<index_t> numbers(32);
  std::iota(numbers.begin(), numbers.end(), index_t{1000});
  sequin::WindowBatch<float> batch;
  for (auto _ : state) {
    windows.fetch(numbers, batch);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(fetch_batch);

}  // namespace

BENCHMARK_MAIN();
