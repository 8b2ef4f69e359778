// Processes under mpirun: each runs every case, in the same order.
#include "sequin/train/mpi.hpp"

#include "sequin/io/load_model.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/expert_parallel.hpp"
#include "support/expert_training.hpp"
#include "support/small_training.hpp"

#include <array>
#include <cstddef>
#include <vector>

using namespace sequin;
using sequin_test::small_options;
using sequin_test::train_small;

namespace {

// MPI begins with the first case and ends with the program.
Replicas& replicas() {
  static MpiReplicas all;
  return all;
}

template <class T>
double largest_difference(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = (std::max)(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}

/// The program of docs/distributed.md: compiled only, as MPI begins once in a process.
[[maybe_unused]] int as_documented(TrainOptions options) {
  sequin_test::SmallNet<float> model;
  sequin_test::NumberedPoints<float> source;
  const auto loss = [&](const auto& b) { return mse_loss(model.forward(b.x), b.y); };
  const auto validate = [] { return 0.0; };
#include "from_docs/distributed/run-with-mpi.inc"
}

/// The same of its model whose experts lie on several ranks.
[[maybe_unused]] int as_documented(TrainOptions options, const TimeMoeConfig& config) {
  sequin_test::Waves<float> source, held_out;
#include "from_docs/distributed/train-experts.inc"
}

template <class T>
void check_training(double rounding) {
  TrainOptions o = small_options(5);
  o.clip_norm = 1;
  TrainOptions whole = o;
  whole.batch_size *= replicas().size();
  const auto alone = train_small<T>(whole);
  o.replicas = &replicas();
  const auto mine = train_small<T>(o);
  CHECK(largest_difference(mine.weights, alone.weights) < rounding);
  CHECK(largest_difference(mine.weights, train_small<T>(whole, true).weights) > 1e-4);
  std::vector<T> first = mine.weights;
  replicas().broadcast(std::as_writable_bytes(std::span<T>(first)));
  CHECK(first == mine.weights);
}

}  // namespace

TEST_CASE("MpiReplicas: there are several and each has its number", "[mpi]") {
  REQUIRE(replicas().size() >= 2);
  std::vector<double> seen(static_cast<std::size_t>(replicas().size()));
  seen[static_cast<std::size_t>(replicas().rank())] = 1;
  replicas().sum(std::span<double>(seen));
  CHECK(seen == std::vector<double>(seen.size(), 1.0));
}

TEST_CASE("MpiReplicas: sums and broadcasts reach everybody", "[mpi]") {
  const auto n = static_cast<float>(replicas().size()), r = static_cast<float>(replicas().rank());
  std::array<float, 3> sums{1, r, -r};
  replicas().sum(std::span<float>(sums));
  CHECK(sums == std::array<float, 3>{n, n * (n - 1) / 2, -n * (n - 1) / 2});
  replicas().sum(std::span<float>());
  std::array<double, 2> said{r + 3.0, r + 4.0};
  replicas().broadcast(std::as_writable_bytes(std::span<double>(said)));
  CHECK(said == std::array<double, 2>{3, 4});
  CHECK(replicas().any(replicas().rank() == 1));
  CHECK_FALSE(replicas().any(false));
}

TEST_CASE("MpiReplicas: what is exchanged arrives in the order of the ranks", "[mpi]") {
  // Rank r sends 1 + r + to bytes of value 10 r + to, and nothing to itself.
  const index_t ranks = replicas().size(), me = replicas().rank();
  const auto size = [](index_t from, index_t to) { return from == to ? 0 : 1 + from + to; };
  std::vector<index_t> send_bytes, receive_bytes;
  std::vector<std::byte> send, expected;
  for (index_t r = 0; r < ranks; ++r) {
    send_bytes.push_back(size(me, r));
    receive_bytes.push_back(size(r, me));
    send.insert(send.end(), static_cast<std::size_t>(size(me, r)), std::byte(10 * me + r));
    expected.insert(expected.end(), static_cast<std::size_t>(size(r, me)), std::byte(10 * r + me));
  }
  std::vector<std::byte> received(expected.size());
  replicas().exchange(send, send_bytes, received, receive_bytes);
  CHECK(received == expected);
}

TEST_CASE("train: processes end with the weights of one that has their batches", "[mpi]") {
  // Other partial sums: rounding, which Adam's division by small moments enlarges.
  check_training<double>(1e-11);
  check_training<float>(2e-4);
}

TEST_CASE("ExpertParallelMoe: processes compute what one does", "[mpi]") {
  SparseMoeConfig config;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_experts = 5;
  config.num_experts_per_tok = 2;
  std::vector<index_t> counts(static_cast<std::size_t>(replicas().size()), 7);
  counts[0] = 10;
  const auto errors = sequin_test::expert_parallel_errors(replicas(), config, counts);
  // Sums of a few doubles in another order.
  CHECK(errors.output < 1e-13);
  CHECK(errors.input_gradient < 1e-13);
  CHECK(errors.expert_gradients < 1e-12);
  CHECK(errors.router_gradient < 1e-12);
  CHECK(errors.shared_gradient < 1e-12);
}

TEST_CASE("train: experts on several processes end as those of one", "[mpi]") {
  // Rank 0 compares the files, in which all have what they had; the folder is its own.
  const sequin_test::TemporaryFolder one, many;
  TrainOptions o = sequin_test::expert_options(2, one.path());
  o.clip_norm = 0.3;
  o.ema_decay = 0.9;
  o.freeze = {"model.layers.0.ffn_layer.experts.4.*", "lm_heads.0.*"};
  TrainOptions whole = o;
  whole.batch_size *= replicas().size();
  sequin_test::train_experts<double>(whole);
  o.checkpoint_dir = many.path();
  o.replicas = &replicas();
  // In two runs, of which the second resumes.
  int questions = 0;
  TrainCallbacks callbacks;
  callbacks.stop_requested = [&] { return ++questions == 4; };
  CHECK(sequin_test::train_experts<double>(o, callbacks).interrupted);
  o.resume = true;
  sequin_test::train_experts<double>(o);
  if (replicas().rank() != 0) return;
  for (const char* name : {"checkpoint.safetensors", "weights.safetensors"})
    // Other partial sums, as above.
    CHECK(sequin_test::difference_of_files(one.path() / name, many.path() / name) < 1e-11);
}
