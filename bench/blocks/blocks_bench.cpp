// Every block on its own: a forward pass in a fitted arena, and one with its backward pass. One
// sequence of 512 steps of width 256 unless a line says otherwise.
#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/attention_layer.hpp"
#include "sequin/blocks/causal_self_attention.hpp"
#include "sequin/blocks/data_embedding.hpp"
#include "sequin/blocks/distil_conv.hpp"
#include "sequin/blocks/flash_gau.hpp"
#include "sequin/blocks/fsmn.hpp"
#include "sequin/blocks/mamba_mixer.hpp"
#include "sequin/blocks/norm.hpp"
#include "sequin/blocks/prob_sparse.hpp"
#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/blocks/speech_norm.hpp"
#include "sequin/blocks/swiglu.hpp"
#include "sequin/core/arena.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/time_norm.hpp"
#include "support/noise.hpp"

#include <benchmark/benchmark.h>

namespace {

using namespace sequin;
using sequin_bench::noise;

constexpr index_t kTime = 512;
constexpr index_t kWidth = 256;

template <class Block>
Block drawn(Block block) {
  Generator generator(2);
  if constexpr (requires { block.initialize(generator); }) block.initialize(generator);
  return block;
}

/// Times `forward(block, x)`, then the same with the gradients of its sum.
template <class Block, class Forward>
void measure(const std::string& name, Block made, Forward forward,
             Shape<3> shape = {1, kTime, kWidth}) {
  const auto body = [made = drawn(std::move(made)), forward, shape](benchmark::State& state,
                                                                    bool backward) {
    auto x = noise(shape);
    Block block = made;
    if (backward) {
      set_requires_grad(block);
      x.set_requires_grad(true);
    } else {
      prepare(block);
    }
    Arena arena;
    for (auto _ : state) {
      {
        const ArenaScope scope(&arena);
        if (backward) {
          Tape tape;
          benchmark::DoNotOptimize(tape.gradients(sum(forward(block, x))));
        } else {
          benchmark::DoNotOptimize(forward(block, x).data());
        }
      }
      arena.fit();
    }
    state.SetItemsProcessed(state.iterations() * shape[0] * shape[1]);
    state.counters["MB"] = static_cast<double>(arena.capacity()) / 1e6;
  };
  const auto add = [&](const std::string& label, bool backward) {
    benchmark::RegisterBenchmark(label.c_str(), [body, backward](benchmark::State& state) {
      body(state, backward);
    })->Unit(benchmark::kMicrosecond);
  };
  add(name, false);
  add(name + "/training", true);
}

/// A block whose forward pass takes x alone.
template <class Block>
void measure(const std::string& name, Block block, Shape<3> shape = {1, kTime, kWidth}) {
  measure(
      name, std::move(block), [](const Block& b, const auto& x) { return b.forward(x); }, shape);
}

void attentions() {
  const auto self = [](const auto& b, const auto& x) { return b.forward(x, x, x); };
  AttentionLayerConfig layer;
  layer.d_model = kWidth;
  layer.n_heads = 8;
  measure("attention", AttentionLayer<float>(layer, &prob_sparse<float>), self);
  layer.kind = AttentionKind::prob_sparse;
  measure("prob_sparse_attention", AttentionLayer<float>(layer, &prob_sparse<float>), self);

  CausalSelfAttentionConfig grouped;
  grouped.hidden_size = kWidth;
  grouped.num_attention_heads = 8;
  grouped.num_key_value_heads = 2;
  Tensor<std::int64_t, 2> positions({1, kTime});
  for (index_t t = 0; t < kTime; ++t) positions(0, t) = t;
  measure("causal_self_attention/8_heads_2_of_keys", CausalSelfAttention<float>(grouped),
          [rotary = rotary_table<float>(positions, kWidth / 8, 1e4)](const auto& b, const auto& x) {
            return b.forward(x, rotary);
          });

  FlashGauConfig flash;
  flash.dim = kWidth;
  measure("flash_gau", FlashGau<float>(flash));
}

void convolutions() {
  measure("distil_conv", DistilConv<float>(kWidth));
  measure("ff_conv/scale_norm", FFConvM<float>(kWidth, kWidth, FFConvNorm::scale_norm));
  measure("ff_conv/layer_norm", FFConvM<float>(kWidth, kWidth, FFConvNorm::layer_norm));
  FsmnConfig fsmn;
  fsmn.dim = fsmn.hidden = kWidth;
  measure("fsmn", Fsmn<float>(fsmn));
  fsmn.kind = FsmnKind::dilated;
  measure("fsmn/dilated", Fsmn<float>(fsmn));
  GatedFsmnConfig gated;
  gated.dim = kWidth;
  measure("gated_fsmn_block", GatedFsmnBlock<float>(gated));
  DataEmbeddingConfig embedding;
  embedding.c_in = 7;
  embedding.d_model = kWidth;
  measure("data_embedding/7_series", DataEmbedding<float>(embedding), Shape<3>{1, kTime, 7});
}

void mixers() {
  MambaMixerConfig mamba;
  mamba.d_model = kWidth;
  measure("mamba_mixer", MambaMixer<float>(mamba));
  measure("swiglu/inner_1024", SwiGLU<float>(kWidth, 1024));
  SparseMoeConfig moe;
  moe.hidden_size = kWidth;
  moe.intermediate_size = 1024;
  moe.num_experts = 8;
  moe.num_experts_per_tok = 2;
  measure("sparse_moe/2_of_8", SparseMoe<float>(moe));
}

/// Its weights are parameters of the function.
struct CumulativeNorm {
  using value_type = float;
  Tensor<float, 1> weight = Tensor<float, 1>({kWidth}, 1.0F);
  Tensor<float, 1> bias = Tensor<float, 1>(Shape<1>{kWidth});
  void visit(Visitor<float>& v) {
    v.parameter("weight", weight);
    v.parameter("bias", bias);
  }
};

void norms() {
  measure("layer_norm", LayerNorm<float>(kWidth));
  measure("rms_norm", RMSNorm<float>(kWidth));
  measure("scale_norm", ScaleNorm<float>());
  measure("global_layer_norm", SpeechNorm<float>(SpeechNormKind::ln, kWidth));
  measure("cumulative_layer_norm", CumulativeNorm{},
          [](const auto& n, const auto& x) { return cumulative_norm(x, n.weight, n.bias, 1e-8); });
}

}  // namespace

int main(int argc, char** argv) {
  attentions();
  convolutions();
  mixers();
  norms();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
