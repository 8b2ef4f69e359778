// Matrix products with a weight packed once, and what is fused with them.
#include "local_peers.hpp"
#include "run_in_arena.hpp"

#include "sequin/blocks/linear.hpp"
#include "sequin/blocks/sparse_moe.hpp"
#include "sequin/blocks/swiglu.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return "gelu";
    case Activation::silu:
      return "silu";
    case Activation::relu:
      return "relu";
    default:
      return "identity";
  }
}

Line linear_line(index_t rows, index_t in, index_t out, bool bias, Activation activation,
                 index_t threads) {
  struct Keep {
    Input x, weight, bias;
    Tensor<float, 2> input;
    Linear<float> layer;
  };
  const auto keep = std::make_shared<Keep>();
  keep->x = drawn("x", {rows, in}, 1);
  keep->weight = drawn("weight", {out, in}, 2, 0.1f);
  keep->bias = drawn("bias", {out}, 3);
  keep->input = tensor<2>(keep->x);
  keep->layer = Linear<float>(in, out, bias);
  keep->layer.weight.copy_from(keep->weight.values);
  if (bias) keep->layer.bias.copy_from(keep->bias.values);
  prepare(keep->layer);

  Line line;
  line.keep = keep;
  line.work.flops = 2.0 * static_cast<double>(rows * in * out);
  line.work.bytes = 4.0 * static_cast<double>(in * out + rows * (in + out));
  set_own(line, [k = keep.get(), activation] { return k->layer.forward(k->input, activation); });
  const LinearProblem p{rows,
                        in,
                        out,
                        keep->x.values.data(),
                        keep->weight.values.data(),
                        bias ? keep->bias.values.data() : nullptr,
                        activation,
                        threads};
  add_eigen_linear(line, p);
  add_openblas_linear(line, p);
  add_onednn_linear(line, p);
  line.request = {{"op", "linear"}, {"activation", name_of(activation)}};
  line.inputs = {keep->x, keep->weight};
  if (bias) line.inputs.push_back(keep->bias);
  return line;
}

Line swiglu_line(index_t rows, index_t width, index_t inner) {
  struct Keep {
    Tensor<float, 2> x;
    SwiGLU<float> block;
  };
  const auto keep = std::make_shared<Keep>();
  keep->block = SwiGLU<float>(width, inner);
  Line line;
  line.keep = keep;
  line.inputs = {drawn("x", {rows, width}, 1), drawn("gate", {inner, width}, 2, 0.1f),
                 drawn("up", {inner, width}, 3, 0.1f), drawn("down", {width, inner}, 4, 0.1f)};
  keep->x = tensor<2>(line.inputs[0]);
  keep->block.gate_proj.weight.copy_from(line.inputs[1].values);
  keep->block.up_proj.weight.copy_from(line.inputs[2].values);
  keep->block.down_proj.weight.copy_from(line.inputs[3].values);
  prepare(keep->block);
  line.work.flops = 6.0 * static_cast<double>(rows * width * inner);
  line.work.bytes = 4.0 * static_cast<double>(3 * width * inner + 2 * rows * width);
  set_own(line, [k = keep.get()] { return k->block.forward(k->x); });
  line.request = {{"op", "swiglu"}};
  return line;
}

/// Top-2 of 8 experts of Time-MoE's published size, without the shared one.
Line experts_line(index_t rows) {
  SparseMoeConfig config;
  config.hidden_size = 384;
  config.intermediate_size = 1536;
  config.num_experts = 8;
  config.num_experts_per_tok = 2;
  config.shared_expert = false;
  struct Keep {
    Tensor<float, 2> x;
    SparseMoe<float> block;
  };
  const auto keep = std::make_shared<Keep>();
  keep->block = SparseMoe<float>(config);
  const index_t width = config.hidden_size, inner = config.expert_width(), experts = 8;
  Line line;
  line.keep = keep;
  line.inputs = {drawn("x", {rows, width}, 1), drawn("router", {experts, width}, 2),
                 drawn("gate", {experts, inner, width}, 3, 0.1f),
                 drawn("up", {experts, inner, width}, 4, 0.1f),
                 drawn("down", {experts, width, inner}, 5, 0.1f)};
  keep->x = tensor<2>(line.inputs[0]);
  keep->block.gate.weight.copy_from(line.inputs[1].values);
  for (index_t e = 0; e < experts; ++e) {
    auto& expert = keep->block.experts[static_cast<std::size_t>(e)];
    const auto part = [&](std::size_t input) {
      const auto size = static_cast<std::size_t>(inner * width);
      return std::span<const float>(line.inputs[input].values)
          .subspan(static_cast<std::size_t>(e) * size, size);
    };
    expert.gate_proj.weight.copy_from(part(2));
    expert.up_proj.weight.copy_from(part(3));
    expert.down_proj.weight.copy_from(part(4));
  }
  prepare(keep->block);
  const double used = static_cast<double>((std::min)(experts, 2 * rows));
  line.work.flops = static_cast<double>(rows) * (2.0 * 8 * 384 + 2.0 * 6 * 384 * 768);
  line.work.bytes = 4.0 * (used * 3 * 384 * 768 + 2.0 * 384 * static_cast<double>(rows));
  set_own(line, [k = keep.get()] { return k->block.forward(k->x); });
  line.request = {{"op", "experts"}, {"top_k", 2}};
  return line;
}

}  // namespace

void add_product_lines(std::vector<LineMaker>& lines) {
  const auto size = [](index_t in, index_t out) {
    return std::to_string(in) + " to " + std::to_string(out);
  };
  for (const auto& [in, out] : {std::pair<index_t, index_t>{64, 64},
                                {256, 256},
                                {512, 512},
                                {512, 2048},
                                {2048, 512},
                                {768, 3072},
                                {2048, 2048}})
    for (const index_t rows : {1, 8, 64, 96, 512, 1000})
      lines.push_back({"matrix product, packed weight",
                       size(in, out) + ", rows " + std::to_string(rows),
                       [rows, in = in, out = out](index_t threads) {
                         return linear_line(rows, in, out, false, Activation::identity, threads);
                       }});
  for (const Activation activation : {Activation::identity, Activation::gelu, Activation::silu})
    for (const index_t rows : {1, 96, 1000})
      lines.push_back(
          {"fused linear",
           std::string("bias") +
               (activation == Activation::identity ? "" : std::string(", ") + name_of(activation)) +
               ", 512 to 2048, rows " + std::to_string(rows),
           [=](index_t threads) {
             return linear_line(rows, 512, 2048, true, activation, threads);
           }});
  for (const index_t rows : {1, 96, 1000})
    lines.push_back({"fused linear", "SwiGLU, 512 by 1536, rows " + std::to_string(rows),
                     [=](index_t) { return swiglu_line(rows, 512, 1536); }});
  for (const index_t rows : {1, 96, 2048})
    lines.push_back({"experts", "top 2 of 8, 384 by 768, tokens " + std::to_string(rows),
                     [=](index_t) { return experts_line(rows); }});
}

std::vector<LineMaker> all_lines() {
  std::vector<LineMaker> lines;
  add_product_lines(lines);
  add_elementwise_lines(lines);
  add_convolution_lines(lines);
  add_attention_lines(lines);
  add_sequence_lines(lines);
  add_model_lines(lines);
  return lines;
}

}  // namespace sequin_compare
