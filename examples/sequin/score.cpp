#include "score.hpp"

#include "forecaster.hpp"

#include "sequin/core/arena.hpp"
#include "sequin/train/evaluate.hpp"
#include "sequin/train/forecast_data.hpp"

namespace sequin_cli {

using namespace sequin;

TestScores score_forecaster(const std::filesystem::path& dir, const std::string& csv,
                            const SeriesOptions& options) {
  const Config config = Config::load(dir / "config.json");
  const Series series = read_series(csv);
  const std::unique_ptr<Forecaster> forecaster = load_forecaster(dir);
  const ForecastData<float> data(series, forecaster->windows(config, options, series));
  Arena arena;
  const WindowSet<float> test = data.part(Part::kTest);
  const ForecastScore score = evaluate(
      test, index_t{32},
      [&](const WindowBatch<float>& batch) { return forecaster->forecast(forecast_input(batch)); },
      &arena);
  return {score.mse(), score.mae(), test.count()};
}

bool is_test_score(std::string_view name) {
  return name == "output.test_mse" || name == "output.test_mae" || name == "output.test_windows";
}

void append_test_scores(const std::filesystem::path& dir, const std::string& csv,
                        std::vector<OwnedTensor>& outputs) {
  SeriesOptions options;
  const std::string file = std::filesystem::path(csv).stem().string();
  if (file.starts_with("ETT")) options.split = file;
  const TestScores scores = score_forecaster(dir, csv, options);
  const auto add = [&](const char* name, DType dtype, const void* value, std::size_t size) {
    OwnedTensor t;
    t.name = name;
    t.dtype = dtype;
    t.bytes.resize(size);
    std::memcpy(t.bytes.data(), value, size);
    outputs.push_back(std::move(t));
  };
  const std::int64_t windows = scores.windows;
  add("output.test_mse", DType::F64, &scores.mse, sizeof scores.mse);
  add("output.test_mae", DType::F64, &scores.mae, sizeof scores.mae);
  add("output.test_windows", DType::I64, &windows, sizeof windows);
}

}  // namespace sequin_cli
