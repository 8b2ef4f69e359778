#include "sequin/models/mamba.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/models/generate.hpp"
#include "sequin/ops/loss.hpp"
#include "support/catch.hpp"

#include <cmath>

using namespace sequin;

namespace {

MambaConfig small_config() {
  MambaConfig c;
  c.d_model = 20;
  c.n_layer = 2;
  c.vocab_size = 31;
  c.ssm_cfg.d_state = 5;
  return c;
}

template <class T>
Mamba<T> small_model(const MambaConfig& config = small_config()) {
  Mamba<T> model(config);
  Generator generator(3);
  model.initialize(generator);
  // Small models with the official 0.02 embedding have tiny logits; make them visible.
  auto list = parameters(model);
  for (T& v : list.items.front().values.span()) v *= T(40);
  return model;
}

Tensor<std::int64_t, 2> random_ids(index_t batch, index_t length, index_t vocabulary) {
  Generator generator(11);
  Tensor<std::int64_t, 2> ids({batch, length});
  for (auto& id : ids.span()) id = generator.below(static_cast<std::uint32_t>(vocabulary));
  return ids;
}

template <class T>
Tensor<std::int64_t, 2> columns(const Tensor<std::int64_t, 2>& ids, index_t begin, index_t end) {
  Tensor<std::int64_t, 2> out({ids.extent(0), end - begin});
  for (index_t b = 0; b < ids.extent(0); ++b)
    for (index_t t = begin; t < end; ++t) out(b, t - begin) = std::as_const(ids)(b, t);
  return out;
}

template <class A, class B>
bool identical(const A& a, const B& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

TEMPLATE_TEST_CASE("mamba: any chunking of a sequence gives the batch result bit by bit", "[mamba]",
                   float, double) {
  const auto model = small_model<TestType>();
  const auto ids = random_ids(3, 23, 31);
  const auto whole = model.forward(ids);
  // Pieces shorter than the convolution of 4 taps, of one step, and of none.
  const std::vector<std::vector<index_t>> cuts = {
      {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
      {2, 3, 0, 1, 7, 10},
      {22, 1},
      {5, 18}};
  for (const auto& cut : cuts) {
    auto state = model.initial_state(3);
    index_t at = 0;
    for (const index_t length : cut) {
      const auto piece = model.forward(columns<TestType>(ids, at, at + length), &state);
      for (index_t b = 0; b < 3; ++b)
        for (index_t t = 0; t < length; ++t)
          for (index_t v = 0; v < piece.extent(2); ++v)
            REQUIRE(piece(b, t, v) == whole(b, at + t, v));
      at += length;
    }
    REQUIRE(at == 23);
  }
}

TEMPLATE_TEST_CASE("mamba: prepared weights change nothing, changed weights are noticed", "[mamba]",
                   float, double) {
  auto model = small_model<TestType>();
  const auto ids = random_ids(2, 9, 31);
  const auto plain = model.forward(ids);
  prepare(model);
  REQUIRE(identical(plain.span(), model.forward(ids).span()));
  for (auto& p : parameters(model).items)
    for (TestType& v : p.values.span()) v *= TestType(1.01);
  const auto stale_or_not = model.forward(ids);
  prepare(model);
  REQUIRE(identical(stale_or_not.span(), model.forward(ids).span()));
  REQUIRE_FALSE(identical(stale_or_not.span(), plain.span()));
}

TEST_CASE("mamba: a row of a batch is what it is alone, bit by bit", "[mamba]") {
  const auto model = small_model<float>();
  const auto ids = random_ids(5, 13, 31);
  const auto together = model.forward(ids);
  for (index_t b = 0; b < 5; ++b) {
    Tensor<std::int64_t, 2> row({1, 13});
    for (index_t t = 0; t < 13; ++t) row(0, t) = std::as_const(ids)(b, t);
    const auto alone = model.forward(row);
    const auto part = together.span().subspan(static_cast<std::size_t>(b * 13 * 31), 13 * 31);
    REQUIRE(identical(alone.span(), part));
  }
}

TEST_CASE("mamba: left padding leaves no trace", "[mamba]") {
  const auto model = small_model<double>();
  const auto ids = random_ids(1, 7, 31);
  const auto alone = model.forward(ids);
  Tensor<std::int64_t, 2> padded({1, 10});
  Tensor<double, 2> mask({1, 10});
  for (index_t t = 0; t < 7; ++t) {
    padded(0, t + 3) = std::as_const(ids)(0, t);
    mask(0, t + 3) = 1;
  }
  const auto with_padding = model.forward(padded, nullptr, mask);
  for (index_t t = 0; t < 7; ++t)
    for (index_t v = 0; v < alone.extent(2); ++v)
      REQUIRE(with_padding(0, t + 3, v) == Approx(alone(0, t, v)).epsilon(1e-12));
  REQUIRE(with_padding(0, 0, 0) == 0);
}

TEST_CASE("mamba: the parameter count is known before a model is made", "[mamba]") {
  auto config = small_config();
  for (const index_t hidden : {0, 40, 130}) {
    config.d_intermediate = hidden;
    for (const bool tied : {true, false}) {
      config.tie_embeddings = tied;
      config.rms_norm = tied;
      config.ssm_cfg.bias = !tied;
      Mamba<float> model(config);
      REQUIRE(config.parameter_count() == static_cast<double>(parameters(model).count()));
    }
  }
}

TEST_CASE("mamba: wrong tokens, masks and states are named", "[mamba]") {
  const auto model = small_model<float>();
  REQUIRE_THROWS_WITH(model.forward(Tensor<std::int64_t, 2>({1, 2}, {3, 99})),
                      Catch::Contains("99"));
  REQUIRE_THROWS_AS(model.forward(Tensor<std::int64_t, 2>({1, 1}, {-1})), ShapeError);
  auto state = model.initial_state(2);
  REQUIRE_THROWS_AS(model.forward(random_ids(3, 4, 31), &state), ShapeError);
  REQUIRE_THROWS_AS(model.forward(random_ids(3, 4, 31), nullptr, Tensor<float, 2>({3, 5})),
                    ShapeError);
  auto other = small_config();
  other.n_layer = 1;
  REQUIRE_THROWS_WITH(state.assign(Mamba<float>(other).initial_state(2)),
                      Catch::Contains("the number of layers is 1, expected 2"));
}

TEST_CASE("mamba: no steps and no rows give empty outputs", "[mamba]") {
  const auto model = small_model<float>();
  REQUIRE(model.forward(Tensor<std::int64_t, 2>({2, 0})).size() == 0);
  REQUIRE(model.forward(Tensor<std::int64_t, 2>({0, 4})).size() == 0);
}

TEST_CASE("mamba: a copy of a state is independent", "[mamba]") {
  const auto model = small_model<float>();
  auto state = model.initial_state(1);
  model.forward(random_ids(1, 6, 31), &state);
  const auto copy = state;
  const auto a = model.forward(random_ids(1, 3, 31), &state);
  auto again = copy;
  REQUIRE(identical(a.span(), model.forward(random_ids(1, 3, 31), &again).span()));
}

TEST_CASE("mamba: the gradient through a carried state is that of the whole sequence", "[mamba]") {
  auto model = small_model<double>();
  set_requires_grad(model);
  const auto ids = random_ids(1, 8, 31);
  const Tensor<double, 3> target({1, 8, 31}, 0.1);
  auto list = parameters(model);
  Tensor<double, 1> whole;
  {
    Tape tape;
    whole = tape.gradients(mse_loss(model.forward(ids), target)).of(list.items[1].values);
  }
  Tape tape;
  auto state = model.initial_state(1);
  const auto first = model.forward(columns<double>(ids, 0, 3), &state);
  const auto second = model.forward(columns<double>(ids, 3, 8), &state);
  const auto cut =
      tape.gradients(mse_loss(concat(first, second, 1), target)).of(list.items[1].values);
  for (index_t i = 0; i < whole.size(); ++i)
    REQUIRE(cut.data()[i] == Approx(whole.data()[i]).margin(1e-13).epsilon(1e-9));
}

TEST_CASE("generate: greedy continues a prompt as repeated forward passes would", "[generate]") {
  const auto model = small_model<float>();
  const auto prompt = random_ids(2, 3, 31);
  GenerateOptions options;
  options.max_length = 12;
  int calls = 0;
  const auto out = generate(model, prompt, options, [&](auto tokens) {
    REQUIRE(tokens.size() == 2);
    ++calls;
    return true;
  });
  REQUIRE(calls == 9);
  REQUIRE(out.shape() == Shape<2>{2, 12});
  for (index_t t = 3; t < 12; ++t) {
    const auto logits = model.forward(columns<float>(out, 0, t));
    for (index_t b = 0; b < 2; ++b) {
      index_t best = 0;
      for (index_t v = 1; v < logits.extent(2); ++v)
        if (logits(b, t - 1, v) > logits(b, t - 1, best)) best = v;
      REQUIRE(out(b, t) == best);
    }
  }
}

TEST_CASE("generate: the same seed gives the same text, eos of all rows ends it", "[generate]") {
  const auto model = small_model<float>();
  const auto prompt = random_ids(1, 3, 31);
  GenerateOptions options;
  options.max_length = 40;
  options.sampling.top_k = 0;
  options.sampling.temperature = 20;
  options.sampling.seed = 5;
  const auto a = generate(model, prompt, options);
  REQUIRE(identical(a.span(), generate(model, prompt, options).span()));
  options.sampling.seed = 6;
  REQUIRE_FALSE(identical(a.span(), generate(model, prompt, options).span()));
  options.sampling.seed = 5;
  options.eos_token_id = a(0, 5);
  const auto ended = generate(model, prompt, options);
  REQUIRE(ended.extent(1) <= 6);
  REQUIRE(ended(0, ended.extent(1) - 1) == a(0, 5));
  options.max_length = 3;
  REQUIRE_THROWS_AS(generate(model, prompt, options), ConfigError);
}

TEST_CASE("generate: padded rows continue as they do alone", "[generate]") {
  const auto model = small_model<float>();
  const auto alone = random_ids(1, 3, 31), longer = random_ids(1, 7, 31);
  Tensor<std::int64_t, 2> prompt({2, 7});
  Tensor<float, 2> mask({2, 7}, 1.0f);
  std::copy_n(longer.data(), 7, prompt.data());
  for (index_t t = 0; t < 4; ++t) mask(1, t) = 0;
  std::copy_n(alone.data(), 3, prompt.data() + 11);
  GenerateOptions options;
  options.max_length = 15;
  options.sampling.repetition_penalty = 1.3;
  GenerateFrom<Mamba<float>> from;
  from.attention_mask = mask;
  const auto together = generate(model, prompt, options, {}, from);
  const auto first = generate(model, longer, options);
  options.max_length = 11;
  const auto second = generate(model, alone, options);
  for (index_t t = 7; t < 15; ++t) {
    REQUIRE(together(0, t) == first(0, t));
    REQUIRE(together(1, t) == second(0, t - 4));
  }
  from.attention_mask = Tensor<float, 2>({2, 6});
  REQUIRE_THROWS_AS(generate(model, prompt, options, {}, from), ShapeError);
}

TEST_CASE("generate: from a state it goes on as if it had not stopped", "[generate]") {
  const auto model = small_model<float>();
  const auto prompt = random_ids(1, 5, 31);
  GenerateOptions options;
  options.max_length = 20;
  const auto whole = generate(model, prompt, options);
  // The first ten tokens are read into a state, the next is the prompt of the second part.
  MambaState<float> state;
  GenerateFrom<Mamba<float>> from;
  from.last_state = &state;
  options.max_length = 10;
  generate(model, prompt, options, {}, from);
  from = {};
  from.state = &state;
  options.max_length = 10;
  const auto rest = generate(model, columns<float>(whole, 10, 11), options, {}, from);
  REQUIRE(identical(rest.span(), columns<float>(whole, 10, 20).span()));
  const MambaState<float> other = model.initial_state(2);
  from.state = &other;
  REQUIRE_THROWS_AS(generate(model, prompt, options, {}, from), ShapeError);
  from.state = &state;
  from.attention_mask = Tensor<float, 2>({1, 5});
  REQUIRE_THROWS_AS(generate(model, prompt, options, {}, from), ConfigError);
}

TEMPLATE_TEST_CASE("mamba: prepared for inference it gives the same bits and cannot be listed",
                   "[mamba]", float, double) {
  for (const bool tied : {true, false}) {
    auto config = small_config();
    config.tie_embeddings = tied;
    config.d_intermediate = 7;
    auto model = small_model<TestType>(config);
    auto light = small_model<TestType>(config);
    prepare_for_inference(light);
    const auto ids = random_ids(3, 9, 31);
    REQUIRE(identical(model.forward(ids).span(), light.forward(ids).span()));
    REQUIRE(identical(model.forward(columns<TestType>(ids, 0, 1)).span(),
                      light.forward(columns<TestType>(ids, 0, 1)).span()));
    prepare_for_inference(light);
    REQUIRE(identical(model.forward(ids).span(), light.forward(ids).span()));
    REQUIRE_THROWS_AS(parameters(light), ConfigError);
    REQUIRE(parameter_count(light) == parameters(model).count());
    prepare(light);
    REQUIRE(identical(model.forward(ids).span(), light.forward(ids).span()));
  }
}
