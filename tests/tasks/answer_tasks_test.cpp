#include "tasks/accuracy.hpp"
#include "tasks/induction_heads.hpp"
#include "tasks/selective_copying.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace sequin;
using namespace sequin_tasks;

namespace {

template <class Task>
AnswerBatch drawn(const Task& task, index_t examples, std::uint64_t seed) {
  Generator generator(seed);
  AnswerBatch batch;
  task.draw(generator, examples, batch);
  return batch;
}

// The tokens of sequence `b`.
std::vector<std::int64_t> row(const AnswerBatch& batch, index_t b) {
  const index_t length = batch.ids.extent(1);
  const auto all = batch.ids.span();
  return {all.begin() + b * length, all.begin() + (b + 1) * length};
}

}  // namespace

TEST_CASE("induction_heads: the answer is what followed the special token", "[tasks]") {
  for (const index_t length : {index_t{3}, index_t{4}, index_t{9}, index_t{256}}) {
    const InductionHeads task(length, 16);
    const AnswerBatch batch = drawn(task, 64, 7);
    REQUIRE(batch.ids.shape() == Shape<2>{64, length});
    REQUIRE(batch.answers.size() == 64);
    for (index_t b = 0; b < 64; ++b) {
      const auto tokens = row(batch, b);
      REQUIRE(std::count(tokens.begin(), tokens.end(), 15) == 2);
      REQUIRE(tokens.back() == 15);
      const auto first = std::find(tokens.begin(), tokens.end(), 15);
      REQUIRE(first[1] == batch.answers[static_cast<std::size_t>(b)]);
      REQUIRE(std::all_of(tokens.begin(), tokens.end(), [](auto t) { return t >= 0 && t < 16; }));
    }
  }
}

TEST_CASE("induction_heads: every place, answer and token comes about as often", "[tasks]") {
  constexpr index_t kCount = 4000;
  const AnswerBatch batch = drawn(InductionHeads(10, 6), kCount, 3);
  std::vector<int> places(10), answers(6), tokens(6);
  for (index_t b = 0; b < kCount; ++b) {
    const auto sequence = row(batch, b);
    ++places[static_cast<std::size_t>(std::find(sequence.begin(), sequence.end(), 5) -
                                      sequence.begin())];
    ++answers[static_cast<std::size_t>(batch.answers[static_cast<std::size_t>(b)])];
    for (const auto t : sequence) ++tokens[static_cast<std::size_t>(t)];
  }
  // Five standard deviations of a binomial count.
  const auto about = [](int found, double n, double p) {
    return std::abs(found - n * p) < 5 * std::sqrt(n * p * (1 - p));
  };
  for (std::size_t p = 0; p < 8; ++p) REQUIRE(about(places[p], kCount, 1.0 / 8));
  REQUIRE(places[8] + places[9] == 0);
  for (std::size_t t = 0; t < 5; ++t) {
    REQUIRE(about(answers[t], kCount, 1.0 / 5));
    REQUIRE(about(tokens[t], 8.0 * kCount, 1.0 / 5));
  }
  REQUIRE(answers[5] == 0);
}

TEST_CASE("selective_copying: the answers are the data tokens in their order", "[tasks]") {
  for (const index_t positions : {index_t{16}, index_t{17}, index_t{256}}) {
    const SelectiveCopying task(positions, 16, 16);
    const AnswerBatch batch = drawn(task, 32, 11);
    REQUIRE(batch.ids.shape() == Shape<2>{32, positions + 16});
    REQUIRE(batch.answers.size() == 32 * 16);
    for (index_t b = 0; b < 32; ++b) {
      auto tokens = row(batch, b);
      REQUIRE(std::all_of(tokens.end() - 16, tokens.end(), [](auto t) { return t == 15; }));
      tokens.resize(static_cast<std::size_t>(positions));
      std::erase(tokens, 0);
      const auto answers = batch.answers.begin() + b * 16;
      REQUIRE(tokens == std::vector<std::int64_t>(answers, answers + 16));
      REQUIRE(std::all_of(tokens.begin(), tokens.end(), [](auto t) { return t >= 1 && t <= 14; }));
    }
  }
}

TEST_CASE("selective_copying: data tokens are spread evenly over the places", "[tasks]") {
  constexpr index_t kCount = 3000;
  const AnswerBatch batch = drawn(SelectiveCopying(12, 3, 5), kCount, 5);
  std::vector<int> places(12), kinds(5);
  for (index_t b = 0; b < kCount; ++b) {
    const auto sequence = row(batch, b);
    for (std::size_t t = 0; t < 12; ++t) places[t] += sequence[t] != 0 ? 1 : 0;
  }
  for (const auto answer : batch.answers) ++kinds[static_cast<std::size_t>(answer)];
  // Five standard deviations: of places, a quarter of kCount; of kinds, a third of 3 kCount.
  for (const int n : places) REQUIRE(std::abs(n - 750) < 5 * std::sqrt(3000 * 0.25 * 0.75));
  for (std::size_t k = 1; k <= 3; ++k)
    REQUIRE(std::abs(kinds[k] - 3000) < 5 * std::sqrt(9000 * 2.0 / 9));
}

TEST_CASE("tasks: a seed gives one batch, another seed another, parts the whole", "[tasks]") {
  const SelectiveCopying task(40, 4, 8);
  const AnswerBatch whole = drawn(task, 6, 1), same = drawn(task, 6, 1), other = drawn(task, 6, 2);
  REQUIRE(row(whole, 5) == row(same, 5));
  REQUIRE(row(whole, 0) != row(other, 0));
  REQUIRE(row(whole, 0) != row(whole, 1));
  Generator generator(1);
  AnswerBatch part;
  task.draw(generator, 2, part);
  REQUIRE(row(part, 1) == row(whole, 1));
  task.draw(generator, 4, part);
  REQUIRE(row(part, 3) == row(whole, 5));
  REQUIRE(part.answers.size() == 16);
}

TEST_CASE("tasks: sizes that make no sequence are refused", "[tasks]") {
  REQUIRE_THROWS_WITH(InductionHeads(2, 16),
                      "induction_heads: length is 2 and vocabulary 16, expected both 3 to 2^30");
  REQUIRE_THROWS_AS(InductionHeads(256, 2), ConfigError);
  REQUIRE_THROWS_WITH(SelectiveCopying(8, 9),
                      "selective_copying: 9 data tokens in 8 positions, expected 1 or more, no "
                      "more than positions");
  REQUIRE_THROWS_AS(SelectiveCopying(8, 0), ConfigError);
  REQUIRE_THROWS_AS(SelectiveCopying(8, 2, 3), ConfigError);
}

TEST_CASE("count_right: the answer must have the largest logit to itself", "[tasks]") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values{0, 2, 1,  2,    0, 1,  //
                                  1, 1, -1, kNaN, 3, 0};
  const Tensor<float, 3> logits({2, 2, 3}, std::span<const float>(values));
  const auto right = [&](std::vector<std::int64_t> answers) {
    return count_right(logits, std::span<const std::int64_t>(answers)).right;
  };
  REQUIRE(right({1, 0, 0, 1}) == 2);  // a tie and a NaN are not right
  REQUIRE(right({0, 0, 1, 0}) == 1);
  REQUIRE(right({2, 1, 2, 2}) == 0);
  const std::vector<std::int64_t> four{1, 0, 0, 1};
  Score score = count_right(logits, std::span<const std::int64_t>(four));
  REQUIRE(score.asked == 4);
  score += {1, 4};
  REQUIRE(score.accuracy() == 3.0 / 8);
  REQUIRE(Score{}.accuracy() == 0);
  const std::vector<std::int64_t> three{1, 0, 0};
  REQUIRE_THROWS_WITH(count_right(logits, std::span<const std::int64_t>(three)),
                      "count_right: 3 answers, expected 4 (rows of logits [2, 2, 3])");
}
