// Attention of every kind.
#include "run_in_arena.hpp"

#include "sequin/ops/attention.hpp"
#include "sequin/ops/chunk_attention.hpp"
#include "sequin/ops/prob_sparse_attention.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Keep {
  Tensor<float, 4> q, k, v;
  Tensor<std::int32_t, 2> samples;
  ChunkAttentionInputs<float> chunk;
  Tensor<float, 3> values;
};

/// 8 heads of width 64; `queries` of them over `keys` keys.
Line attention_line(index_t queries, index_t keys, bool causal) {
  const auto keep = std::make_shared<Keep>();
  Line line;
  line.keep = keep;
  line.inputs = {drawn("q", {1, queries, 8, 64}, 1, 2), drawn("k", {1, keys, 8, 64}, 2, 2),
                 drawn("v", {1, keys, 8, 64}, 3)};
  keep->q = tensor<4>(line.inputs[0]);
  keep->k = tensor<4>(line.inputs[1]);
  keep->v = tensor<4>(line.inputs[2]);
  // A causal map has half of the pairs.
  const double pairs = causal && queries == keys
                           ? 0.5 * static_cast<double>(keys) * static_cast<double>(keys + 1)
                           : static_cast<double>(queries * keys);
  line.work.flops = 4.0 * 8 * 64 * pairs;
  line.work.exps = 8 * pairs;
  line.work.bytes = 4.0 * 8 * 64 * static_cast<double>(2 * queries + 2 * keys);
  set_own(line, [k = keep.get(), causal] {
    AttentionOptions options;
    options.causal = causal;
    return attention(k->q, k->k, k->v, options);
  });
  line.request = {{"op", "attention"}, {"causal", causal}};
  return line;
}

Line prob_sparse_line(index_t length) {
  const auto keep = std::make_shared<Keep>();
  Line line;
  line.keep = keep;
  keep->q = tensor<4>(drawn("q", {1, length, 8, 64}, 1));
  keep->k = tensor<4>(drawn("k", {1, length, 8, 64}, 2));
  keep->v = tensor<4>(drawn("v", {1, length, 8, 64}, 3));
  Generator random(4);
  keep->samples = prob_sparse_samples(length, length, 5, random);
  const auto chosen = static_cast<double>(prob_sparse_count(5, length));
  line.work.flops = 2.0 * 8 * 64 * chosen * static_cast<double>(3 * length);
  line.work.bytes = 4.0 * 8 * 64 * static_cast<double>(4 * length);
  set_own(line, [k = keep.get()] { return prob_sparse_attention(k->q, k->k, k->v, k->samples); });
  return line;
}

Line chunk_line(index_t length) {
  const auto keep = std::make_shared<Keep>();
  Line line;
  line.keep = keep;
  for (auto* t : {&keep->chunk.quad_q, &keep->chunk.lin_q, &keep->chunk.quad_k, &keep->chunk.lin_k})
    *t = tensor<3>(drawn("q", {1, length, 128}, 1));
  keep->values = tensor<3>(drawn("v", {1, length, 2048}, 5));
  const auto steps = static_cast<double>(length);
  line.work.flops = 2 * steps * (256.0 * (128 + 2048) + 2.0 * 128 * 2048);
  line.work.bytes = 4 * steps * (4 * 128 + 2 * 2048);
  set_own(line, [k = keep.get()] { return chunk_attention(k->chunk, k->values); });
  return line;
}

}  // namespace

void add_attention_lines(std::vector<LineMaker>& lines) {
  const char* const group = "attention, 8 heads of 64";
  for (const bool causal : {false, true})
    for (const index_t length : {96, 256, 512, 1024, 2048, 4096})
      lines.push_back({group, (causal ? "causal, length " : "length ") + std::to_string(length),
                       [=](index_t) { return attention_line(length, length, causal); }});
  for (const index_t keys : {256, 4096})
    lines.push_back({group, "one query over a cache of " + std::to_string(keys),
                     [=](index_t) { return attention_line(1, keys, false); }});
  for (const index_t length : {96, 1024, 4096})
    lines.push_back({group, "ProbSparse, factor 5, length " + std::to_string(length),
                     [=](index_t) { return prob_sparse_line(length); }});
  for (const index_t length : {1000, 4000})
    lines.push_back({"joint chunk attention",
                     "groups of 256, width 128, values 2048, length " + std::to_string(length),
                     [=](index_t) { return chunk_line(length); }});
}

}  // namespace sequin_compare
