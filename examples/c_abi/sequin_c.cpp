// The library behind sequin_c.h: C++ inside, C at the border.
#define SEQUIN_C_BUILD
#include "sequin_c.h"
#include "guarded.hpp"

#include "sequin/io/csv.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/stream/session.hpp"
#include "sequin/train/scaler.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <variant>

using namespace sequin;
using sequin_c_abi::guarded;
using sequin_c_abi::require;

struct sequin_forecaster {
  std::variant<ITransformer<float>, Informer<float>> model;
  StandardScaler scaler;  ///< of no columns: the series is not scaled
  sequin_sizes sizes{};
};

struct sequin_stream {
  explicit sequin_stream(const std::filesystem::path& folder)
      : model(load_for_inference<Mamba<float>>(folder)), session(model) {}

  Mamba<float> model;
  Session<Mamba<float>> session;
};

namespace {

void require_count(const char* name, std::size_t found, std::size_t expected,
                   const std::string& what) {
  if (found != expected)
    throw ShapeError(std::string(name) + ": expected " + std::to_string(expected) + " (" + what +
                     "), found " + std::to_string(found));
}

std::size_t unsigned_size(index_t n) { return static_cast<std::size_t>(n); }

bool is_informer(const Config& config) {
  std::string name = config.get_string("model", "");
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (name.starts_with("informer")) return true;
  if (name.starts_with("itransformer")) return false;
  if (!name.empty())
    throw ConfigError(config.label() + ": model: expected itransformer or informer, found '" +
                      detail::printable(name) + "'");
  return config.has("attn") || config.has("mix");  // only Informer's official config has them
}

StandardScaler read_scaler(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return {};
  const CsvTable table = read_csv(file);
  if (table.rows() != 2)
    throw LoadError(file.string() + ": expected 2 rows (mean, std), found " +
                    std::to_string(table.rows()));
  const auto middle = table.values.begin() + static_cast<std::ptrdiff_t>(table.columns.size());
  return {{table.values.begin(), middle}, {middle, table.values.end()}};
}

std::unique_ptr<sequin_forecaster> load(const std::filesystem::path& folder) {
  const Config config = Config::load(folder / "config.json");
  StandardScaler scaler = read_scaler(folder / "scaler.csv");
  if (is_informer(config)) {
    auto model = load_for_inference<Informer<float>>(folder);
    const InformerConfig& c = model.config();
    if (!c.forecasts() || c.enc_in != c.dec_in || c.c_out > c.enc_in)
      throw ConfigError(config.label() + ": expected a forecaster with enc_in = dec_in >= c_out");
    if (!scaler.mean.empty() && scaler.mean.size() != unsigned_size(c.enc_in))
      throw LoadError((folder / "scaler.csv").string() + ": expected " + std::to_string(c.enc_in) +
                      " columns (enc_in), found " + std::to_string(scaler.mean.size()));
    const sequin_sizes sizes{unsigned_size(c.seq_len), unsigned_size(c.pred_len),
                             unsigned_size(c.enc_in), unsigned_size(c.c_out)};
    return std::unique_ptr<sequin_forecaster>(
        new sequin_forecaster{std::move(model), std::move(scaler), sizes});
  }
  auto model = load_for_inference<ITransformer<float>>(folder);
  const ITransformerConfig& c = model.config();
  if (c.task != ITransformerConfig::Task::forecast)
    throw ConfigError(config.label() + ": task_name: expected a forecast, found another task");
  const sequin_sizes sizes{unsigned_size(c.seq_len), unsigned_size(c.pred_len), scaler.mean.size(),
                           0};
  return std::unique_ptr<sequin_forecaster>(
      new sequin_forecaster{std::move(model), std::move(scaler), sizes});
}

/// x (1, steps, C), marks (1, steps + horizon, K) or undefined.
Tensor<float, 3> run(const ITransformer<float>& model, const Tensor<float, 3>& x,
                     const Tensor<float, 3>& marks) {
  return model.forward(x, marks.defined() ? slice(marks, 1, 0, x.extent(1)) : marks);
}

Tensor<float, 3> run(const Informer<float>& model, const Tensor<float, 3>& x,
                     const Tensor<float, 3>& marks) {
  const InformerConfig& c = model.config();
  const index_t steps = x.extent(1);
  const index_t label = (std::min)(c.label_len, steps);
  const Tensor<float, 3> x_dec = decoder_input(x, label, c.pred_len, c.padding);
  if (!marks.defined()) return model.forward(x, {}, x_dec);
  return model.forward(x, slice(marks, 1, 0, steps), x_dec,
                       slice(marks, 1, steps - label, steps + c.pred_len));
}

/// The values [rows, count / rows], which may be none, as a batch of one.
Tensor<float, 3> batch_of_one(const float* values, std::size_t count, std::size_t rows) {
  if (values == nullptr) return {};
  return {{1, static_cast<index_t>(rows), static_cast<index_t>(count / rows)}, {values, count}};
}

}  // namespace

const char* sequin_version(void) { return kVersion; }

const char* sequin_last_error(void) { return sequin_c_abi::last_error; }

sequin_status sequin_forecaster_load(const char* folder, sequin_forecaster** forecaster) {
  return guarded([&] {
    require(forecaster, "sequin_forecaster_load: forecaster");
    *forecaster = nullptr;
    require(folder, "sequin_forecaster_load: folder");
    *forecaster = load(folder).release();
  });
}

sequin_status sequin_forecaster_get_sizes(const sequin_forecaster* forecaster,
                                          sequin_sizes* sizes) {
  return guarded([&] {
    require(forecaster, "sequin_forecaster_get_sizes: forecaster");
    require(sizes, "sequin_forecaster_get_sizes: sizes");
    *sizes = forecaster->sizes;
  });
}

sequin_status sequin_forecaster_run(const sequin_forecaster* forecaster, const float* history,
                                    size_t history_count, size_t columns, const float* marks,
                                    size_t marks_count, float* forecast, size_t forecast_count) {
  return guarded([&] {
    require(forecaster, "sequin_forecaster_run: forecaster");
    require(history, "sequin_forecaster_run: history");
    require(forecast, "sequin_forecaster_run: forecast");
    const sequin_sizes& s = forecaster->sizes;
    const std::size_t least = s.inputs == 0 ? 1 : s.inputs;
    if (columns < least || (s.inputs != 0 && columns != s.inputs))
      require_count("sequin_forecaster_run: columns", columns, least, "those of the model");
    const std::size_t table = columns > SIZE_MAX / s.steps ? SIZE_MAX : s.steps * columns;
    require_count("sequin_forecaster_run: history_count", history_count, table,
                  std::to_string(s.steps) + " steps of " + std::to_string(columns) + " columns");
    const std::size_t outputs = s.outputs == 0 ? columns : s.outputs;
    require_count("sequin_forecaster_run: forecast_count", forecast_count, s.horizon * outputs,
                  std::to_string(s.horizon) + " steps of " + std::to_string(outputs) + " columns");
    const std::size_t moments = s.steps + s.horizon;
    if (marks != nullptr && (marks_count == 0 || marks_count % moments != 0))
      throw ShapeError("sequin_forecaster_run: marks_count: expected a multiple of " +
                       std::to_string(moments) + " (steps and horizon), found " +
                       std::to_string(marks_count));

    const StandardScaler& scaler = forecaster->scaler;
    Tensor<float, 3> x = batch_of_one(history, history_count, s.steps);
    if (!scaler.mean.empty())
      for (std::size_t i = 0; i < history_count; ++i)
        x.data()[i] =
            static_cast<float>(scaler.transform(static_cast<double>(history[i]), i % columns));
    const Tensor<float, 3> y = std::visit(
        [&](const auto& model) { return run(model, x, batch_of_one(marks, marks_count, moments)); },
        forecaster->model);
    for (std::size_t i = 0; i < forecast_count; ++i)
      forecast[i] = scaler.mean.empty()
                        ? y.data()[i]
                        : static_cast<float>(scaler.inverse(static_cast<double>(y.data()[i]),
                                                            columns - outputs + i % outputs));
  });
}

void sequin_forecaster_destroy(sequin_forecaster* forecaster) { delete forecaster; }

sequin_status sequin_stream_open(const char* folder, sequin_stream** stream) {
  return guarded([&] {
    require(stream, "sequin_stream_open: stream");
    *stream = nullptr;
    require(folder, "sequin_stream_open: folder");
    *stream = std::make_unique<sequin_stream>(folder).release();
  });
}

sequin_status sequin_stream_get_vocabulary(const sequin_stream* stream, size_t* count) {
  return guarded([&] {
    require(stream, "sequin_stream_get_vocabulary: stream");
    require(count, "sequin_stream_get_vocabulary: count");
    *count = unsigned_size(stream->model.config().vocab_size);
  });
}

sequin_status sequin_stream_step(sequin_stream* stream, int64_t token, float* logits,
                                 size_t count) {
  return guarded([&] {
    require(stream, "sequin_stream_step: stream");
    require(logits, "sequin_stream_step: logits");
    const std::size_t vocabulary = unsigned_size(stream->model.config().vocab_size);
    require_count("sequin_stream_step: count", count, vocabulary, "the vocabulary");
    const auto result = stream->session.step({&token, 1});
    if (result.empty())
      throw ShapeError("sequin_stream_step: token: expected 0 to " +
                       std::to_string(vocabulary - 1) + ", found " + std::to_string(token));
    std::copy(result.begin(), result.end(), logits);
  });
}

sequin_status sequin_stream_reset(sequin_stream* stream) {
  return guarded([&] {
    require(stream, "sequin_stream_reset: stream");
    stream->session.reset();
  });
}

void sequin_stream_destroy(sequin_stream* stream) { delete stream; }
