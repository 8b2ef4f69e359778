#include "forecaster.hpp"

#include "models.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/ops/shape.hpp"

#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

std::vector<ForecasterKind>& forecaster_kinds() {
  static std::vector<ForecasterKind> kinds;
  return kinds;
}

ForecasterKind kind_of(const Config& config, bool training) {
  const std::string name = model_of(config).name;
  std::string known;
  for (const ForecasterKind& kind : forecaster_kinds()) {
    if (training && !kind.trains) continue;
    if (name == kind.model) return kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.model);
  }
  throw ConfigError(config.label() + ": model: expected one that " +
                    (training ? "trains" : "forecasts") + " here (" + known + "), found '" + name +
                    "'");
}

}  // namespace

RegisterForecaster::RegisterForecaster(const ForecasterKind& kind) {
  forecaster_kinds().push_back(kind);
}

ForecastInput forecast_input(const WindowBatch<float>& batch) {
  const index_t rows = batch.y_mark.extent(1);
  return {batch.x, batch.x_mark, slice(batch.y_mark, 1, rows - batch.target.extent(1), rows)};
}

std::unique_ptr<Forecaster> make_forecaster(const Config& config) {
  const ForecasterKind kind = kind_of(config, true);
  const double count = kind.parameter_count(config);
  if (count > 1e9)
    throw ConfigError(config.label() + ": expected a model of at most 1e9 parameters, found " +
                      std::to_string(count));
  return kind.make(config);
}

ForecasterKind forecaster_kind(const Config& config) { return kind_of(config, false); }

std::unique_ptr<Forecaster> load_forecaster(const std::filesystem::path& dir) {
  const Config config = Config::load(dir / "config.json");
  const ForecasterKind kind = kind_of(config, false);
  const WeightsSource source = open_weights(dir);
  check_size(kind.parameter_count(config), source);
  std::unique_ptr<Forecaster> forecaster = kind.make(config);
  load_weights(*forecaster, source);
  prepare_for_inference(*forecaster);
  return forecaster;
}

}  // namespace sequin_cli
