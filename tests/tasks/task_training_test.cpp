#include "tasks/accuracy.hpp"
#include "tasks/attention_model.hpp"
#include "tasks/induction_heads.hpp"
#include "tasks/selective_copying.hpp"

#include "sequin/models/mamba.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/train.hpp"

#include "support/catch.hpp"

#include <span>
#include <string>

using namespace sequin;
using namespace sequin_tasks;

namespace {

MambaConfig small(index_t width, index_t vocabulary) {
  MambaConfig c;
  c.d_model = width;
  c.n_layer = 2;
  c.vocab_size = vocabulary;
  c.ssm_cfg.d_state = 8;
  return c;
}

template <class Model>
Model drawn(Model model, std::uint64_t seed) {
  Generator generator(seed);
  model.initialize(generator);
  return model;
}

template <class Model, class Task>
Score whole(const Model& model, const Task& task, index_t batch, Generator& generator) {
  const NoGrad no_grad;
  AnswerBatch b;
  task.draw(generator, batch, b);
  return count_right(answer_logits(model.forward(b.ids), task.answers()),
                     std::span<const std::int64_t>(b.answers));
}

// The score before and after `steps` steps.
template <class Model, class Task>
std::pair<double, double> learn(Model model, const Task& task, index_t steps, double rate) {
  Generator before(9), after(9);
  std::pair<double, double> scores{whole(model, task, 128, before).accuracy(), 0};
  TrainOptions options;
  options.epochs = 1;
  options.steps_per_epoch = steps;
  options.batch_size = 16;
  options.schedule = Schedule::warmup_cosine(rate, 10, steps);
  options.optimizer.decoupled = true;
  options.clip_norm = 1;
  const auto loss = [&](const AnswerBatch& b) {
    return cross_entropy(answer_logits(model.forward(b.ids), task.answers()),
                         std::span<const std::int64_t>(b.answers));
  };
  train(model, task, loss, validate_on(task, 16, 1, 4, loss), options);
  scores.second = whole(model, task, 128, after).accuracy();
  return scores;
}

// Chunks that divide the length, that do not, of one token, and larger than all.
template <class Model, class Task>
void check_streaming(const Model& model, const Task& task) {
  Generator at_once(21);
  const Score expected = whole(model, task, 64, at_once);
  for (const index_t chunk : {index_t{1}, index_t{7}, index_t{12}, index_t{100}}) {
    Generator streamed(21);
    const Score score = evaluate_streamed(model, task, 64, chunk, streamed);
    CAPTURE(chunk);
    REQUIRE(score.right == expected.right);
    REQUIRE(score.asked == expected.asked);
    REQUIRE(streamed.state() == at_once.state());
  }
}

}  // namespace

TEST_CASE("evaluate_streamed: any chunks give the score of whole sequences", "[tasks]") {
  const InductionHeads induction(24, 6);
  const SelectiveCopying copying(20, 4, 6);
  // Fresh weights guess: some answers are right and most are not, so that both are compared.
  const auto mamba = drawn(Mamba<float>(small(16, 6)), 3);
  check_streaming(mamba, induction);
  check_streaming(mamba, copying);
  const auto attention = drawn(AttentionModel<float>(AttentionConfig::like(small(16, 6))), 3);
  check_streaming(attention, induction);
  check_streaming(attention, copying);
}

TEST_CASE("AttentionModel: chunks with a state give the logits of one call", "[tasks]") {
  const auto model = drawn(AttentionModel<double>(AttentionConfig::like(small(16, 6))), 5);
  Generator generator(2);
  AnswerBatch batch;
  InductionHeads(33, 6).draw(generator, 2, batch);
  const Tensor<double, 3> expected = model.forward(batch.ids);
  for (const index_t chunk : {index_t{1}, index_t{10}, index_t{33}}) {
    const NoGrad no_grad;
    auto state = model.initial_state(2);
    for (index_t begin = 0; begin < 33; begin += chunk) {
      const index_t n = (std::min)(chunk, 33 - begin);
      Tensor<std::int64_t, 2> ids({2, n});
      for (index_t b = 0; b < 2; ++b)
        for (index_t t = 0; t < n; ++t) ids(b, t) = std::as_const(batch.ids)(b, begin + t);
      const Tensor<double, 3> logits = model.forward(ids, &state);
      for (index_t b = 0; b < 2; ++b)
        for (index_t t = 0; t < n; ++t)
          for (index_t v = 0; v < 6; ++v)
            // Sums in another order.
            REQUIRE(std::as_const(logits)(b, t, v) ==
                    Approx(std::as_const(expected)(b, begin + t, v)).margin(1e-12));
    }
  }
}

TEST_CASE("AttentionConfig::like: within half a percent of Mamba's parameters", "[tasks]") {
  for (const index_t width : {index_t{64}, index_t{128}}) {
    MambaConfig config = small(width, 16);
    config.ssm_cfg.d_state = 16;
    Mamba<float> mamba(config);
    AttentionModel<float> attention(AttentionConfig::like(config));
    const auto a = static_cast<double>(parameters(mamba).count());
    const auto b = static_cast<double>(parameters(attention).count());
    REQUIRE(std::abs(a - b) < 0.005 * a);
  }
}

TEST_CASE("tasks: Mamba learns short induction heads", "[tasks]") {
  const auto [before, after] =
      learn(drawn(Mamba<float>(small(16, 5)), 1), InductionHeads(8, 5), 300, 1e-2);
  // A guess is right in a quarter of the cases; 128 of them, so within 0.19 of that.
  REQUIRE(before < 0.45);
  REQUIRE(after > 0.6);
}

TEST_CASE("tasks: Mamba learns a short selective copy", "[tasks]") {
  const auto [before, after] =
      learn(drawn(Mamba<float>(small(16, 6)), 1), SelectiveCopying(8, 2, 6), 300, 1e-2);
  REQUIRE(before < 0.4);
  REQUIRE(after > 0.6);
}

TEST_CASE("tasks: attention learns short induction heads", "[tasks]") {
  const auto [before, after] =
      learn(drawn(AttentionModel<float>(AttentionConfig::like(small(16, 5))), 1),
            InductionHeads(8, 5), 300, 1e-2);
  REQUIRE(before < 0.45);
  REQUIRE(after > 0.6);
}
