// Informer as a forecaster.
#include "forecaster.hpp"

#include "sequin/models/informer.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

/// The decoder is given the last label_len steps and zeros (with `padding` ones) for the horizon,
/// and the calendar of both, which is known. Keys are drawn from a fixed seed unless the context
/// has a sampler.
class InformerForecaster : public Forecaster {
 public:
  explicit InformerForecaster(const InformerConfig& config) : model_(config) {}

  const char* name() const override { return "Informer"; }

  WindowOptions windows(const Config& config, const SeriesOptions& options,
                        const Series& series) const override {
    WindowOptions w = window_options(config, options, series);
    // Its own loader counts quarters of an hour with any series.
    w.quarter_hours = model_.config().freq.back() == 't';
    return w;
  }

  Tensor<float, 3> forecast(const ForecastInput& input,
                            const ForwardContext<float>& context) const override {
    const InformerConfig& c = model_.config();
    if (input.horizon() != c.pred_len)
      throw ConfigError("Informer: the horizon is " + std::to_string(input.horizon()) +
                        ", expected the model's pred_len = " + std::to_string(c.pred_len));
    for (const auto& [key, expected] : {std::pair{"enc_in", c.enc_in}, {"dec_in", c.dec_in}})
      if (input.history.extent(2) != expected)
        throw ConfigError("Informer: the series has " + std::to_string(input.history.extent(2)) +
                          " variates, expected the model's " + key + " = " +
                          std::to_string(expected));
    const index_t steps = input.history.extent(1);
    const index_t label = (std::min)(c.label_len, steps);
    const Tensor<float, 3> x_dec = decoder_input(input.history, label, c.pred_len, c.padding);
    const Tensor<float, 3> marks =
        concat(slice(input.history_marks, 1, steps - label, steps), input.future_marks, 1);
    return model_.forward(input.history, input.history_marks, x_dec, marks, context);
  }
  void initialize(Generator& generator) override { model_.initialize(generator); }
  void visit(Visitor<float>& v) override { model_.visit(v); }

 private:
  Informer<float> model_;
};

std::unique_ptr<Forecaster> make(const Config& config) {
  const auto c = InformerConfig::read(config);
  if (!c.forecasts())
    throw ConfigError(config.label() + ": task_name: expected a forecast, found another task");
  return std::make_unique<InformerForecaster>(c);
}

double parameter_count(const Config& config) {
  return InformerConfig::read(config).parameter_count();
}

}  // namespace

static const RegisterForecaster registered[] = {
    RegisterForecaster({"informer", true, parameter_count, make}),
    RegisterForecaster({"informerstack", true, parameter_count, make}),
    RegisterForecaster({"informer_tslib", true, parameter_count, make})};

}  // namespace sequin_cli
