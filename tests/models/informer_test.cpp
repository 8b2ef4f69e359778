#include "sequin/models/informer.hpp"

#include "sequin/autograd/grad_check.hpp"
#include "sequin/autograd/tape.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/io/config.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/optimizer.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <filesystem>

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;
using Task = InformerConfig::Task;
using Form = InformerConfig::Form;

namespace {

InformerConfig small_config(Form form = Form::official, Task task = Task::long_term_forecast) {
  InformerConfig c;
  c.form = form;
  c.task = task;
  c.seq_len = 20;
  c.label_len = 8;
  c.pred_len = 5;
  c.enc_in = c.dec_in = c.c_out = 3;
  c.d_model = 8;
  c.n_heads = 2;
  c.d_ff = 9;
  c.factor = 1;
  c.dropout = 0;
  c.num_class = 4;
  if (form == Form::stack) c.s_layers = {2, 1};
  return c;
}

template <class T>
Informer<T> small_model(const InformerConfig& config) {
  Informer<T> model(config);
  Generator generator(3);
  model.initialize(generator);
  return model;
}

/// A batch of inputs; `decoder` steps of what the decoder gets.
template <class T>
struct Inputs {
  Tensor<T, 3> x = wavy<T, 3>({3, 20, 3}, 0.1), marks = wavy<T, 3>({3, 20, 4}, 0.2, 0.5);
  Tensor<T, 3> x_dec = decoder_input(x, 8, 5), marks_dec = wavy<T, 3>({3, 13, 4}, 0.3, 0.5);

  Tensor<T, 3> forecast(const Informer<T>& model, const ForwardContext<T>& context = {}) const {
    return model.forward(x, marks, x_dec, marks_dec, context);
  }
};

InformerConfig read(const std::string& text) {
  return InformerConfig::read(Config::parse(text, "config.json"));
}

}  // namespace

TEST_CASE("informer: without a sampler the same input gives the same forecast", "[informer]") {
  for (const Form form : {Form::official, Form::stack, Form::tslib}) {
    const auto model = small_model<float>(small_config(form));
    const Inputs<float> in;
    const auto y = in.forecast(model);
    REQUIRE(y.shape() == Shape<3>{3, 5, 3});
    REQUIRE(identical(in.forecast(model), y));
    ForwardContext<float> context;
    KeySampler sampler(9);
    context.key_sampler = &sampler;
    const auto z = in.forecast(model, context);
    REQUIRE(largest_difference(z, y) > 1e-4);
    KeySampler again(9);
    context.key_sampler = &again;
    REQUIRE(identical(in.forecast(model, context), z));
  }
}

TEST_CASE("informer: a window's forecast depends on no other window and on no thread",
          "[informer]") {
  const auto model = small_model<float>(small_config());
  const Inputs<float> in;
  const auto y = in.forecast(model);
  const auto last = [](const Tensor<float, 3>& t) { return slice(t, 0, 2, 3); };
  REQUIRE(identical(model.forward(last(in.x), last(in.marks), last(in.x_dec), last(in.marks_dec)),
                    last(y)));
  ThreadPool pool(3);
  const ExecutorScope scope(&pool);
  REQUIRE(identical(in.forecast(model), y));
}

TEST_CASE("informer: gradients of all float inputs equal finite differences", "[informer]") {
  const auto x = wavy<double, 3>({1, 8, 3}, 0.1);
  const auto marks = wavy<double, 3>({1, 8, 4}, 0.2);
  const auto x_dec = wavy<double, 3>({1, 4, 3}, 0.3);
  const auto marks_dec = wavy<double, 3>({1, 4, 4}, 0.4);
  for (const Form form : {Form::official, Form::stack, Form::tslib}) {
    auto config = small_config(form);
    config.pred_len = 2;
    const auto model = small_model<double>(config);
    const auto r = grad_check([&](const auto&... inputs) { return model.forward(inputs...); }, x,
                              marks, x_dec, marks_dec);
    INFO(r.where);
    REQUIRE(r.ok());
  }
  // Here mean and deviation of x are constants to the gradient, but not to finite differences.
  auto config = small_config(Form::tslib, Task::short_term_forecast);
  config.pred_len = 2;
  const auto model = small_model<double>(config);
  const auto r = grad_check([&](const auto&... inputs) { return model.forward(x, inputs...); },
                            marks, x_dec, marks_dec);
  INFO(r.where);
  REQUIRE(r.ok());
}

TEST_CASE("informer: gradients of the parameters equal finite differences", "[informer]") {
  auto config = small_config();
  config.d_model = 4;
  config.d_ff = 3;
  auto model = small_model<double>(config);
  const Inputs<double> in;
  const auto target = wavy<double, 3>({3, 5, 3}, 0.7);
  Generator generator;
  for (const bool training : {false, true}) {
    ForwardContext<double> context;
    if (training) context.dropout_generator = &generator;
    const auto loss = [&] { return mse_loss(in.forecast(model, context), target); };
    set_requires_grad(model);
    const auto list = parameters(model).items;
    const Gradients g = [&] {
      Tape tape;
      return tape.gradients(loss());
    }();
    set_requires_grad(model, false);
    for (const auto& p : list) {
      if (!p.trainable) continue;
      auto values = p.values;
      const auto gradient = g.of(values);
      for (index_t i = 0; i < values.size(); i += 7) {
        const double keep = std::as_const(values)(i);
        const auto at = [&](double v) {
          values(i) = v;
          return loss().item();
        };
        const double numeric = (at(keep + 1e-5) - at(keep - 1e-5)) / 2e-5;
        values(i) = keep;
        CAPTURE(training, p.name, i, numeric, gradient(i));
        REQUIRE(std::abs(numeric - gradient(i)) < 1e-6);
      }
    }
  }
}

TEST_CASE("informer: output_attention gives the encoders' maps, distilled ones shorter",
          "[informer]") {
  const Inputs<float> in;
  std::vector<Tensor<float, 4>> maps;
  ForwardContext<float> context;
  context.attention_maps = &maps;
  in.forecast(small_model<float>(small_config()), context);
  REQUIRE(maps.size() == 2);
  REQUIRE(maps[0].shape() == Shape<4>{3, 2, 20, 20});
  REQUIRE(maps[1].shape() == Shape<4>{3, 2, 10, 10});
  maps.clear();
  in.forecast(small_model<float>(small_config(Form::stack)), context);
  REQUIRE(maps.size() == 3);
  REQUIRE(maps[2].shape() == Shape<4>{3, 2, 10, 10});
  maps.clear();
  in.forecast(small_model<float>(small_config(Form::tslib)), context);
  REQUIRE(maps[1].shape() == Shape<4>{3, 2, 11, 11});
}

TEST_CASE("informer: short_term_forecast follows scale and offset of the series", "[informer]") {
  const auto model = small_model<double>(small_config(Form::tslib, Task::short_term_forecast));
  Inputs<double> in;
  in.x = scale(in.x, 100.0);
  const auto y = in.forecast(model);
  const auto far =
      model.forward(add_scalar(scale(in.x, 3.0), 7.0), in.marks, in.x_dec, in.marks_dec);
  // But for the 1e-5 under the root, beside a variance of 5000.
  REQUIRE(largest_difference(far, add_scalar(scale(y, 3.0), 7.0)) < 1e-5);
}

TEST_CASE("informer: tasks without a decoder", "[informer]") {
  const Inputs<float> in;
  const auto imputation = small_model<float>(small_config(Form::tslib, Task::imputation));
  REQUIRE(imputation.forward(in.x, in.marks).shape() == Shape<3>{3, 20, 3});
  REQUIRE(largest_difference(imputation.forward(in.x), imputation.forward(in.x, in.marks)) > 1e-3);
  const auto anomalies = small_model<float>(small_config(Form::tslib, Task::anomaly_detection));
  REQUIRE(identical(anomalies.forward(in.x), anomalies.forward(in.x, in.marks)));

  auto classifier = small_model<float>(small_config(Form::tslib, Task::classification));
  REQUIRE(classifier.classify(in.x, Tensor<float, 2>({3, 20}, 1.0f)).shape() == Shape<2>{3, 4});
  const auto nothing = classifier.classify(in.x, Tensor<float, 2>({3, 20}));
  for (index_t c = 0; c < 4; ++c) REQUIRE(nothing(0, c) == nothing(2, c));
  REQUIRE_THROWS_WITH(classifier.forward(in.x),
                      "Informer: this model classifies; call classify, not forward");
  REQUIRE_THROWS_AS(imputation.classify(in.x, Tensor<float, 2>({3, 20})), ConfigError);
  // The decoder's weights are there all the same, as in official checkpoints.
  bool found = false;
  for (const auto& p : parameters(classifier).items)
    found = found || p.name == "decoder.projection.weight";
  REQUIRE(found);
}

TEST_CASE("informer: parameter_count is at least what a model has, and near it", "[informer]") {
  for (const Form form : {Form::official, Form::stack, Form::tslib})
    for (const Task task : {Task::long_term_forecast, Task::imputation, Task::classification}) {
      if (form != Form::tslib && task != Task::long_term_forecast) continue;
      const auto config = small_config(form, task);
      auto model = small_model<float>(config);
      double elements = 0;
      for (const auto& p : parameters(model).items)
        elements += static_cast<double>(p.values.size());
      REQUIRE(config.parameter_count() >= elements);
      REQUIRE(config.parameter_count() < 1.01 * elements);
    }
}

TEST_CASE("informer: a short training lowers the loss and moves the running statistics",
          "[informer]") {
  auto config = small_config();
  config.dropout = 0.1;
  auto model = small_model<float>(config);
  const Inputs<float> in;
  const auto target = wavy<float, 3>({3, 5, 3}, 0.7);
  set_requires_grad(model);
  AdamOptions options;
  options.learning_rate = 1e-2;
  Adam<float> adam(parameters(model), options);
  Generator generator(4);
  std::vector<float> losses;
  for (int i = 0; i < 100; ++i) {
    ForwardContext<float> context;
    context.dropout_generator = &generator;
    KeySampler keys(&generator);
    context.key_sampler = &keys;
    Tape tape;
    const auto loss = mse_loss(in.forecast(model, context), target);
    losses.push_back(loss.item());
    adam.step(tape.gradients(loss));
  }
  REQUIRE(losses.back() < 0.5f * losses.front());
  for (const auto& p : parameters(model).items)
    if (p.whole) REQUIRE(std::as_const(p.values)(0) == 100);
}

TEST_CASE("informer: what was saved loads again, counters included", "[informer]") {
  auto model = small_model<float>(small_config(Form::stack));
  for (auto& p : parameters(model).items)
    if (p.whole) p.values(0) = 77;
  const auto file = std::filesystem::temp_directory_path() /
                    ("sequin_informer_" + std::to_string(reinterpret_cast<std::uintptr_t>(&model)));
  save_weights(model, file);
  Informer<float> other(small_config(Form::stack));
  load_weights(other, open_weights(file));
  std::filesystem::remove(file);
  const Inputs<float> in;
  REQUIRE(identical(in.forecast(other), in.forecast(model)));
  for (const auto& p : parameters(other).items)
    if (p.whole) REQUIRE(std::as_const(p.values)(0) == 77);
  const auto y = in.forecast(model);
  prepare_for_inference(other);
  REQUIRE(identical(in.forecast(other), y));
}

TEST_CASE("informer: wrong inputs are named", "[informer]") {
  const auto model = small_model<float>(small_config());
  const Inputs<float> in;
  REQUIRE_THROWS_WITH(model.forward(Tensor<float, 3>({3, 20, 2}), in.marks, in.x_dec, in.marks_dec),
                      "Informer: x_enc is [3, 20, 2], expected [B, T >= 1, C=3]");
  REQUIRE_THROWS_WITH(model.forward(in.x, in.marks, slice(in.x_dec, 1, 0, 4), in.marks_dec),
                      "Informer: x_dec is [3, 4, 3], expected [B=3, L >= 5, C] (L from pred_len)");
  REQUIRE_THROWS_AS(model.forward(in.x, in.marks_dec, in.x_dec, in.marks_dec), ShapeError);
  REQUIRE_THROWS_WITH(
      decoder_input(in.x, 21, 5),
      "decoder_input: x is [3, 20, 3], expected [B, S >= 21, C] (S from label_len)");
}

TEST_CASE("decoder_input: the last known steps, then zeros or ones", "[informer]") {
  const auto x = wavy<float, 3>({2, 6, 3}, 0.1);
  for (const bool padding : {false, true}) {
    const auto d = decoder_input(x, 4, 3, padding);
    REQUIRE(identical(slice(d, 1, 0, 4), slice(x, 1, 2, 6)));
    const auto horizon = slice(d, 1, 4, 7);
    for (const float v : horizon.span()) REQUIRE(v == (padding ? 1.0f : 0.0f));
  }
}

TEST_CASE("informer: the official config is read, what is wrong in it is named", "[informer]") {
  const auto c = read(R"({"model": "informerstack", "s_layers": "4, 2 ,1", "attn": "full",
                          "embed": "learned", "freq": "3h", "padding": 1, "mix": false})");
  REQUIRE(c.form == Form::stack);
  REQUIRE(c.s_layers == std::vector<index_t>{4, 2, 1});
  REQUIRE(c.attn == AttentionKind::full);
  REQUIRE(c.padding);
  REQUIRE(c.factor == 5);
  REQUIRE(read(R"({"model": "informer_tslib", "mix": false})").mix);
  REQUIRE(read(R"({"task_name": "imputation"})").task == Task::imputation);
  REQUIRE_THROWS_WITH(read(R"({"d_model": 7, "n_heads": 1})"),
                      "config.json: d_model: expected an even number, found 7");
  REQUIRE_THROWS_WITH(read(R"({"attn": "log"})"),
                      "config.json: attn: expected prob or full, found 'log'");
  REQUIRE_THROWS_WITH(read(R"({"freq": "q"})"),
                      "config.json: freq: expected h, t, s, m, a, w, d or b, found 'q'");
  for (const char* text : {"", "3,", "3,0", "3;2", "a"})
    REQUIRE_THROWS_AS(
        read(R"({"model": "informerstack", "s_layers": ")" + std::string(text) + "\"}"),
        ConfigError);
}
