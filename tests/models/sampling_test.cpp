#include "sequin/models/sampling.hpp"

#include "support/catch.hpp"

#include <map>

using namespace sequin;

namespace {

std::map<std::int64_t, int> draw(const SamplingOptions& options, const std::vector<float>& logits,
                                 int times = 4000) {
  Sampler<float> sampler(options);
  std::map<std::int64_t, int> counts;
  for (int i = 0; i < times; ++i) ++counts[sampler.choose(logits, {})];
  return counts;
}

SamplingOptions sampled() {
  SamplingOptions o;
  o.top_k = 0;
  return o;
}

}  // namespace

TEST_CASE("sampling: greedy takes the largest, the lowest index at a tie, never NaN",
          "[sampling]") {
  Sampler<float> sampler({});
  REQUIRE(sampler.choose(std::vector<float>{1, 5, 5, 2}, {}) == 1);
  REQUIRE(sampler.choose(std::vector<float>{NAN, -3, -2}, {}) == 2);
}

TEST_CASE("sampling: frequencies follow the softmax at the temperature", "[sampling]") {
  auto options = sampled();
  options.temperature = 0.5;
  const auto counts = draw(options, {0.0f, std::log(2.0f), std::log(3.0f)}, 14000);
  // exp(2 log p) = 1, 4, 9 of 14; the deviation of a count of 14000 is below 60.
  REQUIRE(std::abs(counts.at(0) - 1000) < 200);
  REQUIRE(std::abs(counts.at(1) - 4000) < 300);
  REQUIRE(std::abs(counts.at(2) - 9000) < 300);
}

TEST_CASE("sampling: top_k keeps the k best", "[sampling]") {
  auto options = sampled();
  options.top_k = 2;
  const auto counts = draw(options, {0.1f, 0.3f, 0.2f, 0.0f});
  REQUIRE(counts.size() == 2);
  REQUIRE(counts.contains(1));
  REQUIRE(counts.contains(2));
}

TEST_CASE("sampling: top_p drops the tail that sums to at most 1 - top_p", "[sampling]") {
  auto options = sampled();
  options.top_p = 0.75;
  // Probabilities 0.5, 0.3, 0.15, 0.05: the tail 0.05 + 0.15 = 0.2 <= 0.25 goes, + 0.3 would not.
  const auto counts =
      draw(options, {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)});
  REQUIRE(counts.size() == 2);
  options.top_p = 0.01;
  REQUIRE(draw(options, {0.0f, 1.0f, 0.5f}).size() == 1);
}

TEST_CASE("sampling: min_p keeps what is likely enough beside the best", "[sampling]") {
  auto options = sampled();
  options.min_p = 0.5;
  const auto counts = draw(options, {std::log(0.5f), std::log(0.3f), std::log(0.2f)});
  REQUIRE(counts.size() == 2);
}

TEST_CASE("sampling: the repetition penalty divides positive and multiplies negative logits",
          "[sampling]") {
  SamplingOptions options;
  options.repetition_penalty = 2;
  Sampler<float> sampler(options);
  const std::vector<std::int64_t> history{0, 99, -1};
  REQUIRE(sampler.choose(std::vector<float>{3, 2, 1}, history) == 1);
  REQUIRE(sampler.choose(std::vector<float>{-1, -1.5f, -3}, history) == 1);
}

TEST_CASE("sampling: vocab_size cuts padded columns", "[sampling]") {
  SamplingOptions options;
  options.vocab_size = 2;
  REQUIRE(Sampler<float>(options).choose(std::vector<float>{1, 2, 9}, {}) == 1);
}

TEST_CASE("sampling: impossible options are named", "[sampling]") {
  auto options = sampled();
  options.temperature = 0;
  REQUIRE_THROWS_WITH(Sampler<float>(options), Catch::Contains("temperature"));
  options = sampled();
  options.top_p = 1.5;
  REQUIRE_THROWS_WITH(Sampler<float>(options), Catch::Contains("top_p"));
  options = sampled();
  options.top_k = -1;
  REQUIRE_THROWS_WITH(Sampler<float>(options), Catch::Contains("top_k"));
}
