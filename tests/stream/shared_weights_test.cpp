// One set of weights, many streams, several threads; the thread sanitizer runs this (preset tsan).
#include "sequin/blocks/gru.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/stream/block_stream.hpp"
#include "stream/hop_net.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

using namespace sequin;
using sequin_test::HopNet;
using sequin_test::wavy;

namespace {

constexpr int kThreads = 4, kStreams = 3;

/// Calls work(thread) in threads that start together.
template <class Work>
void in_threads(Work work) {
  std::atomic<int> waiting{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      --waiting;
      while (waiting.load() > 0) std::this_thread::yield();
      work(i);
    });
  for (auto& thread : threads) thread.join();
}

Mamba<float> small_mamba(bool prepared) {
  MambaConfig config;
  config.d_model = 12;
  config.n_layer = 2;
  config.vocab_size = 16;
  Mamba<float> model(config);
  Generator generator(3);
  model.initialize(generator);
  if (prepared) prepare(model);
  return model;
}

/// What `stream` says of tokens first, first + 1, ...
std::vector<float> tokens_through(Session<Mamba<float>>& stream, std::int64_t first, int steps) {
  std::vector<float> all;
  for (int t = 0; t < steps; ++t) {
    const std::int64_t id = (first + t) % 16;
    const auto y = stream.step({&id, 1});
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

}  // namespace

TEST_CASE("shared weights: sessions in threads, several in each, give what one alone gives") {
  for (const bool prepared : {false, true}) {
    const auto model = small_mamba(prepared);
    std::vector<std::vector<float>> found(kThreads * kStreams);
    in_threads([&](int thread) {
      std::vector<std::unique_ptr<Session<Mamba<float>>>> streams;
      for (int s = 0; s < kStreams; ++s)
        streams.push_back(std::make_unique<Session<Mamba<float>>>(model));
      // Turn by turn, as one audio thread serves many voices.
      for (int turn = 0; turn < 5; ++turn)
        for (int s = 0; s < kStreams; ++s) {
          const auto index = static_cast<std::size_t>(thread * kStreams + s);
          const auto y =
              tokens_through(*streams[static_cast<std::size_t>(s)], thread + 5 * s + 4 * turn, 4);
          found[index].insert(found[index].end(), y.begin(), y.end());
        }
    });
    for (int i = 0; i < kThreads * kStreams; ++i) {
      Session alone(model);
      REQUIRE(found[static_cast<std::size_t>(i)] ==
              tokens_through(alone, i / kStreams + 5 * (i % kStreams), 20));
    }
  }
}

TEST_CASE("shared weights: block streams of recurrent and hopped models run side by side") {
  const HopNet<float> model(4);
  Gru<float> gru({.input_size = 1, .hidden_size = 1});
  Generator generator(2);
  gru.initialize(generator);
  prepare(gru);
  const auto x = wavy<float, 1>({300}, 0.2);
  const auto through = [&x](auto& stream) {
    std::vector<float> y(300);
    for (std::size_t at = 0; at < 300; at += 25)
      stream.process(x.span().subspan(at, 25), std::span(y).subspan(at, 25));
    return y;
  };
  BlockStream hops_alone(model);
  BlockStream<Gru<float>> gru_alone(gru);
  const auto of_hops = through(hops_alone), of_gru = through(gru_alone);
  std::vector<int> right(kThreads);
  in_threads([&](int thread) {
    BlockStream hops(model);
    BlockStream<Gru<float>> recurrent(gru);
    for (int round = 0; round < 3; ++round) {
      right[static_cast<std::size_t>(thread)] +=
          through(hops) == of_hops && through(recurrent) == of_gru;
      hops.reset();
      recurrent.reset();
    }
  });
  for (const int rounds : right) CHECK(rounds == 3);
}

TEST_CASE("shared weights: a stream goes on in another thread from a state handed over") {
  const auto model = small_mamba(true);
  std::mutex mutex;
  std::optional<MambaState<float>> handed;
  std::vector<float> second;
  std::thread giver([&] {
    Session session(model);
    tokens_through(session, 0, 10);
    const std::lock_guard lock(mutex);
    handed = session.state();
  });
  std::thread taker([&] {
    Session session(model);
    for (bool there = false; !there; std::this_thread::yield()) {
      const std::lock_guard lock(mutex);
      there = handed.has_value();
      if (there) session.set_state(*handed);
    }
    second = tokens_through(session, 10, 10);
  });
  giver.join();
  taker.join();
  Session alone(model);
  tokens_through(alone, 0, 10);
  CHECK(second == tokens_through(alone, 10, 10));
}
