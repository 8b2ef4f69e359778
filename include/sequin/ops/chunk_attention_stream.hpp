/// Causal joint attention that goes on where it stopped, in memory that does not grow.
#pragma once

#include "sequin/core/stream_state.hpp"
#include "sequin/ops/chunk_attention.hpp"

namespace sequin::inline SEQUIN_ABI {

/// What causal `chunk_attention` remembers of B sequences.
template <Scalar T>
struct ChunkAttentionState : StreamState<ChunkAttentionState<T>> {
  StateTensor<T, 3> keys;    ///< (B, Q, g): quad_k of the group so far, a column a step
  StateTensor<T, 3> values;  ///< (B, g, E): its values
  StateTensor<T, 3> sum;     ///< (B, Q, E): its lin_k^T values
  StateTensor<T, 3> memory;  ///< (B, Q, E): M, of the groups that are finished
  StateTensor<T, 1> weight;  ///< (1): what they weigh; 0 before the first
  index_t filled = 0;        ///< steps of the group so far, < g

  ChunkAttentionState() = default;
  /// Before the first step.
  ChunkAttentionState(index_t batch, index_t width, index_t inner, index_t group_size)
      : keys(Tensor<T, 3>({batch, width, group_size})),
        values(Tensor<T, 3>({batch, group_size, inner})),
        sum(Tensor<T, 3>({batch, width, inner})),
        memory(Tensor<T, 3>({batch, width, inner})),
        weight(Tensor<T, 1>({1})) {}

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("keys", s.keys...);
    v.tensor("values", s.values...);
    v.tensor("sum", s.sum...);
    v.tensor("memory", s.memory...);
    v.tensor("weight", s.weight...);
    v.position("filled", StatePosition{s.filled, s.keys.extent(2)}...);
  }
};

namespace detail {

/// One sequence of a checked call, `count` of its steps from `first` on, all in one group. The
/// elements are the chains of `chunk_attention_forward`.
template <Scalar T>
struct ChunkAttentionSteps {
  const ChunkAttentionCall<T>& call;
  ChunkAttentionState<T>& state;
  index_t b, first, count;

  void run(T* y, T* scores, T* queries) const {
    const index_t q = call.width, e = call.inner, g = call.group;
    const index_t at = (b * call.length + first);
    T* const keys = state.keys.data() + b * q * g;
    T* const values = state.values.data() + b * g * e;
    for (index_t i = 0; i < count; ++i)
      for (index_t k = 0; k < q; ++k)
        keys[k * g + state.filled + i] = call.quad_k.data()[(at + i) * q + k];
    std::copy_n(call.values.data() + at * e, count * e, values + state.filled * e);
    const index_t seen = state.filled + count;
    gemm(call.quad_q.data() + at * q, q, keys, g, scores, seen, seen, q, false);
    weigh(scores, seen);
    gemm(scores, seen, values, e, y + at * e, e, e, seen, false);
    if (std::as_const(state.weight).data()[0] > T{0}) {
      const simd::Vec<T> s(call.linear_scale);
      simd::transform<T>(
          count * q, queries, [&](const simd::Vec<T>& v) { return v * s; },
          call.lin_q.data() + at * q);
      gemm(queries, q, std::as_const(state.memory).data() + b * q * e, e, y + at * e, e, e, q,
           true);
    }
    add_to_sum(at);
  }

 private:
  /// C (count x n) = A (count x k) B (k x n), or added to C.
  void gemm(const T* a, index_t a_row, const T* b_rows, index_t b_row, T* c, index_t c_row,
            index_t n, index_t k, bool accumulate) const {
    kernels::GemmProblem<T> p;
    p.a = a, p.a_row = a_row;
    p.b = b_rows, p.b_row = b_row;
    p.c = c, p.c_row = c_row;
    p.n = n, p.k = k;
    p.accumulate = accumulate;
    parallel_gemm(p, count);
  }

  /// relu(s / g)^2, 0 for later keys.
  void weigh(T* scores, index_t seen) const {
    using V = simd::Vec<T>;
    const V scale(T{1} / static_cast<T>(call.group));
    simd::transform<T>(
        count * seen, scores,
        [&](const V& v) {
          const V s = v * scale;
          const V positive = simd::select<T>(s <= V(T{0}), V(T{0}), s);
          return positive * positive;
        },
        static_cast<const T*>(scores));
    for (index_t i = 0; i < count; ++i)
      std::fill(scores + i * seen + state.filled + i + 1, scores + (i + 1) * seen, T{0});
  }

  /// sum += lin_k^T values, a step after the other: the chain of the product of a whole group.
  void add_to_sum(index_t at) const {
    using V = simd::Vec<T>;
    const index_t q = call.width, e = call.inner;
    T* const sum = state.sum.data() + b * q * e;
    for (index_t i = 0; i < count; ++i) {
      const T* const value = call.values.data() + (at + i) * e;
      for (index_t k = 0; k < q; ++k) {
        const V key(call.lin_k.data()[(at + i) * q + k]);
        T* const row = sum + k * e;
        simd::transform<T>(
            e, row, [&](const V& v, const V& s) { return simd::fma<T>(key, v, s); }, value,
            static_cast<const T*>(row));
      }
    }
  }
};

template <Scalar T>
void check_chunk_attention_state(const ChunkAttentionCall<T>& c, const ChunkAttentionState<T>& s) {
  const auto check = [](const char* name, const auto& shape, const auto& expected) {
    if (shape != expected)
      throw ShapeError(std::string("chunk_attention_stream: the state's ") + name + " is " +
                       to_string(shape) + ", expected " + to_string(expected));
  };
  check("keys", s.keys.shape(), Shape<3>{c.batch, c.width, c.group});
  check("values", s.values.shape(), Shape<3>{c.batch, c.group, c.inner});
  check("sum", s.sum.shape(), Shape<3>{c.batch, c.width, c.inner});
  check("memory", s.memory.shape(), Shape<3>{c.batch, c.width, c.inner});
  check("weight", s.weight.shape(), Shape<1>{1});
  if (s.filled < 0 || s.filled >= c.group)
    throw ShapeError("chunk_attention_stream: the state's group has " + std::to_string(s.filled) +
                     " steps, expected 0 to " + std::to_string(c.group - 1));
}

}  // namespace detail

/// Causal `chunk_attention` of any number of steps that continue what `state` has seen: any cutting
/// into calls gives the bits of one call. A step costs g (Q + E) + 2 Q E multiply-adds at most; the
/// end of a group costs no more than Q E besides. Throws ShapeError, ConfigError (not causal;
/// dropout; something is recorded: train on whole sequences). Real-time safe under an arena.
template <Scalar T>
Tensor<T, 3> chunk_attention_stream(const ChunkAttentionInputs<T>& in, const Tensor<T, 3>& values,
                                    const ChunkAttentionOptions& options,
                                    ChunkAttentionState<T>& state) {
  if (!options.causal || (options.generator != nullptr && options.dropout > 0))
    throw ConfigError("chunk_attention_stream: expected causal attention without dropout");
  if (recording(in.quad_q, in.lin_q, in.quad_k, in.lin_k, values) != nullptr)
    throw ConfigError("chunk_attention_stream: a state cannot be recorded; use it under NoGrad");
  const detail::ChunkAttentionCall<T> c = detail::checked_chunk_attention(in, values, options, {});
  detail::check_chunk_attention_state(c, state);
  auto y = Tensor<T, 3>::empty(values.shape());
  if (y.size() == 0) return y;
  // Both at once: a first step, by which a Session measures what a step needs, has no memory yet.
  const index_t together = (std::min)(c.group, c.length);
  auto scores = Tensor<T, 2>::empty({together, c.group});
  auto queries = Tensor<T, 2>::empty({together, c.width});
  for (index_t first = 0; first < c.length;) {
    const index_t count = (std::min)(c.group - state.filled, c.length - first);
    for (index_t b = 0; b < c.batch; ++b)
      detail::ChunkAttentionSteps<T>{c, state, b, first, count}.run(y.data(), scores.data(),
                                                                    queries.data());
    state.filled += count;
    first += count;
    if (state.filled < c.group) continue;
    state.filled = 0;
    T& weight = *state.weight.data();
    weight = detail::next_memory_weight(c.mean_decay, weight);
    detail::remember_group({c.mean_decay, weight}, std::as_const(state.sum).data(),
                           state.sum.size(), state.memory.data());
    state.sum.fill(T{0});
  }
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(chunk_attention_stream);
