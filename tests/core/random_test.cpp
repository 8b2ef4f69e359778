#include "sequin/core/random.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

using namespace sequin;

TEST_CASE("philox: the known answers of the reference implementation", "") {
  using Words = std::array<std::uint32_t, 4>;
  // Random123's kat_vectors, philox4x32 with 10 rounds.
  REQUIRE(detail::philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t ones = ~std::uint64_t{0};
  REQUIRE(detail::philox(ones, ones, ones) ==
          Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: digits of pi.
  REQUIRE(detail::philox(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu) ==
          Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("generator: bits are Philox's words in order", "") {
  Generator generator(0x299f31d0a4093822u);
  for (std::uint64_t block = 0; block < 3; ++block)
    for (const std::uint32_t word : detail::philox(0x299f31d0a4093822u, block, 0))
      REQUIRE(generator.bits() == word);
}

TEST_CASE("generator: a state restored anywhere continues the sequence", "") {
  Generator reference(7);
  std::vector<std::uint32_t> all;
  for (int i = 0; i < 20; ++i) all.push_back(reference.bits());
  for (std::size_t stop = 0; stop < 20; ++stop) {
    Generator a(7);
    for (std::size_t i = 0; i < stop; ++i) a.bits();
    Generator b(a.state());
    REQUIRE(b.state() == a.state());
    for (std::size_t i = stop; i < 20; ++i) REQUIRE(b.bits() == all[i]);
    Generator copy = a;
    if (stop < 20) REQUIRE(copy.bits() == all[stop]);
    REQUIRE(a.state().position == stop);  // the copy went on alone
  }
}

TEST_CASE("generator: seeds and forks give sequences of their own", "") {
  std::set<std::uint32_t> first;
  for (std::uint64_t seed = 0; seed < 100; ++seed) first.insert(Generator(seed).bits());
  REQUIRE(first.size() == 100);
  Generator generator(1);
  std::set<std::uint64_t> keys;
  for (int i = 0; i < 1000; ++i) keys.insert(generator.fork());
  REQUIRE(keys.size() == 1000);
  REQUIRE(generator.state().position == 2000);
}

TEMPLATE_TEST_CASE("generator: uniform lies from 0 to below 1 with the mean and variance of such",
                   "", float, double) {
  Generator generator(3);
  constexpr int n = 100000;
  double sum = 0, squares = 0;
  std::array<int, 16> bins{};
  for (int i = 0; i < n; ++i) {
    const auto u = static_cast<double>(generator.uniform<TestType>());
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  // Five standard errors: sqrt(1/12/n) and sqrt(4/45/n).
  REQUIRE(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  REQUIRE(std::abs(squares / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  for (const int count : bins) REQUIRE(std::abs(count - n / 16) < 5 * std::sqrt(n / 16.0));
}

TEST_CASE("generator: the largest word gives a float below 1", "") {
  REQUIRE(static_cast<float>(0xffffffffu >> 8) * 0x1p-24f < 1.f);
  REQUIRE(static_cast<double>(~std::uint64_t{0} >> 11) * 0x1p-53 < 1.0);
}

TEST_CASE("generator: normal has mean 0, variance 1 and tails, and is finite", "") {
  Generator generator(4);
  constexpr int n = 100000;
  double sum = 0, squares = 0, fourth = 0;
  int beyond = 0;
  for (int i = 0; i < n; ++i) {
    const auto v = generator.normal<double>();
    REQUIRE(std::isfinite(v));
    sum += v;
    squares += v * v;
    fourth += v * v * v * v;
    beyond += std::abs(v) > 2 ? 1 : 0;
  }
  // Five standard errors; var(v^2) = 2, var(v^4) = 96, P(|v| > 2) = 0.0455.
  REQUIRE(std::abs(sum / n) < 5 * std::sqrt(1.0 / n));
  REQUIRE(std::abs(squares / n - 1) < 5 * std::sqrt(2.0 / n));
  REQUIRE(std::abs(fourth / n - 3) < 5 * std::sqrt(96.0 / n));
  REQUIRE(std::abs(beyond - 4550) < 5 * std::sqrt(4550.0));
}

TEST_CASE("generator: below reaches every value without bias", "") {
  Generator generator(5);
  REQUIRE(generator.below(1) == 0);
  for (const std::uint32_t n : {2u, 3u, 7u, 10u}) {
    std::vector<int> counts(n);
    constexpr int draws = 20000;
    for (int i = 0; i < draws; ++i) ++counts[generator.below(n)];
    const double expected = static_cast<double>(draws) / n;
    for (const int count : counts) REQUIRE(std::abs(count - expected) < 5 * std::sqrt(expected));
  }
  // Three quarters of 2^32: without rejection, two of three residues would come twice as often.
  const std::uint32_t most = 3u << 30;
  int low = 0;
  for (int i = 0; i < 30000; ++i) {
    const std::uint32_t v = generator.below(most);
    REQUIRE(v < most);
    low += v < (1u << 30) ? 1 : 0;
  }
  REQUIRE(std::abs(low - 10000) < 5 * std::sqrt(10000.0));
}

TEST_CASE("generator: shuffle is a permutation, every order equally likely", "") {
  Generator generator(6);
  std::vector<int> items(101);
  std::iota(items.begin(), items.end(), 0);
  generator.shuffle(std::span(items));
  REQUIRE_FALSE(std::is_sorted(items.begin(), items.end()));
  std::sort(items.begin(), items.end());
  for (int i = 0; i < 101; ++i) REQUIRE(items[static_cast<std::size_t>(i)] == i);

  std::array<int, 6> counts{};
  for (int i = 0; i < 6000; ++i) {
    std::array<int, 3> three{0, 1, 2};
    generator.shuffle(std::span<int>(three));
    ++counts[static_cast<std::size_t>(three[0] * 2 + (three[1] > three[2] ? 1 : 0))];
  }
  for (const int count : counts) REQUIRE(std::abs(count - 1000) < 5 * std::sqrt(1000.0));
  std::vector<int> nothing;
  generator.shuffle(std::span<int>(nothing));
}
