// Convolutions over time: depthwise, causal, dilated and dense.
#include "local_peers.hpp"
#include "model_line.hpp"

#include "sequin/blocks/conv1d.hpp"
#include "sequin/blocks/fsmn.hpp"
#include "sequin/ops/causal_conv1d.hpp"
#include "sequin/ops/depthwise_conv1d.hpp"
#include "sequin/ops/elementwise.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct Keep {
  Input x, weight, bias;
  Tensor<float, 3> input, taps;
  Tensor<float, 1> shift;
};

/// x (1, steps, channels), weight (out, in / groups, taps).
std::shared_ptr<Keep> keep_of(const ConvolutionProblem& p) {
  const auto keep = std::make_shared<Keep>();
  keep->x = drawn("x", {1, p.steps, p.in}, 1);
  keep->weight = drawn("weight", {p.out, p.in / p.groups, p.taps}, 2, 0.2f);
  keep->bias = drawn("bias", {p.out}, 3);
  keep->input = tensor<3>(keep->x);
  keep->taps = tensor<3>(keep->weight);
  keep->shift = tensor<1>(keep->bias);
  return keep;
}

template <class F>
Line convolution_line(ConvolutionProblem p, Activation activation, F own) {
  const auto keep = keep_of(p);
  Line line;
  line.keep = keep;
  const auto steps = static_cast<double>(p.steps);
  line.work.flops = 2.0 * steps * static_cast<double>(p.out * p.in / p.groups * p.taps);
  line.work.bytes =
      4.0 * (steps * static_cast<double>(p.in + p.out) + static_cast<double>(keep->taps.size()));
  if (activation == Activation::silu) line.work.exps = steps * static_cast<double>(p.out);
  set_own(line, [k = keep.get(), own] { return own(*k); });
  p.x = keep->x.values.data();
  p.w = keep->weight.values.data();
  p.bias = keep->bias.values.data();
  if (activation == Activation::identity) add_onednn_convolution(line, p);
  line.request = {
      {"op", "conv1d"},     {"dilation", p.dilation},
      {"before", p.before}, {"after", p.after},
      {"groups", p.groups}, {"activation", activation == Activation::silu ? "silu" : "identity"}};
  line.inputs = {keep->x, keep->weight, keep->bias};
  return line;
}

Line causal_line(index_t steps, index_t channels, bool silu, index_t threads) {
  const ConvolutionProblem p{steps, channels, channels, 4, channels, 1, 3, 0, {}, {}, {}, threads};
  return convolution_line(p, silu ? Activation::silu : Activation::identity, [silu](const Keep& k) {
    return causal_conv1d(k.input, k.taps, {.bias = k.shift, .silu = silu}).y;
  });
}

Line depthwise_line(index_t steps, index_t channels, index_t taps, index_t dilation,
                    index_t threads) {
  const index_t around = (taps - 1) / 2 * dilation;
  const ConvolutionProblem p{steps,  channels, channels, taps, channels, dilation,
                             around, around,   {},       {},   {},       threads};
  return convolution_line(p, Activation::identity, [around, dilation](const Keep& k) {
    return add(depthwise_conv1d(k.input, k.taps, {.padding = around, .dilation = dilation}),
               k.shift);
  });
}

Line dense_line(index_t steps, index_t in, index_t out, index_t taps, index_t threads) {
  const index_t around = (taps - 1) / 2;
  const ConvolutionProblem p{steps, in, out, taps, 1, 1, around, around, {}, {}, {}, threads};
  const auto layer =
      std::make_shared<Conv1d<float>>(in, out, taps, Conv1dOptions{.padding = around});
  return convolution_line(p, Activation::identity, [layer](const Keep& k) {
    if (layer->bias.data() !=
        k.shift.data()) {  // its weight is packed once, for longer than the arena lives
      const ArenaScope heap(nullptr);
      layer->weight = k.taps;
      layer->bias = k.shift;
      prepare(*layer);
    }
    return layer->forward(k.input);
  });
}

/// The plain memory block: two maps, 2 lorder - 1 taps a channel, and the sums around them.
Line fsmn_line(index_t steps, index_t dim, index_t lorder) {
  struct Block {
    Fsmn<float> layer;
    Tensor<float, 3> x;
  };
  const FsmnConfig config{.dim = dim, .hidden = dim, .lorder = lorder};
  const auto keep = std::make_shared<Block>(Block{Fsmn<float>(config), {}});
  Generator generator(1);
  keep->layer.initialize(generator);
  Line line;
  line.keep = keep;
  hand_over(line, keep->layer);
  line.inputs.push_back(drawn("x", {1, steps, dim}, 2));
  keep->x = tensor<3>(line.inputs.back());
  prepare(keep->layer);
  line.work.flops = 2.0 * static_cast<double>(steps * dim * (2 * dim + 2 * lorder - 1));
  line.work.bytes = 4.0 * static_cast<double>(2 * steps * dim + 2 * dim * dim);
  set_own(line, [k = keep.get()] { return k->layer.forward(k->x); });
  line.request = {{"op", "fsmn"}};
  return line;
}

}  // namespace

void add_convolution_lines(std::vector<LineMaker>& lines) {
  const char* const group = "convolution over time";
  for (const bool silu : {false, true})
    for (const index_t steps : {96, 2048})
      lines.push_back({group,
                       std::string("causal depthwise, 4 taps") + (silu ? ", silu" : "") +
                           ", 1536 channels, " + std::to_string(steps) + " steps",
                       [=](index_t threads) { return causal_line(steps, 1536, silu, threads); }});
  for (const auto& [taps, dilation] :
       {std::pair<index_t, index_t>{17, 1}, {3, 8}, {39, 1}, {39, 2}})
    lines.push_back({group,
                     "depthwise, " + std::to_string(taps) + " taps, dilation " +
                         std::to_string(dilation) + ", 256 channels, 1000 steps",
                     [taps = taps, dilation = dilation](index_t threads) {
                       return depthwise_line(1000, 256, taps, dilation, threads);
                     }});
  lines.push_back({group, "FSMN of 20 steps each way, 256 channels, 1000 steps",
                   [](index_t) { return fsmn_line(1000, 256, 20); }});
  lines.push_back({group, "dense, 3 taps, 256 to 256, 1000 steps",
                   [](index_t threads) { return dense_line(1000, 256, 256, 3, threads); }});
  lines.push_back({group, "dense, 3 taps, 7 to 512, 96 steps",
                   [](index_t threads) { return dense_line(96, 7, 512, 3, threads); }});
}

}  // namespace sequin_compare
