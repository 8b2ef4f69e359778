/// The gated attention unit of FLASH in a causal form that streams in constant memory.
#pragma once

#include "sequin/blocks/causal_ff_conv.hpp"
#include "sequin/blocks/flash_gau.hpp"
#include "sequin/ops/chunk_attention_stream.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Sizes of a CausalFlashGau.
struct CausalFlashGauConfig {
  index_t dim = 0;
  index_t group_size = 64;  ///< steps that attend to each other one by one
  index_t query_key_dim = 32;
  index_t rotary_dim = 32;     ///< the first so many of query_key_dim are turned; 0: none
  index_t taps = 17;           ///< of the convolutions
  double memory_decay = 0.95;  ///< ChunkAttentionOptions::mean_decay
};

/// What a CausalFlashGau remembers of B sequences.
template <Scalar T>
struct CausalFlashGauState : StreamState<CausalFlashGauState<T>> {
  StateTensor<T, 3> before;  ///< (B, 1, ceil(D / 2)): what the token shift takes from the last step
  CausalFFConvState<T> to_hidden, to_qk, to_out;
  ChunkAttentionState<T> attention;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("before", s.before...);
    v.child("to_hidden", s.to_hidden...);
    v.child("to_qk", s.to_qk...);
    v.child("to_out", s.to_out...);
    v.child("attention", s.attention...);
  }
};

/// Hua et al., "Transformer Quality in Linear Time", arXiv 2202.10447, section 4, in the gated form
/// of MossFormer2 (FlashGau), made causal: out = (att_u * v) * sigmoid(att_v * u), x + to_out(out).
/// Ours, to stream for any time: the convolutions see the past alone, the memory of finished groups
/// is their weighted mean and not their sum, and rotary positions count within a group, where only
/// differences matter; the part across groups has none.
template <Scalar T>
class CausalFlashGau {
 public:
  using value_type = T;
  using State = CausalFlashGauState<T>;

  CausalFFConv<T> to_hidden, to_qk, to_out;
  Tensor<T, 2> gamma, beta;  ///< (4, Q): quad_q, lin_q, quad_k, lin_k in this order

  CausalFlashGau() = default;
  /// Throws ConfigError.
  explicit CausalFlashGau(const CausalFlashGauConfig& c) : config_(c) {
    if (c.dim < 1 || c.query_key_dim < 1 || c.group_size < 1)
      throw ConfigError("CausalFlashGau: dim is " + std::to_string(c.dim) + ", query_key_dim " +
                        std::to_string(c.query_key_dim) + " and group_size " +
                        std::to_string(c.group_size) + ", expected >= 1");
    if (c.rotary_dim < 0 || c.rotary_dim % 2 != 0 || c.rotary_dim > c.query_key_dim)
      throw ConfigError(
          "CausalFlashGau: rotary_dim is " + std::to_string(c.rotary_dim) +
          ", expected an even number from 0 to query_key_dim = " + std::to_string(c.query_key_dim));
    if (!(c.memory_decay > 0 && c.memory_decay <= 1))
      throw ConfigError("CausalFlashGau: memory_decay is " + std::to_string(c.memory_decay) +
                        ", expected a number above 0 and at most 1");
    const auto norm = FFConvNorm::scale_norm;
    to_hidden = CausalFFConv<T>(c.dim, 4 * c.dim, norm, c.taps);
    to_qk = CausalFFConv<T>(c.dim, c.query_key_dim, norm, c.taps);
    to_out = CausalFFConv<T>(2 * c.dim, c.dim, norm, c.taps);
    gamma = Tensor<T, 2>({4, c.query_key_dim});
    beta = Tensor<T, 2>({4, c.query_key_dim});
    if (c.rotary_dim == 0) return;
    Tensor<std::int64_t, 2> positions({1, c.group_size});
    for (index_t t = 0; t < c.group_size; ++t) positions(0, t) = t;
    table_ = rotary_table<T>(positions, c.rotary_dim, 10000.0);
  }

  const CausalFlashGauConfig& config() const noexcept { return config_; }

  /// The state before the first step: zeros.
  State initial_state(index_t batch) const {
    State state;
    state.before = Tensor<T, 3>({batch, 1, (config_.dim + 1) / 2});
    state.to_hidden = to_hidden.initial_state(batch);
    state.to_qk = to_qk.initial_state(batch);
    state.to_out = to_out.initial_state(batch);
    state.attention =
        ChunkAttentionState<T>(batch, config_.query_key_dim, 4 * config_.dim, config_.group_size);
    return state;
  }
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }

  /// x (B, T, D) -> (B, T, D). With a state, the sequence continues where the last call ended: any
  /// cutting into calls gives the bits of one call; nothing may then be recorded. Throws
  /// ShapeError, ConfigError. Real-time safe under an arena.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state = nullptr) const {
    const Tensor<T, 3> s = shifted(x, state);
    const Tensor<T, 3> hidden = to_hidden.forward(s, state ? &state->to_hidden : nullptr);
    const Tensor<T, 3> qk = to_qk.forward(s, state ? &state->to_qk : nullptr);
    const Tensor<T, 3> attended = attend(qk, hidden, state ? &state->attention : nullptr);
    const Tensor<T, 3> out = detail::flash_gate(hidden, attended);
    return probe(*this, x + to_out.forward(out, state ? &state->to_out : nullptr));
  }

  void initialize(Generator& generator) {
    to_hidden.initialize(generator);
    to_qk.initialize(generator);
    to_out.initialize(generator);
    init::normal(gamma, 0.02, generator);
    beta.fill(T{0});
  }

  void visit(Visitor<T>& v) {
    v.child("to_hidden", to_hidden);
    v.child("to_qk", to_qk);
    v.parameter("gamma", gamma);
    v.parameter("beta", beta);
    v.child("to_out", to_out);
  }

 private:
  /// The first half of the channels one step later.
  Tensor<T, 3> shifted(const Tensor<T, 3>& x, State* state) const {
    if (state == nullptr || x.size() == 0) return shift_tokens(x);
    const index_t steps = x.extent(1), half = state->before.extent(2);
    const Tensor<T, 3> late = concat(state->before, slice(x, 2, 0, half), 1);
    const Tensor<T, 3> last = slice(late, 1, steps, steps + 1);
    state->before.copy_from(last.span());
    return concat(slice(late, 1, 0, steps), slice(x, 2, half, config_.dim), 2);
  }

  Tensor<T, 3> attend(const Tensor<T, 3>& qk, const Tensor<T, 3>& values,
                      ChunkAttentionState<T>* state) const {
    RotaryTable<T> table;
    if (table_.cos.defined()) table = positions(qk.extent(1), state ? state->filled : 0);
    const auto head = [&](index_t i, const RotaryTable<T>& turn = {}) {
      return detail::flash_head(qk, gamma, beta, i, turn);
    };
    ChunkAttentionOptions options;
    options.group_size = config_.group_size;
    options.causal = true;
    options.mean_decay = config_.memory_decay;
    const ChunkAttentionInputs<T> in{head(0, table), head(1), head(2, table), head(3)};
    return state == nullptr ? chunk_attention(in, values, options)
                            : chunk_attention_stream(in, values, options, *state);
  }

  /// Of `steps` steps, the first of which is step `first` of its group.
  RotaryTable<T> positions(index_t steps, index_t first) const {
    const index_t group = config_.group_size, pairs = table_.cos.extent(2);
    RotaryTable<T> table{Tensor<T, 3>::empty({1, steps, pairs}),
                         Tensor<T, 3>::empty({1, steps, pairs})};
    for (index_t t = 0; t < steps; ++t) {
      const index_t from = (first + t) % group * pairs;
      std::copy_n(table_.cos.data() + from, pairs, table.cos.data() + t * pairs);
      std::copy_n(table_.sin.data() + from, pairs, table.sin.data() + t * pairs);
    }
    return table;
  }

  CausalFlashGauConfig config_;
  RotaryTable<T> table_;  // of the positions in a group
};

}  // namespace sequin::inline SEQUIN_ABI
