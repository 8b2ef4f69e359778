// The shared library of examples/c_abi, called as a C program calls it, and its C program.
#include "sequin_c.h"
#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/stream/session.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

using namespace sequin;
using sequin_test::contents;
using sequin_test::identical;
using sequin_test::put;
using sequin_test::TemporaryFolder;
using sequin_test::wavy;

namespace {

/// A drawn model, and its config and weights in a folder.
template <class Model>
struct Saved {
  explicit Saved(const char* config)
      : model(Model::Config::read(Config::load(put(folder / "config.json", config)))) {
    Generator generator(3);
    model.initialize(generator);
    save_weights(model, folder / "weights.safetensors");
    prepare(model);
  }
  std::string path() const { return folder.path().string(); }

  TemporaryFolder folder;
  Model model;
};

Saved<ITransformer<float>> saved_itransformer() {
  return Saved<ITransformer<float>>(
      R"({"model": "itransformer", "seq_len": 12, "pred_len": 5, "d_model": 16, "n_heads": 2,
          "e_layers": 2, "d_ff": 24})");
}

struct Forecaster {
  explicit Forecaster(const std::string& folder) {
    REQUIRE(sequin_forecaster_load(folder.c_str(), &handle) == SEQUIN_OK);
  }
  Forecaster(const Forecaster&) = delete;
  Forecaster& operator=(const Forecaster&) = delete;
  ~Forecaster() { sequin_forecaster_destroy(handle); }

  /// Marks that are undefined are NULL.
  sequin_status run(const Tensor<float, 3>& x, const Tensor<float, 3>& marks,
                    Tensor<float, 3>& y) const {
    return sequin_forecaster_run(handle, x.data(), x.span().size(),
                                 static_cast<std::size_t>(x.cols()), marks.data(),
                                 marks.span().size(), y.data(), y.span().size());
  }
  sequin_forecaster* handle = nullptr;
};

bool error_has(const char* text) {
  UNSCOPED_INFO(sequin_last_error());
  return std::string(sequin_last_error()).find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("c_abi: the C program prints the forecast of the C++ model") {
  const auto saved = saved_itransformer();
  const auto x = wavy<float, 3>({1, 12, 3}, 0.2, 2.0, 5.0);
  std::string numbers;
  char text[32];
  for (const float value : x.span()) {
    std::snprintf(text, sizeof text, "%.9g ", static_cast<double>(value));
    numbers += text;
  }
  const auto input = put(saved.folder / "history.txt", numbers);
  const auto output = saved.folder / "forecast.txt";
  const std::string command = std::string(SEQUIN_C_PROGRAM) + " " + saved.path() + " < " +
                              input.string() + " > " + output.string();
  REQUIRE(std::system(command.c_str()) == 0);

  std::string expected;
  const auto y = saved.model.forward(x);
  for (index_t i = 0; const float value : y.span()) {
    std::snprintf(text, sizeof text, "%.9g%c", static_cast<double>(value),
                  ++i % 3 == 0 ? '\n' : ' ');
    expected += text;
  }
  CHECK(contents(output) == expected);
}

TEST_CASE("c_abi: the code of docs/c_abi.md forecasts") {
  const auto saved = saved_itransformer();
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(saved.folder.path());
  std::filesystem::create_directory_symlink(".", "model");
  const auto x = wavy<float, 3>({1, 12, 3}, 0.2);
  const float* const history = x.data();
  const std::size_t columns = 3;
  Tensor<float, 3> y({1, 5, 3});
  float* const forecast = y.data();
#include "from_docs/c_abi/forecast.inc"
  std::filesystem::current_path(before);
  CHECK(identical(y, saved.model.forward(x)));
}

TEST_CASE("c_abi: an iTransformer tells its sizes and takes any columns and marks") {
  const auto saved = saved_itransformer();
  const Forecaster forecaster(saved.path());
  sequin_sizes sizes{};
  REQUIRE(sequin_forecaster_get_sizes(forecaster.handle, &sizes) == SEQUIN_OK);
  CHECK(sizes.steps == 12);
  CHECK(sizes.horizon == 5);
  CHECK(sizes.inputs == 0);
  CHECK(sizes.outputs == 0);
  const auto x = wavy<float, 3>({1, 12, 4}, 0.2);
  const auto marks = wavy<float, 3>({1, 17, 2}, 0.5);
  Tensor<float, 3> y({1, 5, 4});
  REQUIRE(forecaster.run(x, marks, y) == SEQUIN_OK);
  CHECK(identical(y, saved.model.forward(x, slice(marks, 1, 0, 12))));
}

TEST_CASE("c_abi: an Informer decodes from its last steps, with and without marks") {
  const Saved<Informer<float>> saved(
      R"({"model": "informer", "seq_len": 12, "label_len": 4, "pred_len": 5, "enc_in": 3,
          "dec_in": 3, "c_out": 2, "d_model": 16, "n_heads": 2, "e_layers": 2, "d_ff": 16,
          "freq": "h", "embed": "timeF"})");
  const Forecaster forecaster(saved.path());
  sequin_sizes sizes{};
  REQUIRE(sequin_forecaster_get_sizes(forecaster.handle, &sizes) == SEQUIN_OK);
  CHECK(sizes.inputs == 3);
  CHECK(sizes.outputs == 2);
  const auto x = wavy<float, 3>({1, 12, 3}, 0.2);
  const auto marks = wavy<float, 3>({1, 17, 4}, 0.5, 0.4);
  const auto x_dec = decoder_input(x, 4, 5);
  Tensor<float, 3> y({1, 5, 2});
  REQUIRE(forecaster.run(x, marks, y) == SEQUIN_OK);
  CHECK(
      identical(y, saved.model.forward(x, slice(marks, 1, 0, 12), x_dec, slice(marks, 1, 8, 17))));
  REQUIRE(forecaster.run(x, {}, y) == SEQUIN_OK);
  CHECK(identical(y, saved.model.forward(x, {}, x_dec)));

  put(saved.folder / "scaler.csv", "a,b\n0,0\n1,1\n");
  sequin_forecaster* other = nullptr;
  CHECK(sequin_forecaster_load(saved.path().c_str(), &other) == SEQUIN_BAD_FILE);
  CHECK(error_has("scaler.csv: expected 3 columns (enc_in), found 2"));
}

TEST_CASE("c_abi: with scaler.csv the series is in its own unit") {
  const auto saved = saved_itransformer();
  put(saved.folder / "scaler.csv", "a,b\n10,-4\n2,8\n");
  const Forecaster forecaster(saved.path());
  auto x = wavy<float, 3>({1, 12, 2}, 0.2);
  Tensor<float, 3> expected = saved.model.forward(x), y({1, 5, 2});
  const auto unscale = [](Tensor<float, 3>& t) {  // exact: the factors are powers of two
    for (index_t i = 0; i < t.size(); ++i)
      t.data()[i] = i % 2 == 0 ? 2 * t.data()[i] + 10 : 8 * t.data()[i] - 4;
  };
  unscale(x);
  unscale(expected);
  REQUIRE(forecaster.run(x, {}, y) == SEQUIN_OK);
  // The history is rounded to float after it moved by 10, which is 2^-20 of it.
  CHECK(sequin_test::largest_difference(y, expected) < 1e-4);
  Tensor<float, 3> wide({1, 5, 3});
  CHECK(forecaster.run(wavy<float, 3>({1, 12, 3}, 0.2), {}, wide) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("columns: expected 2 (those of the model), found 3"));
}

TEST_CASE("c_abi: a Mamba gives the logits of a session, again after a reset") {
  const Saved<Mamba<float>> saved(R"({"d_model": 16, "n_layer": 2, "vocab_size": 24})");
  sequin_stream* stream = nullptr;
  REQUIRE(sequin_stream_open(saved.path().c_str(), &stream) == SEQUIN_OK);
  std::size_t vocabulary = 0;
  REQUIRE(sequin_stream_get_vocabulary(stream, &vocabulary) == SEQUIN_OK);
  REQUIRE(vocabulary == 24);
  std::vector<float> logits(vocabulary);
  for (int round = 0; round < 2; ++round) {
    Session session(saved.model);
    for (const std::int64_t token : {5, 0, 23, 7}) {
      REQUIRE(sequin_stream_step(stream, token, logits.data(), vocabulary) == SEQUIN_OK);
      CHECK(std::ranges::equal(logits, session.step({&token, 1})));
    }
    REQUIRE(sequin_stream_reset(stream) == SEQUIN_OK);
  }
  CHECK(sequin_stream_step(stream, 24, logits.data(), vocabulary) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("sequin_stream_step: token: expected 0 to 23, found 24"));
  CHECK(sequin_stream_step(stream, 1, logits.data(), 23) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("count: expected 24 (the vocabulary), found 23"));
  sequin_stream_destroy(stream);
}

TEST_CASE("c_abi: null pointers and wrong lengths are bad arguments, and nothing is written") {
  const auto saved = saved_itransformer();
  const Forecaster forecaster(saved.path());
  sequin_sizes sizes{};
  CHECK(sequin_forecaster_load(saved.path().c_str(), nullptr) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("sequin_forecaster_load: forecaster: expected a pointer, found NULL"));
  sequin_forecaster* none = forecaster.handle;
  CHECK(sequin_forecaster_load(nullptr, &none) == SEQUIN_BAD_ARGUMENT);
  CHECK(none == nullptr);
  CHECK(sequin_forecaster_get_sizes(nullptr, &sizes) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("sequin_forecaster_get_sizes: forecaster: expected a pointer, found NULL"));
  CHECK(sequin_stream_step(nullptr, 0, nullptr, 0) == SEQUIN_BAD_ARGUMENT);
  CHECK(sequin_stream_reset(nullptr) == SEQUIN_BAD_ARGUMENT);
  sequin_forecaster_destroy(nullptr);
  sequin_stream_destroy(nullptr);

  const auto x = wavy<float, 3>({1, 12, 3}, 0.2);
  Tensor<float, 3> y({1, 5, 3}, 77.0f), small({1, 4, 3}, 77.0f);
  CHECK(forecaster.run(wavy<float, 3>({1, 11, 3}, 0.2), {}, y) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("history_count: expected 36 (12 steps of 3 columns), found 33"));
  // 12 times these columns is 36 but for the carry.
  CHECK(sequin_forecaster_run(forecaster.handle, x.data(), 36, SIZE_MAX / 4 + 4, nullptr, 0,
                              y.data(), 15) == SEQUIN_BAD_ARGUMENT);
  CHECK(forecaster.run(x, {}, small) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("forecast_count: expected 15 (5 steps of 3 columns), found 12"));
  CHECK(forecaster.run(x, wavy<float, 3>({1, 16, 2}, 0.1), y) == SEQUIN_BAD_ARGUMENT);
  CHECK(error_has("marks_count: expected a multiple of 17 (steps and horizon), found 32"));
  CHECK(identical(y, Tensor<float, 3>({1, 5, 3}, 77.0f)));
  REQUIRE(forecaster.run(x, {}, y) == SEQUIN_OK);
  CHECK(std::string(sequin_last_error()).empty());
}

TEST_CASE("c_abi: a bad folder gives a status, no handle and the reason") {
  const auto saved = saved_itransformer();
  sequin_forecaster* forecaster = nullptr;
  const std::string gone = saved.path() + "/gone";
  CHECK(sequin_forecaster_load(gone.c_str(), &forecaster) == SEQUIN_BAD_FILE);
  CHECK(error_has("gone/config.json"));
  put(saved.folder / "config.json", R"({"model": "mamba", "seq_len": 12})");
  CHECK(sequin_forecaster_load(saved.path().c_str(), &forecaster) == SEQUIN_BAD_CONFIG);
  CHECK(error_has("model: expected itransformer or informer, found 'mamba'"));
  put(saved.folder / "config.json", R"({"model": "itransformer", "seq_len": 12, "pred_len": 9,
                                        "d_model": 16, "n_heads": 2, "d_ff": 24})");
  CHECK(sequin_forecaster_load(saved.path().c_str(), &forecaster) == SEQUIN_BAD_FILE);
  CHECK(error_has("'projector.weight' expected [9, 16], found [5, 16]"));
  CHECK(forecaster == nullptr);
  sequin_stream* stream = nullptr;
  CHECK(sequin_stream_open(gone.c_str(), &stream) == SEQUIN_BAD_FILE);
  CHECK(stream == nullptr);
}

TEST_CASE("c_abi: each thread has its own last error") {
  CHECK(sequin_forecaster_get_sizes(nullptr, nullptr) == SEQUIN_BAD_ARGUMENT);
  std::string before, after;
  std::thread([&] {
    before = sequin_last_error();
    sequin_stream_reset(nullptr);
    after = sequin_last_error();
  }).join();
  CHECK(before.empty());
  CHECK(after == "sequin_stream_reset: stream: expected a pointer, found NULL");
  CHECK(error_has("sequin_forecaster_get_sizes"));
}

TEST_CASE("c_abi: the version is that of the headers") {
  CHECK(std::string(sequin_version()) == kVersion);
}
