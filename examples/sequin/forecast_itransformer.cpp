// iTransformer as a forecaster.
#include "forecaster.hpp"

#include "sequin/models/itransformer.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

class ITransformerForecaster : public Forecaster {
 public:
  explicit ITransformerForecaster(const ITransformerConfig& config) : model_(config) {}

  const char* name() const override { return "iTransformer"; }

  Tensor<float, 3> forecast(const ForecastInput& input,
                            const ForwardContext<float>& context) const override {
    if (input.horizon() != model_.config().pred_len)
      throw ConfigError(
          "iTransformer: the horizon is " + std::to_string(input.horizon()) +
          ", expected the model's pred_len = " + std::to_string(model_.config().pred_len));
    return model_.forward(input.history, input.history_marks, context);
  }
  void initialize(Generator& generator) override { model_.initialize(generator); }
  void visit(Visitor<float>& v) override { model_.visit(v); }

 private:
  ITransformer<float> model_;
};

std::unique_ptr<Forecaster> make(const Config& config) {
  const auto c = ITransformerConfig::read(config);
  if (c.task != ITransformerConfig::Task::forecast)
    throw ConfigError(config.label() + ": task_name: expected a forecast, found another task");
  return std::make_unique<ITransformerForecaster>(c);
}

double parameter_count(const Config& config) {
  return ITransformerConfig::read(config).parameter_count();
}

}  // namespace

static const RegisterForecaster registered[] = {
    RegisterForecaster({"itransformer", true, parameter_count, make}),
    RegisterForecaster({"itransformer_tslib", true, parameter_count, make})};

}  // namespace sequin_cli
