// Mixtures of two voices, as examples/separation draws them.
#include "separation/mixtures.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <filesystem>
#include <numbers>

using namespace sequin_separation;

namespace {

Voice tone(const std::string& name, double per_sample, std::size_t samples = 4000) {
  Voice voice{name, std::vector<float>(samples), 0.5};
  for (std::size_t t = 0; t < samples; ++t)
    voice.samples[t] =
        static_cast<float>(std::sin(2 * std::numbers::pi * per_sample * static_cast<double>(t)));
  return voice;
}

std::vector<std::vector<Voice>> three_voices() {
  std::vector<std::vector<Voice>> kinds(2);
  kinds[0].push_back(tone("a-1", 0.05));
  kinds[1].push_back(tone("b-1", 0.11));
  kinds[1].push_back(tone("b-2", 0.17));
  return kinds;
}

double level(const float* x, index_t n) {
  double sum = 0;
  for (index_t t = 0; t < n; ++t) sum += static_cast<double>(x[t]) * static_cast<double>(x[t]);
  return 10 * std::log10(sum / static_cast<double>(n));
}

}  // namespace

TEST_CASE("mixtures: a mixture is the sum of two sources at opposite levels") {
  MixtureOptions options;
  options.samples = 1000;
  options.speed = 0.1;
  const Mixtures mixtures(three_voices(), options);
  sequin::Generator generator(3);
  MixtureBatch batch;
  mixtures.draw(generator, 50, batch);
  for (index_t b = 0; b < 50; ++b) {
    const float* const first = batch.sources.data() + b * 2000;
    const float* const second = first + 1000;
    for (index_t t = 0; t < 1000; ++t) {
      INFO("mixture " << b << ", sample " << t);
      REQUIRE(batch.mixture(b, t) == first[t] + second[t]);
    }
    // Levels are 20 log10(0.05) = -26.02 dB, one up and one down by at most 2.5 dB.
    CHECK(level(first, 1000) + level(second, 1000) == Approx(2 * -26.0206).margin(1e-3));
    CHECK(std::abs(level(first, 1000) + 26.0206) < 2.501);
  }
}

TEST_CASE("mixtures: the two sources are never the same voice") {
  std::vector<std::vector<Voice>> kinds(1);
  kinds[0].push_back(tone("a", 0));
  kinds[0].push_back(tone("b", 0));
  for (float& s : kinds[0][0].samples) s = 1;
  for (float& s : kinds[0][1].samples) s = -1;
  MixtureOptions options;
  options.samples = 10;
  const Mixtures mixtures(kinds, options);
  sequin::Generator generator(5);
  MixtureBatch batch;
  mixtures.draw(generator, 100, batch);
  index_t first_is_positive = 0;
  for (index_t b = 0; b < 100; ++b) {
    const float* const source = batch.sources.data() + b * 20;
    CHECK(source[0] * source[10] < 0);
    first_is_positive += source[0] > 0 ? 1 : 0;
  }
  CHECK(first_is_positive > 25);
  CHECK(first_is_positive < 75);
}

TEST_CASE("mixtures: a batch drawn in two parts is the same") {
  MixtureOptions options;
  options.samples = 300;
  options.speed = 0.2;
  const Mixtures mixtures(three_voices(), options);
  sequin::Generator whole(7), parts(7);
  MixtureBatch together, apart;
  mixtures.draw(whole, 5, together);
  mixtures.draw(parts, 2, apart);
  for (index_t b = 0; b < 2; ++b)
    for (index_t t = 0; t < 300; ++t) REQUIRE(apart.mixture(b, t) == together.mixture(b, t));
  mixtures.draw(parts, 3, apart);
  for (index_t b = 0; b < 3; ++b)
    for (index_t t = 0; t < 300; ++t) REQUIRE(apart.mixture(b, t) == together.mixture(b + 2, t));
  CHECK(whole.state() == parts.state());
}

TEST_CASE("mixtures: pauses are passed over") {
  auto kinds = three_voices();
  for (auto& kind : kinds)
    for (Voice& voice : kind) {
      std::fill_n(voice.samples.begin(), 2000, 0.0f);
      voice.power = 0.25;
    }
  MixtureOptions options;
  options.samples = 100;
  const Mixtures mixtures(kinds, options);
  sequin::Generator generator(9);
  MixtureBatch batch;
  mixtures.draw(generator, 100, batch);
  index_t silent = 0;
  for (index_t i = 0; i < 200; ++i)
    silent += level(batch.sources.data() + i * 100, 100) < -60 ? 1 : 0;
  CHECK(silent < 5);  // half of the places are silent; eight tries: 0.8 of 200 expected
}

TEST_CASE("mixtures: too short or too few voices are refused by name") {
  MixtureOptions options;
  options.samples = 4000;
  CHECK_THROWS_WITH(Mixtures(three_voices(), options),
                    "a-1: 4000 samples, expected 4002 or more for mixtures of 4000");
  options.samples = 100;
  std::vector<std::vector<Voice>> one(1);
  one[0].push_back(tone("a", 0.1));
  CHECK_THROWS_WITH(Mixtures(one, options), "mixtures: expected two voices or more");
}

TEST_CASE("voices: folders are read by kind and a folder without voices is refused") {
  const auto folder = std::filesystem::temp_directory_path() / "sequin_voices_test";
  std::filesystem::remove_all(folder);
  const auto write = [&](const std::string& voice, const std::string& file) {
    std::filesystem::create_directories(folder / voice);
    sequin_examples::AudioWriter writer;
    writer.add(folder / voice / file, std::vector<float>(80, 0.5f), 8000);
    writer.commit();
  };
  write("a-1", "1.wav");
  write("a-1", "2.wav");
  write("b-1", "1.wav");
  write("b-2", "1.wav");
  const auto kinds = read_voices(folder, 8000);
  REQUIRE(kinds.size() == 2);
  CHECK(kinds[0][0].samples.size() == 160);
  CHECK(kinds[0][0].power == Approx(0.25));
  REQUIRE(kinds[1].size() == 2);
  CHECK(kinds[1][1].name == "b-2");
  CHECK(read_voices(folder, 8000, "b").size() == 1);
  CHECK_THROWS_WITH(
      read_voices(folder, 8000, "a"),
      folder.string() + ": 1 voices of kind a, expected two folders of audio files or more");
  CHECK_THROWS_WITH(read_voices(folder / "none", 8000),
                    Catch::Matchers::StartsWith((folder / "none").string() + ": cannot be read: "));
  std::filesystem::remove_all(folder);
}
