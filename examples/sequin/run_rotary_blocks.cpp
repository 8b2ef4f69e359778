// Cases of rotary positions and of attention that uses them.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/causal_self_attention.hpp"

#include <vector>

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kMax = index_t{1} << 20;

/// Positions 0 .. count - 1 as one row.
Tensor<std::int64_t, 2> counted(index_t count) {
  Tensor<std::int64_t, 2> positions({1, count});
  for (index_t t = 0; t < count; ++t) positions(0, t) = t;
  return positions;
}

/// x (B, H, T, P) turned by the positions (B, T).
template <class T>
Tensor<T, 4> rotate_heads_first(const Tensor<T, 4>& x, const RotaryTable<T>& table,
                                RotaryLayout layout) {
  return transpose(rotate(transpose(x, 1, 2), table, layout), 1, 2);
}

/// Each column of a (N, T, R / 2) table twice, as the official tables (T, R) have them.
template <class T>
Tensor<T, 2> doubled(const Tensor<T, 3>& half) {
  Tensor<T, 2> both({half.extent(1), 2 * half.extent(2)});
  for (index_t t = 0; t < half.extent(1); ++t)
    for (index_t i = 0; i < 2 * half.extent(2); ++i) both(t, i) = half(0, t, i % half.extent(2));
  return both;
}

/// The sequence in pieces of 1, 2, 3 ... through the cache, or step by step.
template <class T>
Tensor<T, 3> through_cache(const CausalSelfAttention<T>& block, const Tensor<T, 3>& x,
                           const Tensor<std::int64_t, 2>& positions, double theta,
                           const Tensor<bool, 2>& mask, bool steps) {
  const NoGrad no_grad;
  auto cache = block.initial_cache(x.extent(0), 1);
  Tensor<T, 3> y(x.shape());
  const index_t length = x.extent(1);
  const index_t width = x.extent(2);
  for (index_t t = 0, piece = 1; t < length; t += piece, piece += steps ? 0 : 1) {
    piece = (std::min)(piece, length - t);
    const auto table =
        rotary_table<T>(slice(positions, 1, t, t + piece), block.config().head_dim(), theta);
    const Tensor<T, 3> part = block.forward(slice(x, 1, t, t + piece), table, mask, &cache);
    detail::copy_chunks(part.span().data(), piece * width, y.data() + t * width, length * width,
                        piece * width, x.extent(0));
  }
  return y;
}

}  // namespace

template <class T>
void run_causal_gqa_rope_attention(CaseIo<T>& io, const Config& config,
                                   const std::filesystem::path& dir, const RunOptions& options) {
  CausalSelfAttentionConfig c;
  c.hidden_size = config.get_int("hidden_size", 1, kMax);
  c.num_attention_heads = config.get_int("num_attention_heads", 1, kMax);
  c.num_key_value_heads = config.get_int("num_key_value_heads", c.num_attention_heads, 1, kMax);
  const double theta = config.get_double("rope_theta", 10000.0, 1e-6, 1e12);
  auto block = load_block(c.parameter_count(), dir, [&] { return CausalSelfAttention<T>(c); });

  auto x = io.template get<3>("hidden_states");
  const Shape<2> expected{x.extent(0), x.extent(1)};
  const auto fits = [&](const char* name, const Tensor<std::int64_t, 2>& t) {
    if (t.shape() != expected)
      throw LoadError(io.label() + ": 'input." + name + "': expected " + to_string(expected) +
                      ", found " + to_string(t.shape()));
  };
  const auto positions = io.template integers<std::int64_t, 2>("position_ids");
  fits("position_ids", positions);
  Tensor<bool, 2> mask;
  if (io.has("attention_mask")) {
    const auto given = io.template integers<std::int64_t, 2>("attention_mask");
    fits("attention_mask", given);
    mask = given.template cast<bool>();
  }
  if (options.grad) {
    x.set_requires_grad();
    set_requires_grad(block);
  }
  std::vector<Tensor<T, 4>> maps;
  ForwardContext<T> context;
  context.attention_maps = &maps;
  Tape tape;
  const Tensor<T, 3> y =
      block.forward(x, rotary_table<T>(positions, c.head_dim(), theta), mask, nullptr, context);
  Tensor<T, 3> shown = y.detach();
  if (options.stream) {
    shown = through_cache(block, x, positions, theta, mask, true);
    // Padded steps weigh all keys alike, later ones too: they have no streaming form.
    for (index_t i = 0; mask.defined() && i < mask.size(); ++i)
      if (!std::as_const(mask).data()[i])
        std::copy_n(y.data() + i * y.cols(), y.cols(), shown.data() + i * y.cols());
  }
  io.put("hidden_states", shown);
  io.put("attention_weights", maps.front());
  if (!mask.defined())
    io.put("hidden_states_cached", through_cache(block, x, positions, theta, mask, options.stream));
  if (const auto g = put_loss(io, options, tape, y, NamedInput{"hidden_states", x}))
    io.put_gradients(*g, block);
}

template <class T>
void run_rotary_hf(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                   const RunOptions&) {
  const index_t width = config.get_int("head_dim", 2, kMax);
  const double theta = config.get_double("rope_theta", 10000.0, 1e-6, 1e12);
  const auto all =
      rotary_table<T>(counted(config.get_int("max_position_embeddings", 1, kMax)), width, theta);
  io.put("cos", doubled(all.cos));
  io.put("sin", doubled(all.sin));
  const auto table =
      rotary_table<T>(io.template integers<std::int64_t, 2>("position_ids"), width, theta);
  for (const char* const name : {"q", "k"})
    io.put(name, rotate_heads_first(io.template get<4>(name), table, RotaryLayout::half_split));
}

template <class T>
void run_rotary_interleaved(CaseIo<T>& io, const Config& config, const std::filesystem::path&,
                            const RunOptions&) {
  // x (B, G, heads a group, L, w), seq_id (B, 1, 1, L).
  const auto x = io.template get<5>("x");
  const auto ids = io.template integers<std::int64_t, 4>("seq_id");
  const auto table = rotary_table<T>(
      ids.template reshaped<2>({ids.extent(0), ids.extent(1) * ids.extent(2) * ids.extent(3)}),
      config.get_int("proj_width", 2, kMax), config.get_double("base", 10000.0, 1e-6, 1e12));
  const auto heads =
      x.template reshaped<4>({x.extent(0), x.extent(1) * x.extent(2), x.extent(3), x.extent(4)});
  io.put(
      "x",
      rotate_heads_first(heads, table, RotaryLayout::interleaved).template reshaped<5>(x.shape()));
}

namespace {

const RegisterModel registered[] = {
    {"blocks/causal_gqa_rope_attention", "arXiv 2409.16040 (ICLR 2025)",
     "attention with grouped heads and a cache", true, true,
     SEQUIN_CLI_RUN(run_causal_gqa_rope_attention)},
    {"blocks/rotary_hf", "arXiv 2104.09864", "rotary positions, halves", true, true,
     SEQUIN_CLI_RUN(run_rotary_hf)},
    {"blocks/rotary_interleaved", "arXiv 2104.09864", "rotary positions, neighbours", true, true,
     SEQUIN_CLI_RUN(run_rotary_interleaved)}};

}  // namespace

}  // namespace sequin_cli
