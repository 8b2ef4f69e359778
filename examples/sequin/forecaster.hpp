/// A forecaster of whatever kind a folder holds, behind one interface.
#pragma once

#include "series.hpp"

#include "sequin/blocks/forward_context.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/train/windows.hpp"

#include <filesystem>
#include <memory>
#include <span>

namespace sequin_cli {

struct ForecastArguments;  // forecast_request.hpp

/// What is known when a forecast is made; B windows of V variates, K time marks a step.
struct ForecastInput {
  sequin::Tensor<float, 3> history;        ///< (B, S, V), scaled
  sequin::Tensor<float, 3> history_marks;  ///< (B, S, K)
  sequin::Tensor<float, 3> future_marks;   ///< (B, horizon, K)

  sequin::index_t horizon() const noexcept { return future_marks.extent(1); }
};

/// The inputs of a batch of windows.
ForecastInput forecast_input(const sequin::WindowBatch<float>& batch);

/// One model behind `sequin forecast` and `sequin train`. It is a block: `visit` lists its
/// parameters, so that loading, saving and optimisers take it like any other.
class Forecaster {
 public:
  using value_type = float;

  virtual ~Forecaster() = default;
  /// As it is written in a table of scores.
  virtual const char* name() const = 0;
  /// How a series is cut for it: by the official keys of its config, unless overridden. A model
  /// that scales by itself sets `scale` to false, one of any length takes its lengths from
  /// elsewhere.
  virtual sequin::WindowOptions windows(const sequin::Config& config, const SeriesOptions& options,
                                        const sequin::Series& series) const {
    return window_options(config, options, series);
  }
  /// The next steps, (B, horizon, C): of all V variates, or of the last C of them. Throws
  /// ShapeError, ConfigError.
  virtual sequin::Tensor<float, 3> forecast(
      const ForecastInput& input, const sequin::ForwardContext<float>& context = {}) const = 0;
  /// Fresh weights.
  virtual void initialize(sequin::Generator& generator) = 0;
  virtual void visit(sequin::Visitor<float>& v) = 0;
};

/// How to make the forecaster of one model of `sequin list`.
struct ForecasterKind {
  const char* model;
  bool trains;  ///< by `sequin train`
  /// Number of parameters that a config asks for. Throws ConfigError.
  double (*parameter_count)(const sequin::Config& config);
  /// All weights zero. Throws ConfigError, also for a task that is no forecast.
  std::unique_ptr<Forecaster> (*make)(const sequin::Config& config);
  /// `sequin forecast` of a model that takes any horizon; null for those of fixed windows.
  void (*any_horizon)(const ForecastArguments& arguments) = nullptr;
};

/// Makes a forecaster known to the two functions below; a global of the file that defines it.
class RegisterForecaster {
 public:
  explicit RegisterForecaster(const ForecasterKind& kind);
};

/// A forecaster to train. Throws ConfigError for a config of a model that does not train here, and
/// for one of more than 1e9 parameters.
std::unique_ptr<Forecaster> make_forecaster(const sequin::Config& config);

/// What is known of the forecaster that a config asks for. Throws ConfigError.
ForecasterKind forecaster_kind(const sequin::Config& config);

/// The forecaster in `dir`, ready to run. Throws ConfigError and LoadError.
std::unique_ptr<Forecaster> load_forecaster(const std::filesystem::path& dir);

}  // namespace sequin_cli
