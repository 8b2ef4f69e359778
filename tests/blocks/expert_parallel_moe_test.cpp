// Experts on several ranks, which are threads here: tests/mpi has processes.
#include "sequin/blocks/expert_parallel_moe.hpp"
#include "sequin/autograd/tape.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/io/save_parameters.hpp"

#include "io/file_helpers.hpp"
#include "support/catch.hpp"
#include "support/expert_parallel.hpp"
#include "support/thread_replicas.hpp"

#include <string>

using namespace sequin;
using sequin_test::expert_parallel_errors;
using sequin_test::identical;
using sequin_test::run_ranks;
using sequin_test::wavy;

namespace {

SparseMoeConfig five_experts() {
  SparseMoeConfig c;
  c.hidden_size = 6;
  c.intermediate_size = 9;
  c.num_experts = 5;
  c.num_experts_per_tok = 2;
  return c;
}

}  // namespace

TEST_CASE("ExpertParallelMoe: results and gradients are those of SparseMoe") {
  struct Case {
    std::vector<index_t> counts;  // tokens of each rank
    bool shared, normalize;
  };
  const std::vector<Case> cases{{{4}, true, false},
                                {{7, 5}, true, true},
                                {{3, 0}, true, false},  // a rank without tokens of its own
                                {{1, 0, 1}, false, false},
                                {{9, 4, 6, 1, 3}, false, true}};
  for (const Case& c : cases) {
    SparseMoeConfig config = five_experts();
    config.shared_expert = c.shared;
    config.norm_topk_prob = c.normalize;
    std::vector<sequin_test::ExpertParallelErrors> errors(c.counts.size());
    run_ranks(static_cast<index_t>(c.counts.size()), [&](Replicas& replicas) {
      errors[static_cast<std::size_t>(replicas.rank())] =
          expert_parallel_errors(replicas, config, c.counts);
    });
    for (std::size_t r = 0; r < errors.size(); ++r) {
      INFO("rank " << r << " of " << errors.size());
      // Sums of a few doubles in another order.
      CHECK(errors[r].output < 1e-13);
      CHECK(errors[r].input_gradient < 1e-13);
      CHECK(errors[r].expert_gradients < 1e-12);
      CHECK(errors[r].router_gradient < 1e-12);
      CHECK(errors[r].shared_gradient < 1e-12);
    }
  }
}

TEST_CASE("ExpertParallelMoe: without a tape the results are the same bits") {
  std::vector<int> same(3);
  run_ranks(3, [&](Replicas& replicas) {
    ExpertParallelMoe<float> block(five_experts(), replicas);
    Generator generator(3);
    block.initialize(generator);
    const auto x = wavy<float, 3>({2, 3, 6}, static_cast<double>(replicas.rank()));
    Routing<float> routing;
    const auto y = block.forward(x, &routing);
    Tape tape;
    const auto recorded = block.forward(x);
    same[static_cast<std::size_t>(replicas.rank())] = static_cast<int>(
        identical(y, recorded.detach()) && routing.selected_experts.extent(0) == 6);
  });
  CHECK(same == std::vector<int>(3, 1));
}

TEST_CASE("ExpertParallelMoe: each rank loads its experts from the whole checkpoint") {
  const sequin_test::TemporaryFolder folder;
  SparseMoe<float> whole(five_experts());
  Generator generator(9);
  whole.initialize(generator);
  save_parameters(folder.path() / "weights.safetensors", parameters(whole));
  std::vector<int> right(2);
  run_ranks(2, [&](Replicas& replicas) {
    ExpertParallelMoe<float> block(five_experts(), replicas);
    load_weights(block, open_weights(folder.path()));
    const std::size_t first = replicas.rank() == 0 ? 0 : 2;
    for (std::size_t e = 0; e < block.experts.size(); ++e)
      right[static_cast<std::size_t>(replicas.rank())] += static_cast<int>(
          identical(block.experts[e].down_proj.weight, whole.experts[first + e].down_proj.weight));
  });
  CHECK(right == std::vector<int>{2, 3});
}

TEST_CASE("ExpertParallelMoe: fewer experts than ranks are refused") {
  SparseMoeConfig c = five_experts();
  c.num_experts = 2;
  CHECK_THROWS_WITH(
      run_ranks(3, [&](Replicas& replicas) { ExpertParallelMoe<float>(c, replicas); }),
      "ExpertParallelMoe: num_experts is 2, expected one each at least for 3 ranks");
}
