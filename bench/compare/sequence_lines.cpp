// Scans, transforms and optimiser steps.
#include "local_peers.hpp"
#include "run_in_arena.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/selective_scan.hpp"
#include "sequin/train/optimizer.hpp"

namespace sequin_compare {

using namespace sequin;

namespace {

struct ScanKeep {
  Tensor<float, 3> u, delta, B, C, z;
  Tensor<float, 2> A;
  Tensor<float, 1> D;
  SelectiveScanOptions<float> options;
};

/// Mamba's scan with softplus, skip and gate: 16 states a channel.
Line scan_line(index_t steps, index_t channels) {
  const auto keep = std::make_shared<ScanKeep>();
  Line line;
  line.keep = keep;
  line.inputs = {drawn("u", {1, steps, channels}, 1),
                 drawn("delta", {1, steps, channels}, 2),
                 drawn("B", {1, steps, 16}, 3),
                 drawn("C", {1, steps, 16}, 4),
                 drawn("z", {1, steps, channels}, 5),
                 drawn("A", {channels, 16}, 6),
                 drawn("D", {channels}, 7)};
  for (float& a : line.inputs[5].values) a = -1.5f + a;
  keep->u = tensor<3>(line.inputs[0]);
  keep->delta = tensor<3>(line.inputs[1]);
  keep->B = tensor<3>(line.inputs[2]);
  keep->C = tensor<3>(line.inputs[3]);
  keep->z = tensor<3>(line.inputs[4]);
  keep->A = tensor<2>(line.inputs[5]);
  keep->D = tensor<1>(line.inputs[6]);
  keep->options.D = keep->D;
  keep->options.z = keep->z;
  keep->options.delta_softplus = true;
  const auto all = static_cast<double>(steps * channels);
  line.work.exps = 16 * all;
  line.work.flops = 6.0 * 16 * all;
  line.work.bytes = 4.0 * 4 * all;
  set_own(line, [k = keep.get()] {
    return selective_scan(k->u, k->delta, k->A, k->B, k->C, k->options).y;
  });
  line.request = {{"op", "selective_scan"}};
  return line;
}

Line adam_line(index_t count) {
  struct Keep {
    ParameterList<float> list;
    std::vector<Tensor<float, 1>> gradients;
    std::unique_ptr<Adam<float>> adam;
  };
  const auto keep = std::make_shared<Keep>();
  Line line;
  line.keep = keep;
  line.inputs = {drawn("x", {count}, 1), drawn("gradient", {count}, 2)};
  auto x = tensor<1>(line.inputs[0]);
  x.set_requires_grad(true);
  struct One {
    using value_type = float;
    Tensor<float, 1>* x;
    void visit(Visitor<float>& v) { v.parameter("x", *x); }
  } one{&x};
  keep->list = parameters(one);
  keep->adam = std::make_unique<Adam<float>>(keep->list, AdamOptions{});
  keep->gradients = {tensor<1>(line.inputs[1])};
  line.work.bytes = 4.0 * 7 * static_cast<double>(count);
  line.run = [k = keep.get()] { k->adam->step(std::span<const Tensor<float, 1>>(k->gradients)); };
  line.request = {{"op", "adam"}, {"trains", true}};
  return line;
}

}  // namespace

void add_sequence_lines(std::vector<LineMaker>& lines) {
  for (const index_t steps : {1, 64, 2048})
    lines.push_back({"selective scan",
                     "16 states, 1536 channels, " + std::to_string(steps) + " steps",
                     [=](index_t) { return scan_line(steps, 1536); }});
  for (const index_t count : {100000, 5000000})
    lines.push_back({"training", "Adam step, " + std::to_string(count) + " parameters",
                     [=](index_t) { return adam_line(count); }});
}

}  // namespace sequin_compare
