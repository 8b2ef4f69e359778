#include "train_report.hpp"

#include "../common/plot.hpp"

#include "sequin/io/json_writer.hpp"
#include "sequin/train/metrics_log.hpp"

#include <cstdio>

namespace sequin_cli {

using namespace sequin;

std::string metrics_json(const TrainReport& a) {
  const TrainResult& r = a.result;
  const TestScores& s = a.scores;
  JsonWriter w;
  w.begin_object();
  const auto score = [&](const char* name, const ForecastScore& f) {
    w.key(name).begin_object();
    w.key("mse").value(f.mse()).key("mae").value(f.mae());
    w.end_object();
  };
  score("test", s.model);
  score("repeat_last", s.repeat_last);
  if (s.period > 0) {
    score("seasonal_naive", s.seasonal);
    w.key("seasonal_period").value(s.period);
  }
  w.key("loss").value(a.loss);
  w.key("parameters").value(a.parameters).key("trained_parameters").value(a.trained);
  w.key("best_epoch").value(r.best_epoch);
  w.key("best_val_loss").value(r.best_val_loss);
  w.key("steps").value(r.steps);
  w.key("seconds").value(a.seconds);
  w.key("seconds_per_epoch")
      .value(r.history.empty() ? 0.0 : a.seconds / static_cast<double>(r.history.size()));
  w.key("seed").value(a.seed);
  w.key("threads").value(a.threads);
  w.key("history").begin_array();
  for (const EpochRecord& e : r.history) {
    w.begin_object();
    w.key("epoch").value(e.epoch);
    w.key("train_loss").value(e.train_loss).key("val_loss").value(e.val_loss);
    w.key("learning_rate").value(e.learning_rate);
    w.end_object();
  }
  w.end_array().end_object();
  return w.text() + "\n";
}

void print_scores(const char* model, const TestScores& s) {
  std::printf("%-28s %10s %10s\n", "test error (scaled)", "MSE", "MAE");
  std::printf("%-28s %10.4f %10.4f\n", model, s.model.mse(), s.model.mae());
  std::printf("%-28s %10.4f %10.4f\n", "repeat the last value", s.repeat_last.mse(),
              s.repeat_last.mae());
  if (s.period > 0)
    std::printf("%-28s %10.4f %10.4f\n", "repeat the last day", s.seasonal.mse(), s.seasonal.mae());
}

void plot_curves(const std::filesystem::path& svg, const std::string& title,
                 const std::string& loss, const TrainResult& r, const std::filesystem::path& log) {
  sequin_examples::TrainingPlot plot;
  plot.title = title;
  plot.y_label = "Loss (" + loss + ")";
  for (const EpochRecord& e : r.history) {
    plot.train_losses.push_back(e.train_loss);
    plot.val_losses.push_back(e.val_loss);
  }
  const double steps_per_epoch = static_cast<double>(r.steps) /
                                 static_cast<double>((std::max)(r.history.size(), std::size_t{1}));
  for (const LoggedStep& s : MetricsLog::read_steps(log)) {
    plot.step_epochs.push_back(static_cast<double>(s.step) / steps_per_epoch);
    plot.step_losses.push_back(s.loss);
  }
  plot.best_epoch = static_cast<std::size_t>(r.best_epoch);
  sequin_examples::plot_training(svg, plot);
}

}  // namespace sequin_cli
