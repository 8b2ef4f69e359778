/// The gated attention unit of FLASH, in MossFormer's form.
#pragma once

#include "sequin/blocks/ff_conv.hpp"
#include "sequin/ops/activation.hpp"
#include "sequin/ops/chunk_attention.hpp"
#include "sequin/ops/frames.hpp"
#include "sequin/ops/rotary.hpp"
#include "sequin/ops/shape.hpp"

#include <cmath>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// One head of `OffsetScale`: qk (B, T, Q) * gamma_i + beta_i, turned by `table` where it is
/// defined.
template <Scalar T>
Tensor<T, 3> flash_head(const Tensor<T, 3>& qk, const Tensor<T, 2>& gamma, const Tensor<T, 2>& beta,
                        index_t i, const RotaryTable<T>& table, const Tensor<T, 2>& mask = {}) {
  const index_t q = qk.extent(2);
  Tensor<T, 3> y =
      qk * reshape<1>(slice(gamma, 0, i, i + 1), {q}) + reshape<1>(slice(beta, 0, i, i + 1), {q});
  if (mask.defined()) y = y * mask.template reshaped<3>({mask.extent(0), mask.extent(1), 1});
  if (!table.cos.defined()) return y;
  const Tensor<T, 4> heads = reshape<4>(y, {y.extent(0), y.extent(1), 1, q});
  return reshape<3>(rotate(heads, table, RotaryLayout::interleaved), y.shape());
}

/// hidden = [v, u] and what attention made of it, both (B, T, 2 H): (att_u * v) * sigmoid(att_v *
/// u), (B, T, H).
template <Scalar T>
Tensor<T, 3> flash_gate(const Tensor<T, 3>& hidden, const Tensor<T, 3>& attended) {
  const index_t half = hidden.extent(2) / 2;
  const Tensor<T, 3> v = slice(hidden, 2, 0, half);
  const Tensor<T, 3> u = slice(hidden, 2, half, 2 * half);
  const Tensor<T, 3> gate = sigmoid(slice(attended, 2, 0, half) * u);
  return slice(attended, 2, half, 2 * half) * v * gate;
}

}  // namespace detail

/// Constructor arguments of `FLASH_ShareA_FFConvM`.
struct FlashGauConfig {
  index_t dim = 0;
  index_t group_size = 256;
  index_t query_key_dim = 128;
  index_t rotary_dim = 32;  ///< the first so many of query_key_dim are turned; 0: none
  bool causal = false;
  bool shift_tokens = true;
  FFConvNorm norm = FFConvNorm::scale_norm;
};

/// `FLASH_ShareA_FFConvM` of MossFormer2: one shared attention weighs v and u alike,
/// out = (att_u * v) * sigmoid(att_v * u), x + to_out(out).
template <Scalar T>
class FlashGau {
 public:
  using value_type = T;

  FFConvM<T> to_hidden, to_qk, to_out;
  Tensor<T, 2> gamma, beta;  ///< (4, Q): quad_q, lin_q, quad_k, lin_k in this order
  Tensor<T, 1> frequencies;  ///< (rotary_dim / 2), stored and not trained; undefined without

  FlashGau() = default;
  /// Throws ConfigError.
  explicit FlashGau(const FlashGauConfig& c)
      : to_hidden(c.dim, 4 * c.dim, c.norm),
        to_qk(c.dim, c.query_key_dim, c.norm),
        to_out(2 * c.dim, c.dim, c.norm),
        gamma({4, c.query_key_dim}),
        beta({4, c.query_key_dim}),
        config_(c) {
    if (c.dim < 1 || c.query_key_dim < 1 || c.group_size < 1)
      throw ConfigError("FlashGau: dim is " + std::to_string(c.dim) + ", query_key_dim " +
                        std::to_string(c.query_key_dim) + " and group_size " +
                        std::to_string(c.group_size) + ", expected >= 1");
    if (c.rotary_dim < 0 || c.rotary_dim % 2 != 0 || c.rotary_dim > c.query_key_dim)
      throw ConfigError(
          "FlashGau: rotary_dim is " + std::to_string(c.rotary_dim) +
          ", expected an even number from 0 to query_key_dim = " + std::to_string(c.query_key_dim));
    if (c.rotary_dim == 0) return;
    frequencies = Tensor<T, 1>(Shape<1>{c.rotary_dim / 2});
    for (index_t i = 0; i < c.rotary_dim / 2; ++i)
      frequencies(i) = static_cast<T>(
          std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotary_dim)));
  }

  /// x (B, T, D) -> (B, T, D); `mask` (B, T), undefined or 0 where a step is to be seen by no
  /// other. Throws ShapeError.
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const Tensor<T, 2>& mask = {},
                       const ForwardContext<T>& context = {}) const {
    const Tensor<T, 3> s = config_.shift_tokens ? shift_tokens(x) : x;
    const Tensor<T, 3> hidden = to_hidden.forward(s, context);
    const Tensor<T, 3> attended = attend(to_qk.forward(s, context), hidden, mask, context);
    return probe(*this, x + to_out.forward(detail::flash_gate(hidden, attended), context));
  }

  void initialize(Generator& generator) {
    to_hidden.initialize(generator);
    to_qk.initialize(generator);
    to_out.initialize(generator);
    init::normal(gamma, 0.02, generator);
    beta.fill(T{0});
  }

  void visit(Visitor<T>& v) {
    v.buffer("rotary_pos_emb.freqs", frequencies);
    v.child("to_hidden", to_hidden);
    v.child("to_qk", to_qk);
    v.parameter("qk_offset_scale.gamma", gamma);
    v.parameter("qk_offset_scale.beta", beta);
    v.child("to_out", to_out);
  }

 private:
  Tensor<T, 3> attend(const Tensor<T, 3>& qk, const Tensor<T, 3>& values, const Tensor<T, 2>& mask,
                      const ForwardContext<T>& context) const {
    RotaryTable<T> table;
    if (frequencies.defined()) table = rotary_table_of(frequencies, qk.extent(1));
    const auto head = [&](index_t i, const Tensor<T, 2>& seen = {}) {
      return detail::flash_head(qk, gamma, beta, i, table, seen);
    };
    ChunkAttentionOptions options;
    options.group_size = config_.group_size;
    options.causal = config_.causal;
    if (context.dropout_generator != nullptr) {
      options.dropout = FFConvM<T>::kDropout;
      options.generator = context.dropout_generator;
    }
    return chunk_attention<T>({head(0), head(1), head(2), head(3, mask)}, values, options, mask);
  }

  FlashGauConfig config_;
};

}  // namespace sequin::inline SEQUIN_ABI
