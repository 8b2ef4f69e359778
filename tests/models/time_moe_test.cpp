#include "sequin/models/time_moe.hpp"
#include "sequin/autograd/tape.hpp"

#include "common/allocation_count.hpp"
#include "sequin/io/config.hpp"
#include "sequin/models/time_moe_generate.hpp"
#include "sequin/models/time_moe_loss.hpp"
#include "sequin/stream/session.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <limits>

namespace {

using namespace sequin;
using sequin_test::identical;
using sequin_test::largest_difference;
using sequin_test::wavy;

TimeMoeConfig small(bool dense = false) {
  TimeMoeConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 20;
  c.horizon_lengths = {1, 3, 8};
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.num_experts = 5;
  c.max_position_embeddings = 16;
  c.use_dense = dense;
  c.apply_aux_loss = !dense;
  c.initializer_range = 0.3;
  return c;
}

template <class T>
TimeMoe<T> drawn(const TimeMoeConfig& c) {
  TimeMoe<T> model(c);
  Generator generator(5);
  model.initialize(generator);
  prepare(model);
  return model;
}

/// 0 in front: 3 of the second row, all but one of the third.
Tensor<std::int64_t, 2> left_padding(index_t length) {
  Tensor<std::int64_t, 2> mask({3, length}, std::int64_t{1});
  for (index_t t = 0; t < (std::min)(length, index_t{3}); ++t) mask(1, t) = 0;
  for (index_t t = 0; t + 1 < length; ++t) mask(2, t) = 0;
  return mask;
}

/// The largest difference of hidden states at real steps.
double difference(const Tensor<double, 3>& a, const Tensor<double, 3>& b, index_t from,
                  const Tensor<std::int64_t, 2>& mask) {
  double worst = 0;
  for (index_t r = 0; r < b.extent(0); ++r)
    for (index_t t = 0; t < b.extent(1); ++t)
      for (index_t d = 0; d < b.extent(2); ++d)
        if (!mask.defined() || mask(r, from + t) != 0)
          worst = (std::max)(worst, std::abs(a(r, from + t, d) - b(r, t, d)));
  return worst;
}

std::string message_of(const std::string& json) {
  try {
    TimeMoeConfig::read(Config::parse(json, "f"));
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "nothing thrown";
}

}  // namespace

TEST_CASE("TimeMoe: any cutting into chunks gives the whole, padded on the left or not") {
  const index_t length = 21;
  const auto model = drawn<double>(small());
  const auto x = wavy<double, 3>({3, length, 1}, 0.3);
  for (const bool padded : {false, true}) {
    TimeMoeCall<double> call;
    if (padded) call.attention_mask = left_padding(length);
    const auto whole = model.hidden_states(x, call);
    auto state = model.initial_state(3, 2);
    for (index_t first = 1; first <= length; ++first)
      for (const index_t piece : {1, 4}) {
        state.reset();
        for (index_t t = 0; t < length;) {
          const index_t end = t == 0 ? first : (std::min)(t + piece, length);
          TimeMoeCall<double> now;
          now.state = &state;
          if (padded) now.attention_mask = slice(call.attention_mask, 1, t, end);
          const auto part = model.hidden_states(slice(x, 1, t, end), now);
          REQUIRE(difference(whole, part, t, call.attention_mask) < 1e-13);
          t = end;
        }
        REQUIRE(state.length() == length);
      }
  }
}

TEST_CASE("TimeMoe: a series alone is the series in a batch, padded or not") {
  const auto model = drawn<double>(small());
  const auto x = wavy<double, 3>({3, 9, 1}, 0.3);
  TimeMoeCall<double> call;
  call.attention_mask = left_padding(9);
  call.position_ids = detail::positions_of(call.attention_mask, 0, 9);
  const auto together = model.hidden_states(x, call);
  const auto alone = model.hidden_states(slice(slice(x, 0, 1, 2), 1, 3, 9));
  double worst = 0;
  for (index_t t = 0; t < 6; ++t)
    for (index_t d = 0; d < 16; ++d)
      worst = (std::max)(worst, std::abs(together(1, t + 3, d) - alone(0, t, d)));
  CHECK(worst < 1e-13);
}

TEST_CASE("TimeMoe: generation with the cache is that without, for every prefix and horizon") {
  for (const bool dense : {false, true}) {
    const auto model = drawn<double>(small(dense));
    for (const index_t length : {1, 2, 7, 19})
      for (const index_t steps : {1, 2, 9, 23})
        for (const bool padded : {false, true}) {
          const auto series = wavy<double, 2>({3, length}, 0.8);
          Tensor<std::int64_t, 2> mask;
          if (padded) mask = left_padding(length);
          const auto cached = generate(model, series, steps, mask);
          REQUIRE(cached.shape() == Shape<2>{3, length + steps});
          CHECK(largest_difference(cached, generate(model, series, steps, mask, false)) < 1e-11);
          CHECK(identical(slice(cached, 1, 0, length), series));
        }
  }
}

TEST_CASE("TimeMoe: the longest head that fits answers, the first one cut where none does") {
  TimeMoeConfig c = small(true);
  c.horizon_lengths = {4, 8, 32};
  const auto model = drawn<float>(c);
  const index_t expected[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1};
  for (index_t h = 0; h < 10; ++h)
    CHECK(model.head_for(h) == static_cast<std::size_t>(expected[h]));
  CHECK(model.head_for(31) == 1);
  CHECK(model.head_for(1000) == 2);
  const auto x = wavy<float, 3>({1, 5, 1}, 0.3);
  CHECK(model.forward(x).extent(2) == 4);
  CHECK(model.forward(x, 3).extent(2) == 3);
  CHECK(model.forward(x, 9).extent(2) == 8);
}

TEST_CASE("TimeMoe: heads that do not ascend are tried in their order, the first without a test") {
  TimeMoeConfig c = small(true);
  c.horizon_lengths = {8, 1, 32, 2};
  const auto model = drawn<float>(c);
  CHECK(model.head_for(0) == 0);
  for (const index_t h : {1, 3, 8, 31}) CHECK(model.head_for(h) == 1);
  CHECK(model.head_for(32) == 3);
}

TEST_CASE("TimeMoe: a Session gives what forward gives, again after a reset, without allocating") {
  for (const bool dense : {false, true}) {
    const auto model = drawn<float>(small(dense));
    const index_t length = 40;  // longer than the 16 positions for which there is memory at first
    const auto x = wavy<float, 3>({2, length, 1}, 0.3);
    const auto hidden = model.hidden_states(x);
    Session session(model, 2);
    for (int round = 0; round < 2; ++round) {
      std::size_t allocations = 0;
      for (index_t t = 0; t < length; ++t) {
        const float values[] = {x(0, t, 0), x(1, t, 0)};
        const std::size_t before = sequin_examples::allocation_count();
        const std::span<const float> said = session.step(values);
        const std::size_t here = sequin_examples::allocation_count() - before;
        if (t < 16 || round == 1) allocations += here;
        REQUIRE(said.size() == 2 * 12);
        index_t at = 0;
        for (std::size_t j = 0; j < 3; ++j) {
          const auto expected = model.head(j, hidden);
          for (index_t b = 0; b < 2; ++b)
            for (index_t s = 0; s < expected.extent(2); ++s)
              REQUIRE(said[static_cast<std::size_t>(b * 12 + at + s)] ==
                      Approx(expected(b, t, s)).margin(2e-5));
          at += expected.extent(2);
        }
      }
      CHECK(allocations == 0);
      session.reset();
    }
    const float bad[] = {1, std::numeric_limits<float>::infinity()};
    CHECK(session.step(bad).empty());
  }
}

TEST_CASE("TimeMoe: a copied or assigned state goes its own way") {
  const auto model = drawn<double>(small());
  const auto x = wavy<double, 3>({3, 12, 1}, 0.3);
  TimeMoeCall<double> call;
  auto state = model.initial_state(3, 4);
  call.state = &state;
  call.attention_mask = left_padding(6);
  model.hidden_states(slice(x, 1, 0, 6), call);
  call.attention_mask = {};
  auto copy = state;
  auto assigned = model.initial_state(3, 1);
  assigned.assign(state);
  const auto once = model.hidden_states(slice(x, 1, 6, 12), call);
  for (auto* other : {&copy, &assigned}) {
    REQUIRE(other->length() == 6);
    call.state = other;
    CHECK(identical(model.hidden_states(slice(x, 1, 6, 12), call), once));
  }
  auto wrong = model.initial_state(2, 4);
  CHECK_THROWS_AS(wrong.assign(state), ShapeError);
}

TEST_CASE("TimeMoe: the loss's gradients are those of finite differences") {
  for (const bool dense : {false, true})
    for (const bool masked : {false, true}) {
      TimeMoeConfig c = small(dense);
      c.input_size = 2;
      c.horizon_lengths = {2, 5};
      auto model = drawn<double>(c);
      const auto x = wavy<double, 3>({3, 7, 2}, 0.3);
      const auto labels = wavy<double, 3>({3, 7, 2}, 1.3, 3);
      // The forward pass sees no mask: of blocked rows differences would see no score (torch does).
      Tensor<double, 3> weights;
      Tensor<std::int64_t, 2> mask;
      if (masked) {
        mask = left_padding(7);
        weights = mask.cast<double>().reshaped<3>({3, 7, 1});
      }
      const auto loss = [&] {
        std::vector<Routing<double>> routings;
        TimeMoeCall<double> with;
        with.routings = &routings;
        const auto hidden = model.hidden_states(x, with);
        const auto balanced = [&](ExpertBalance balance) {
          return time_moe_loss(model, hidden, routings, labels, weights, mask, balance).loss;
        };
        return add(balanced(ExpertBalance::together), balanced(ExpertBalance::each_layer));
      };
      set_requires_grad(model);
      std::optional<Gradients> g;
      {
        Tape tape;
        g = tape.gradients(loss());
      }
      for (auto& p : parameters(model).items) {
        const Tensor<double, 1> gradient = g->of(p.values);
        // Some entries of each tensor; the step stays within the tokens' choice of experts.
        for (index_t i = 0; i < p.values.size(); i += 1 + p.values.size() / 3) {
          const double keep = std::as_const(p.values)(i);
          const double step = 1e-6;
          p.values(i) = keep + step;
          const double up = loss().item();
          p.values(i) = keep - step;
          const double down = loss().item();
          p.values(i) = keep;
          INFO(p.name << " " << i);
          CHECK(gradient(i) == Approx((up - down) / (2 * step)).margin(1e-7).epsilon(1e-5));
        }
      }
    }
}

TEST_CASE("TimeMoe: layers that share the experts out are balanced together, not each by itself") {
  TimeMoeConfig c = small();
  c.router_aux_loss_factor = 0.5;
  const auto model = drawn<double>(c);
  const auto x = wavy<double, 3>({1, 6, 1}, 0.3);
  std::vector<Routing<double>> routings(2);
  for (index_t layer = 0; layer < 2; ++layer) {
    Tensor<double, 2> logits({6, 5});
    for (index_t t = 0; t < 6; ++t)  // experts 0 and 1, or 2 and 3, and no others
      logits(t, 2 * layer) = logits(t, 2 * layer + 1) = 50;
    routings[static_cast<std::size_t>(layer)].router_logits = logits;
  }
  const auto loss = [&](ExpertBalance balance) {
    return time_moe_loss(model, model.hidden_states(x), routings, x, {}, {}, balance);
  };
  const auto together = loss(ExpertBalance::together);
  const auto each = loss(ExpertBalance::each_layer);
  CHECK(together.aux_loss.item() == Approx(2.5));  // 2 is balance, 2.5 four of five experts
  CHECK(each.aux_loss.item() == Approx(5));
  CHECK(each.error.item() == together.error.item());
  CHECK(each.loss.item() == Approx(each.error.item() + 2.5));
}

TEST_CASE("TimeMoe: masks that hide everything give finite numbers") {
  const auto model = drawn<float>(small());
  const auto x = wavy<float, 3>({2, 5, 1}, 0.3);
  TimeMoeCall<float> call;
  std::vector<Routing<float>> routings;
  call.routings = &routings;
  call.attention_mask = Tensor<std::int64_t, 2>({2, 5});
  const auto hidden = model.hidden_states(x, call);
  for (const float v : hidden.span()) CHECK(std::isfinite(v));
  const auto loss =
      time_moe_loss(model, hidden, routings, x, Tensor<float, 3>({2, 5, 1}), call.attention_mask);
  CHECK(loss.loss.item() == 0);
  const auto generated = generate(model, wavy<float, 2>({2, 5}, 0.1), 9, call.attention_mask);
  for (const float v : generated.span()) CHECK(std::isfinite(v));
}

TEST_CASE("TimeMoeConfig: the count of parameters is that of the tensors, keys are checked") {
  for (const bool dense : {false, true}) {
    TimeMoeConfig c = small(dense);
    c.input_size = 3;
    TimeMoe<float> model(c);
    CHECK(static_cast<double>(parameters(model).count()) == c.parameter_count());
  }
  const auto c = TimeMoeConfig::read(Config::parse(
      R"({"hidden_size": 8, "num_attention_heads": 2, "horizon_lengths": 5, "num_experts": 2})",
      "f"));
  CHECK(c.horizon_lengths == std::vector<index_t>{5});
  CHECK(c.num_key_value_heads == 2);
  CHECK(c.intermediate_size == 22016);
  CHECK(message_of(R"({"use_dense": true})") ==
        "f: expected one of use_dense and apply_aux_loss to be true, found both");
  CHECK(message_of(R"({"horizon_lengths": []})") ==
        "f: horizon_lengths: expected at least one, found none");
  CHECK(message_of(R"({"hidden_size": 9, "num_attention_heads": 3})") ==
        "f: hidden_size: expected an even number of elements for each of num_attention_heads = 3, "
        "found 9");
  CHECK(message_of(R"({"num_attention_heads": 4, "num_key_value_heads": 3})") ==
        "f: num_key_value_heads: expected a divisor of num_attention_heads = 4, found 3");
  CHECK(message_of(R"({"num_experts_per_tok": 3, "num_experts": 2})") ==
        "f: num_experts_per_tok: expected at most num_experts = 2 and intermediate_size = 22016, "
        "found 3");
  CHECK(message_of(R"({"hidden_act": "maxout"})") ==
        "f: hidden_act: expected silu, gelu, gelu_new, relu, sigmoid, tanh or linear, found "
        "'maxout'");
}

TEST_CASE("TimeMoe: what does not fit is named") {
  const auto model = drawn<float>(small());
  CHECK_THROWS_WITH(model.hidden_states(Tensor<float, 3>({1, 2, 3})),
                    "TimeMoe: the values are [1, 2, 3], expected [B, L, C=1] (C from input_size)");
  TimeMoeCall<float> call;
  call.attention_mask = Tensor<std::int64_t, 2>({1, 3});
  CHECK_THROWS_WITH(model.hidden_states(Tensor<float, 3>({1, 2, 1}), call),
                    "TimeMoe: attention_mask is [1, 3], expected [1, 2] ([B, L] from the values "
                    "[1, 2, 1])");
  CHECK_THROWS_WITH(generate(model, Tensor<float, 2>({1, 2}), 0),
                    "generate: steps is 0, expected >= 1");
  CHECK_THROWS_WITH(generate(model, Tensor<float, 2>({1, 0}), 1),
                    "generate: series is [1, 0], expected [B >= 1, T >= 1]");
  auto trained = drawn<float>(small());
  set_requires_grad(trained);
  auto state = trained.initial_state(1);
  TimeMoeCall<float> cached;
  cached.state = &state;
  const Tape tape;
  CHECK_THROWS_AS(trained.hidden_states(Tensor<float, 3>({1, 2, 1}), cached), ConfigError);
}
