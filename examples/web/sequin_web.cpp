// What is behind sequin_web.h: the forecast and the separation of the sequin program.
#define SEQUIN_C_BUILD
#include "sequin_web.h"

#include "../c_abi/guarded.hpp"
#include "../sequin/separate_signal.hpp"
#include "../sequin/series_forecast.hpp"

#include "sequin/io/calendar.hpp"
#include "sequin/io/csv.hpp"
#include "sequin/io/json_writer.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/train/read_series.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>

using namespace sequin;
using sequin_c_abi::guarded;
using sequin_c_abi::require;

struct sequin_separator {
  MossFormer2<float> model;
};

namespace {

class Stopwatch {
 public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

std::vector<std::string> dates(const std::vector<std::int64_t>& times) {
  std::vector<std::string> texts;
  for (const std::int64_t t : times) texts.push_back(format_time(t));
  return texts;
}

template <class Items>
void write_array(JsonWriter& json, const char* key, const Items& items) {
  json.key(key).begin_array();
  for (const auto& item : items) json.value(item);
  json.end_array();
}

std::string forecast(const std::filesystem::path& folder, const std::string& csv, bool holdout,
                     const std::string& output) {
  const Config config = Config::load(folder / "config.json");
  const Stopwatch reading;
  const Series series = read_series(csv);
  const double read_ms = reading.milliseconds();
  const auto model = load_for_inference<ITransformer<float>>(folder);
  double model_ms = 0;
  const auto f = sequin_cli::forecast_series(
      series, sequin_cli::window_options(config, {}, series), {folder, csv, holdout},
      [&](const sequin_cli::ForecastInput& input) {
        const Stopwatch running;
        Tensor<float, 3> y = model.forward(input.history, input.history_marks);
        model_ms = running.milliseconds();
        return y;
      });
  write_csv(output, f.columns, dates(f.future), f.values);

  JsonWriter json;
  json.begin_object();
  write_array(json, "columns", f.columns);
  write_array(json, "times", dates(f.times));
  write_array(json, "future", dates(f.future));
  write_array(json, "history", f.history);
  write_array(json, "values", f.values);
  write_array(json, "truth", f.truth);
  json.key("read_ms").value(read_ms).key("model_ms").value(model_ms).end_object();
  return json.text();
}

}  // namespace

const char* sequin_web_instruction_set(void) { return kInstructionSet; }

sequin_status sequin_web_forecast(const char* folder, const char* csv, int holdout,
                                  const char* output, char** json) {
  return guarded([&] {
    require(json, "sequin_web_forecast: json");
    *json = nullptr;
    require(folder, "sequin_web_forecast: folder");
    require(csv, "sequin_web_forecast: csv");
    require(output, "sequin_web_forecast: output");
    *json = ::strdup(forecast(folder, csv, holdout != 0, output).c_str());
    if (*json == nullptr) throw std::bad_alloc();
  });
}

sequin_status sequin_separator_load(const char* folder, sequin_separator** separator) {
  return guarded([&] {
    require(separator, "sequin_separator_load: separator");
    *separator = nullptr;
    require(folder, "sequin_separator_load: folder");
    const std::filesystem::path path = folder;
    sequin_cli::separator_config(Config::load(path / "config.json"));
    *separator = new sequin_separator{load_for_inference<MossFormer2<float>>(path)};
  });
}

sequin_status sequin_separator_get_sizes(const sequin_separator* separator, int* rate,
                                         int* speakers) {
  return guarded([&] {
    require(separator, "sequin_separator_get_sizes: separator");
    require(rate, "sequin_separator_get_sizes: rate");
    require(speakers, "sequin_separator_get_sizes: speakers");
    *rate = static_cast<int>(separator->model.config().sampling_rate);
    *speakers = static_cast<int>(separator->model.config().num_spks);
  });
}

sequin_status sequin_separator_run(const sequin_separator* separator, const char* input,
                                   const float* mixture, size_t count, float* sources,
                                   sequin_progress progress) {
  return guarded([&] {
    require(separator, "sequin_separator_run: separator");
    require(input, "sequin_separator_run: input");
    require(mixture, "sequin_separator_run: mixture");
    require(sources, "sequin_separator_run: sources");
    sequin_cli::check_length(separator->model.config(), count, input);
    const Tensor<float, 1> x({static_cast<index_t>(count)}, std::span(mixture, count));
    const auto speakers =
        sequin_cli::separate_signal(separator->model, x, {}, [&](index_t done, index_t all) {
          if (progress != nullptr) progress(static_cast<double>(done), static_cast<double>(all));
          return true;
        });
    for (const std::vector<float>& s : speakers) sources = std::copy(s.begin(), s.end(), sources);
  });
}

void sequin_separator_destroy(sequin_separator* separator) { delete separator; }
