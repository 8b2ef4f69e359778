#include "sequin/stream/session.hpp"

#include "common/allocation_count.hpp"
#include "sequin/core/thread_pool.hpp"
#include "sequin/models/mamba.hpp"
#include "support/catch.hpp"

#include <cstdlib>
#include <new>
#include <thread>

using namespace sequin;

namespace {

Mamba<float> small_model() {
  MambaConfig config;
  config.d_model = 24;
  config.n_layer = 2;
  config.vocab_size = 40;
  config.d_intermediate = 8;
  Mamba<float> model(config);
  Generator generator(3);
  model.initialize(generator);
  return model;
}

}  // namespace

TEST_CASE("allocation count: it counts", "[session]") {
  if (!sequin_examples::allocations_are_counted()) return;
  // A compiler may leave out an allocation whose pointer it can follow: these it cannot.
  const std::size_t before = sequin_examples::allocation_count();
  void* volatile from_malloc = std::malloc(10);
  void* volatile from_calloc = std::calloc(2, 10);
  void* volatile from_new = ::operator new(10);
  void* volatile aligned = ::operator new (10, std::align_val_t{64});
  REQUIRE(sequin_examples::allocation_count() - before == 4);
  std::free(from_malloc);
  std::free(from_calloc);
  ::operator delete(from_new);
  ::operator delete (aligned, std::align_val_t{64});
  Tensor<float, 1> tensor({3});
  REQUIRE(tensor.data() != nullptr);
  REQUIRE(sequin_examples::allocation_count() - before > 4);
}

TEST_CASE("session: a step allocates nothing, prepared or not, for any batch", "[session]") {
  auto model = small_model();
  for (const bool prepared : {false, true}) {
    if (prepared) prepare(model);
    for (const index_t batch : {1, 3}) {
      Session session(model, batch);
      const std::vector<std::int64_t> ids(static_cast<std::size_t>(batch), 7);
      const std::size_t before = sequin_examples::allocation_count();
      for (int t = 0; t < 40; ++t) {
        if (session.step(ids).size() != static_cast<std::size_t>(batch * 40)) std::abort();
        if (t == 20) session.reset();
      }
      REQUIRE(sequin_examples::allocation_count() - before == 0);
    }
  }
}

TEST_CASE("session: steps equal the batch bit by bit, also after a reset", "[session]") {
  auto model = small_model();
  prepare(model);
  Tensor<std::int64_t, 2> ids({2, 37});
  Generator generator(5);
  for (auto& id : ids.span()) id = generator.below(40);
  const auto whole = model.forward(ids);
  Session session(model, 2);
  for (int round = 0; round < 2; ++round) {
    for (index_t t = 0; t < 37; ++t) {
      const std::int64_t now[2] = {std::as_const(ids)(0, t), std::as_const(ids)(1, t)};
      const auto logits = session.step(now);
      for (index_t b = 0; b < 2; ++b)
        for (index_t v = 0; v < 40; ++v)
          REQUIRE(logits[static_cast<std::size_t>(b * 40 + v)] == whole(b, t, v));
    }
    session.reset();
  }
}

TEST_CASE("session: what a step cannot take leaves the state alone", "[session]") {
  const auto model = small_model();
  Session session(model);
  const std::int64_t good = 3;
  const std::int64_t bad = 40;
  session.step({&good, 1});
  const auto state = session.state();
  REQUIRE(session.step({&bad, 1}).empty());
  REQUIRE(session.step({}).empty());
  for (std::size_t i = 0; i < state.layers.size(); ++i)
    for (index_t k = 0; k < state.layers[i].ssm_state.size(); ++k)
      REQUIRE(session.state().layers[i].ssm_state.data()[k] == state.layers[i].ssm_state.data()[k]);
  REQUIRE_THROWS_AS(Session(model, 0), ConfigError);
}

TEST_CASE("session: a state can be kept and continued elsewhere", "[session]") {
  const auto model = small_model();
  Session first(model);
  for (std::int64_t id : {1, 2, 3}) first.step({&id, 1});
  Session second(model);
  second.set_state(first.state());
  const std::int64_t next = 9;
  const auto a = first.step({&next, 1});
  const auto b = second.step({&next, 1});
  REQUIRE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  REQUIRE_THROWS_AS(second.set_state(model.initial_state(2)), ShapeError);
}

TEST_CASE("session: sessions on several threads share one model", "[session]") {
  auto model = small_model();
  prepare(model);
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&model, &result] {
      Session session(model);
      for (std::int64_t id = 0; id < 30; ++id) {
        const auto logits = session.step({&id, 1});
        result.assign(logits.begin(), logits.end());
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) REQUIRE(result == results.front());
}
