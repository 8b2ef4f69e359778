// pretrain score: zero-shot errors of models beside naive forecasts, by groups of series.
#include "commands.hpp"
#include "score.hpp"
#include "synthetic.hpp"

#include "../common/progress.hpp"
#include "../sequin/session_options.hpp"

#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/time_moe_forecast.hpp"
#include "sequin/train/read_series.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace sequin_pretrain {

using namespace sequin;

namespace {

struct ScoreArguments {
  std::vector<std::string> models;
  std::string series, part = "test", csv;
  index_t period = 24, horizon = 0, synthetic = 200, forecasts = 5;
  std::uint64_t seed = 0x7E57;
  bool json = false;
  sequin_cli::SessionOptions session;
};

/// A group of series and its tasks.
struct Group {
  std::string name;
  std::vector<NamedSeries> series;
};

std::vector<Group> groups_of(const ScoreArguments& a) {
  std::map<std::string, std::vector<NamedSeries>> by_name;
  if (!a.series.empty())
    for (NamedSeries& s : read_series_file(a.series, a.part))
      by_name["real: " + s.domain].push_back(std::move(s));
  if (!a.csv.empty()) {
    const Series table = read_series_with_gaps(a.csv);
    const index_t width = table.values.cols();
    for (index_t c = 0; c < width; ++c) {
      NamedSeries s{table.columns[static_cast<std::size_t>(c)], "csv", a.period, {}};
      for (index_t t = 0; t < table.values.rows(); ++t)
        s.values.push_back(static_cast<float>(std::as_const(table.values)(t, c)));
      by_name["file: " + std::filesystem::path(a.csv).stem().string()].push_back(std::move(s));
    }
  }
  for (NamedSeries& s : synthetic_series_of(a.seed, a.synthetic, 384)) {
    const std::size_t begin = s.name.find('/') + 1;
    by_name["synthetic: " + s.name.substr(begin, s.name.rfind('/') - begin)].push_back(
        std::move(s));
  }
  std::vector<Group> groups;
  for (auto& [name, list] : by_name) groups.push_back({name, std::move(list)});
  return groups;
}

/// What a model says, from as much of the past as it was trained with.
std::vector<float> said_by(const TimeMoe<float>& model, const Task& task) {
  const index_t most = model.config().max_position_embeddings - task.horizon;
  const index_t length = (std::min)(task.known, most);
  Tensor<float, 2> past({1, length});
  std::copy_n(task.past().data() + (task.known - length), length, past.data());
  const Tensor<float, 2> next = forecast(model, past, task.horizon);
  return {next.span().begin(), next.span().end()};
}

void print(const std::vector<std::string>& names, const std::vector<Table>& tables) {
  std::printf("%-26s %6s %9s", "MASE, mean (std. error)", "series", "forecasts");
  for (const auto& name : names) std::printf(" %15s", name.c_str());
  std::printf("\n");
  std::vector<std::vector<Table::Row>> rows;
  for (const Table& t : tables) rows.push_back(t.rows());
  for (std::size_t r = 0; r < rows[0].size(); ++r) {
    std::printf("%-26s %6td %9td", rows[0][r].group.c_str(), rows[0][r].series,
                rows[0][r].forecasts);
    for (const auto& of : rows) std::printf("   %6.3f (%.3f)", of[r].mean.mase, of[r].mase_error);
    std::printf("\n");
  }
  std::printf("\n%-43s", "scaled MAE / MSE");
  for (const auto& name : names) std::printf(" %15s", name.c_str());
  std::printf("\n");
  for (std::size_t r = 0; r < rows[0].size(); ++r) {
    std::printf("%-43s", rows[0][r].group.c_str());
    for (const auto& of : rows) std::printf("   %5.3f / %5.3f", of[r].mean.mae, of[r].mean.mse);
    std::printf("\n");
  }
}

void print_json(const std::vector<std::string>& names, const std::vector<Table>& tables) {
  JsonWriter w;
  w.begin_object();
  for (std::size_t i = 0; i < names.size(); ++i) {
    w.key(names[i]).begin_object();
    for (const Table::Row& row : tables[i].rows()) {
      w.key(row.group).begin_object().key("series").value(row.series);
      w.key("forecasts").value(row.forecasts).key("mase").value(row.mean.mase);
      w.key("mase_standard_error").value(row.mase_error);
      w.key("mae").value(row.mean.mae).key("mse").value(row.mean.mse).end_object();
    }
    w.end_object();
  }
  std::printf("%s\n", w.end_object().text().c_str());
}

int run_score(const ScoreArguments& a) {
  const sequin_cli::ThreadScope threads(a.session);
  std::vector<std::string> names{"naive", "seasonal naive"};
  std::vector<TimeMoe<float>> models;
  for (const std::string& folder : a.models) {
    models.push_back(load_for_inference<TimeMoe<float>>(folder));
    const std::filesystem::path path = folder;
    names.push_back((path.has_filename() ? path : path.parent_path()).filename().string());
  }
  const std::vector<Group> groups = groups_of(a);
  std::size_t total = 0;
  for (const Group& group : groups) total += group.series.size();
  if (total == 0) throw ConfigError("score: expected --series, --csv or --synthetic");
  std::vector<Table> tables(names.size());
  sequin_examples::ProgressBar bar("scoring", total, a.session.quiet, "series");
  std::size_t done = 0;
  for (const Group& group : groups) {
    const std::string kind = group.name.substr(0, group.name.find(':'));
    for (const NamedSeries& s : group.series) {
      const index_t horizon = a.horizon > 0 ? a.horizon : horizon_of(s.period);
      for (const Task& task : tasks_of(s, horizon, a.forecasts)) {
        const auto add = [&](std::size_t column, const std::vector<float>& said) {
          const Errors errors = errors_of(said, task.truth(), task.scales);
          tables[column].add(group.name, s.name, errors);
          if (kind != "file") tables[column].add("all " + kind, s.name, errors);
        };
        add(0, naive(task.past(), horizon));
        add(1, seasonal_naive(task.past(), s.period, horizon));
        for (std::size_t m = 0; m < models.size(); ++m) add(m + 2, said_by(models[m], task));
      }
      bar.update(++done);
    }
  }
  bar.finish();
  if (a.json)
    print_json(names, tables);
  else
    print(names, tables);
  return 0;
}

}  // namespace

void add_score(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("score", "Zero-shot errors beside naive forecasts");
  const auto a = std::make_shared<ScoreArguments>();
  cmd->add_option("models", a->models, "folders with config.json and weights of a Time-MoE");
  cmd->add_option("--series", a->series, "series.csv of make_series.sh");
  cmd->add_option("--part", a->part, "of that file: train, validation or test")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "validation", "test"}));
  cmd->add_option("--csv", a->csv, "a CSV whose columns are series");
  cmd->add_option("--period", a->period, "rows a season of the CSV")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  cmd->add_option("--horizon", a->horizon, "steps ahead (by the period)")
      ->check(CLI::Range(1, 4096));
  cmd->add_option("--synthetic", a->synthetic, "synthetic series, of a seed of their own")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  cmd->add_option("--forecasts", a->forecasts, "at most so many a series, from its end on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  cmd->add_option("--seed", a->seed, "of the synthetic series")->capture_default_str();
  cmd->add_flag("--json", a->json, "print JSON");
  a->session.add_to(cmd);
  cmd->callback([&chosen, a] { chosen = [a] { return run_score(*a); }; });
}

}  // namespace sequin_pretrain
