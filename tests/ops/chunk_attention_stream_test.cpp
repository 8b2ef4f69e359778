#include "sequin/ops/chunk_attention_stream.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/ops/shape.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <cmath>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

template <class T>
ChunkAttentionInputs<T> queries(index_t batch, index_t n, index_t q) {
  return {wavy<T, 3>({batch, n, q}, 0.1), wavy<T, 3>({batch, n, q}, 0.7),
          wavy<T, 3>({batch, n, q}, 1.9), wavy<T, 3>({batch, n, q}, 2.3)};
}

template <class T>
ChunkAttentionInputs<T> part(const ChunkAttentionInputs<T>& in, index_t begin, index_t end) {
  return {slice(in.quad_q, 1, begin, end), slice(in.lin_q, 1, begin, end),
          slice(in.quad_k, 1, begin, end), slice(in.lin_k, 1, begin, end)};
}

ChunkAttentionOptions causal(index_t group, double decay) {
  ChunkAttentionOptions o;
  o.group_size = group;
  o.causal = true;
  o.mean_decay = decay;
  return o;
}

}  // namespace

TEMPLATE_TEST_CASE("chunk_attention_stream: any chunking equals the batch result bit for bit",
                   "[chunk_attention_stream]", float, double) {
  for (const double decay : {0.0, 0.7, 1.0})
    for (const index_t group : {1, 4, 7, 19, 64}) {
      const index_t n = 37;
      const auto in = queries<TestType>(2, n, 5);
      const auto v = wavy<TestType, 3>({2, n, 9}, 0.4);
      const auto o = causal(group, decay);
      const auto whole = chunk_attention(in, v, o);
      for (const index_t chunk : {1, 3, 4, 16, 37}) {
        ChunkAttentionState<TestType> state(2, 5, 9, group);
        for (int round = 0; round < 2; ++round) {
          Tensor<TestType, 3> y({2, 0, 9});
          for (index_t t = 0; t < n; t += chunk) {
            const index_t end = (std::min)(t + chunk, n);
            y = concat(y, chunk_attention_stream(part(in, t, end), slice(v, 1, t, end), o, state),
                       1);
          }
          REQUIRE(identical(y, whole));
          REQUIRE(state.filled == n % group);
          state.reset();
        }
      }
    }
}

TEST_CASE("chunk_attention_stream: the memory of the mean stays bounded where the sum grows",
          "[chunk_attention_stream]") {
  const auto in = queries<float>(1, 4, 3);
  const auto v = wavy<float, 3>({1, 4, 5}, 0.4);
  const auto largest = [&](double decay, int groups) {
    ChunkAttentionState<float> state(1, 3, 5, 4);
    for (int i = 0; i < groups; ++i) chunk_attention_stream(in, v, causal(4, decay), state);
    float most = 0;
    for (const float m : std::as_const(state.memory).span()) most = (std::max)(most, std::abs(m));
    return most;
  };
  // Each group is the same, and so is their mean but for rounding.
  CHECK(largest(0.9, 1000) == Approx(largest(0.9, 1)).epsilon(1e-5));
  CHECK(largest(0, 1000) == Approx(1000 * largest(0, 1)).epsilon(1e-3));
}

TEST_CASE("chunk_attention_stream: what cannot be continued is refused",
          "[chunk_attention_stream]") {
  auto in = queries<float>(1, 4, 3);
  const auto v = wavy<float, 3>({1, 4, 5}, 0.4);
  ChunkAttentionState<float> state(1, 3, 5, 4);
  ChunkAttentionOptions open = causal(4, 0);
  open.causal = false;
  CHECK_THROWS_WITH(chunk_attention_stream(in, v, open, state),
                    "chunk_attention_stream: expected causal attention without dropout");
  CHECK_THROWS_WITH(chunk_attention_stream(in, v, causal(5, 0), state),
                    "chunk_attention_stream: the state's keys is [1, 3, 4], expected [1, 3, 5]");
  ChunkAttentionState<float> other(2, 3, 5, 4);
  CHECK_THROWS_WITH(chunk_attention_stream(in, v, causal(4, 0), other),
                    "chunk_attention_stream: the state's keys is [2, 3, 4], expected [1, 3, 4]");
  state.filled = 4;
  CHECK_THROWS_WITH(chunk_attention_stream(in, v, causal(4, 0), state),
                    "chunk_attention_stream: the state's group has 4 steps, expected 0 to 3");
  state.filled = 0;
  in.lin_q.set_requires_grad();
  const Tape tape;
  CHECK_THROWS_WITH(chunk_attention_stream(in, v, causal(4, 0), state),
                    "chunk_attention_stream: a state cannot be recorded; use it under NoGrad");
}
