#include "byte_lm/byte_text.hpp"
#include "byte_lm/byte_tokenizer.hpp"

#include "sequin/io/tokenizer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/train/train.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <string>

using namespace sequin;
using namespace sequin_bytes;

namespace {

std::vector<std::uint8_t> counting(std::size_t n) {
  std::vector<std::uint8_t> bytes(n);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  return bytes;
}

// A file that goes with the test.
struct File {
  std::filesystem::path path;
  explicit File(const std::string& text)
      : path(std::filesystem::temp_directory_path() /
             ("sequin_byte_text_" + std::to_string(std::random_device()()))) {
    std::ofstream(path, std::ios::binary) << text;
  }
  ~File() { std::filesystem::remove(path); }
};

template <class T>
Mamba<T> model() {
  MambaConfig c;
  c.d_model = 16;
  c.n_layer = 2;
  c.vocab_size = 256;
  c.ssm_cfg.d_state = 4;
  Mamba<T> m(c);
  Generator generator(1);
  m.initialize(generator);
  return m;
}

}  // namespace

TEST_CASE("ByteText: pieces begin at every place and end before the last byte", "[tasks]") {
  const ByteText text(counting(20), 5);
  Generator generator(1);
  ByteBatch batch;
  std::vector<int> starts(20);
  for (int i = 0; i < 50; ++i) {
    text.draw(generator, 4, batch);
    for (index_t b = 0; b < 4; ++b) {
      const auto start = std::as_const(batch.ids)(b, 0);
      ++starts[static_cast<std::size_t>(start)];
      for (index_t t = 0; t < 5; ++t) {
        REQUIRE(std::as_const(batch.ids)(b, t) == start + t);
        REQUIRE(batch.next[static_cast<std::size_t>(b * 5 + t)] == start + t + 1);
      }
    }
  }
  for (std::size_t s = 0; s < 20; ++s) REQUIRE((starts[s] > 0) == (s < 15));
  REQUIRE_THROWS_WITH(ByteText(counting(5), 5),
                      "byte text: pieces of 5 bytes and the next, expected 1 or more and at most "
                      "the text's 5 - 1");
}

TEST_CASE("split_text: the parts are the text, the end held out", "[tasks]") {
  const File file("abcdefghij");
  const auto [learnt, held_out] = split_text(file.path, 0.3);
  REQUIRE(std::string(learnt.begin(), learnt.end()) == "abcdefg");
  REQUIRE(std::string(held_out.begin(), held_out.end()) == "hij");
  REQUIRE_THROWS_AS(split_text(file.path, 0.05), ConfigError);
  REQUIRE_THROWS_AS(split_text(file.path, 1.0), ConfigError);
  REQUIRE_THROWS_AS(split_text(file.path / "none", 0.5), LoadError);
}

TEST_CASE("bits_per_byte: the cross-entropy by hand, whatever the chunks", "[tasks]") {
  const auto m = model<double>();
  std::vector<std::uint8_t> text;
  for (const char c : std::string("In the beginning was the word, and \xff\x00 the end.", 47))
    text.push_back(static_cast<std::uint8_t>(c));
  const auto n = static_cast<index_t>(text.size());
  Tensor<std::int64_t, 2> ids({1, n});
  std::copy(text.begin(), text.end(), ids.data());
  const Tensor<double, 3> logits = m.forward(ids);
  double bits = 8;  // of the first byte
  for (index_t t = 0; t + 1 < n; ++t) {
    double total = 0;
    for (index_t v = 0; v < 256; ++v) total += std::exp(std::as_const(logits)(0, t, v));
    bits -= std::log2(
        std::exp(std::as_const(logits)(0, t, index_t{text[static_cast<std::size_t>(t + 1)]})) /
        total);
  }
  for (const index_t chunk : {index_t{1}, index_t{10}, index_t{46}, index_t{1000}})
    REQUIRE(bits_per_byte(m, std::span<const std::uint8_t>(text), chunk) ==
            Approx(bits / static_cast<double>(n)).epsilon(1e-12));
  const std::vector<std::uint8_t> one{65};
  REQUIRE(bits_per_byte(m, std::span<const std::uint8_t>(one), 4) == Approx(8).epsilon(1e-12));
}

TEST_CASE("byte model: a text that repeats is soon known", "[tasks]") {
  std::string words;
  for (int i = 0; i < 200; ++i) words += "abracadabra. ";
  std::vector<std::uint8_t> bytes(words.begin(), words.end());
  const ByteText text(bytes, 32);
  auto m = model<float>();
  const double before = bits_per_byte(m, std::span<const std::uint8_t>(bytes).first(400), 128);
  TrainOptions options;
  options.epochs = 1;
  options.steps_per_epoch = 60;
  options.batch_size = 4;
  options.schedule = Schedule::constant(1e-2);
  options.optimizer.decoupled = true;
  const auto loss = [&](const ByteBatch& b) {
    return cross_entropy(m.forward(b.ids), std::span<const std::int64_t>(b.next));
  };
  train(m, text, loss, validate_on(text, 4, 1, 3, loss), options);
  const double after = bits_per_byte(m, std::span<const std::uint8_t>(bytes).first(400), 128);
  // Fresh weights know nothing (8 bits); without memory the letters have 2.6 bits.
  REQUIRE(before == Approx(8).margin(0.2));
  REQUIRE(after < 1.5);
}

TEST_CASE("byte tokenizer: each token is its byte", "[tasks]") {
  const File file(byte_tokenizer_json());
  const Tokenizer tokenizer = Tokenizer::load(file.path);
  REQUIRE(tokenizer.size() == 256);
  // All of ASCII, and characters of two, three and four bytes.
  std::string text;
  for (char c = 0; c < 127; ++c) text += c;
  text += "\x7f caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
  const auto ids = tokenizer.encode(text);
  REQUIRE(ids.size() == text.size());
  for (std::size_t i = 0; i < ids.size(); ++i)
    REQUIRE(ids[i] == static_cast<std::uint8_t>(text[i]));
  REQUIRE(tokenizer.decode(ids) == text);
}
