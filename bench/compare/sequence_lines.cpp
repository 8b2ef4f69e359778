// Scans, transforms and optimiser steps.
#include "local_peers.hpp"
#include "model_line.hpp"

#include "sequin/autograd/tape.hpp"
#include "sequin/blocks/gru.hpp"
#include "sequin/blocks/lstm.hpp"
#include "sequin/ops/fft.hpp"
#include "sequin/ops/fft_conv1d.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/selective_scan.hpp"
#include "sequin/train/optimizer.hpp"

#include <cmath>

namespace sequin_compare {

using namespace sequin;

namespace {

struct ScanKeep {
  Tensor<float, 3> u, delta, B, C, z;
  Tensor<float, 2> A;
  Tensor<float, 1> D;
  SelectiveScanOptions<float> options;
};

/// Mamba's scan with softplus, skip and gate: 16 states a channel; or with the gradients of all its
/// inputs.
Line scan_line(index_t steps, index_t channels, bool backward = false) {
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
  line.request = {{"op", "selective_scan"}};
  if (backward) {
    for (auto* const x : {&keep->u, &keep->delta, &keep->B, &keep->C, &keep->z})
      x->set_requires_grad(true);
    keep->A.set_requires_grad(true);
    keep->D.set_requires_grad(true);
    keep->options.D = keep->D;
    keep->options.z = keep->z;
    line.work = {};  // the second pass may compute the exponentials again or not
    line.request["trains"] = true;
    set_own(line, [k = keep.get()] {
      Tape tape;
      const auto y = selective_scan(k->u, k->delta, k->A, k->B, k->C, k->options).y;
      return tape.gradients(sum(y)).of(k->delta);
    });
    return line;
  }
  set_own(line, [k = keep.get()] {
    return selective_scan(k->u, k->delta, k->A, k->B, k->C, k->options).y;
  });
  return line;
}

/// Real transforms of 512 channels. A real transform of n values is counted as 2.5 n log2 n.
Line rfft_line(index_t length, bool time_major) {
  constexpr index_t channels = 512;
  struct Keep {
    Input x;
    Tensor<float, 3> by_time;
    Tensor<float, 2> by_channel;
    FftPlan<float> plan;
    Arena arena;
    Spectrum<float, 3> time_spectrum;
    Spectrum<float, 2> channel_spectrum;
    std::vector<float> joined;
  };
  const auto keep = std::make_shared<Keep>();
  if (time_major) {
    keep->x = drawn("x", {1, length, channels}, 1);
    keep->by_time = tensor<3>(keep->x);
  } else {
    keep->x = drawn("x", {1, channels, length}, 1);
    keep->by_channel = tensor<3>(keep->x).reshaped(Shape<2>{channels, length});
  }
  keep->plan = make_fft_plan<float>(length);
  Line line;
  line.keep = keep;
  const auto n = static_cast<double>(length);
  line.work.flops = 2.5 * n * std::log2(n) * channels;
  line.work.bytes = 4.0 * 2 * n * channels;
  // The spectrum of the call before makes room first.
  line.run = [k = keep.get(), time_major] {
    {
      const ArenaScope scope(&k->arena);
      if (time_major) {
        k->time_spectrum = {};
        k->time_spectrum = rfft(k->plan, k->by_time);
      } else {
        k->channel_spectrum = {};
        k->channel_spectrum = rfft_last(k->plan, k->by_channel);
      }
    }
  };
  line.run();
  keep->time_spectrum = {};
  keep->channel_spectrum = {};
  keep->arena.fit();
  line.output = [k = keep.get(), time_major] {
    const auto join = [&](const auto& s) {
      k->joined.assign(s.re.span().begin(), s.re.span().end());
      k->joined.insert(k->joined.end(), s.im.span().begin(), s.im.span().end());
    };
    time_major ? join(std::as_const(k->time_spectrum)) : join(std::as_const(k->channel_spectrum));
    return std::span<const float>(k->joined);
  };
  add_fftw_rfft(line, keep->x.values.data(), length, channels, time_major);
  line.request = {{"op", "rfft"}, {"time_major", time_major}};
  line.inputs = {keep->x};
  return line;
}

/// Each channel's own taps, as many as there are steps, through Fourier transforms.
Line fft_convolution_line(index_t steps, index_t channels) {
  struct Keep {
    Tensor<float, 3> x;
    Tensor<float, 2> weight;
    FftPlan<float> plan;
  };
  const auto keep = std::make_shared<Keep>();
  Line line;
  line.keep = keep;
  line.inputs = {drawn("x", {1, steps, channels}, 1), drawn("weight", {channels, steps}, 2)};
  keep->x = tensor<3>(line.inputs[0]);
  keep->weight = tensor<2>(line.inputs[1]);
  keep->plan = make_fft_conv1d_plan<float>(steps, steps, FftConvMode::kCausal);
  const double n = 2.0 * static_cast<double>(steps);
  line.work.flops = (3 * 2.5 * std::log2(n) + 3) * n * static_cast<double>(channels);
  line.work.bytes = 4.0 * 3 * static_cast<double>(steps * channels);
  set_own(line, [k = keep.get()] { return fft_conv1d(k->plan, k->x, k->weight); });
  line.request = {{"op", "fft_conv1d"}};
  return line;
}

/// A sequence of 256 steps through a GRU or an LSTM.
template <template <class> class Layer>
Line recurrent_line(const char* kind, index_t hidden, index_t gates) {
  struct Keep {
    Layer<float> layer;
    Tensor<float, 3> x;
  };
  RecurrentConfig config;
  config.input_size = config.hidden_size = hidden;
  const auto keep = std::make_shared<Keep>(Keep{Layer<float>(config), {}});
  Generator generator(1);
  keep->layer.initialize(generator);
  Line line;
  line.keep = keep;
  hand_over(line, keep->layer);
  line.inputs.push_back(drawn("x", {1, 256, hidden}, 2));
  keep->x = tensor<3>(line.inputs.back());
  prepare(keep->layer);
  const auto width = static_cast<double>(hidden);
  line.work.flops = 256.0 * 4 * static_cast<double>(gates) * width * width;
  line.work.exps = 256.0 * static_cast<double>(gates) * width;
  set_own(line, [k = keep.get()] { return k->layer.forward(k->x); });
  line.request = {{"op", "recurrent"}, {"kind", kind}, {"width", hidden}, {"hidden", hidden}};
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
  lines.push_back({"selective scan", "16 states, 1536 channels, 128 steps, with gradients",
                   [](index_t) { return scan_line(128, 1536, true); }});
  for (const index_t hidden : {16, 64, 256}) {
    const std::string size = ", width " + std::to_string(hidden) + ", 256 steps";
    lines.push_back({"recurrent layers", "GRU" + size,
                     [=](index_t) { return recurrent_line<Gru>("GRU", hidden, 3); }});
    lines.push_back({"recurrent layers", "LSTM" + size,
                     [=](index_t) { return recurrent_line<Lstm>("LSTM", hidden, 4); }});
  }
  for (const bool time_major : {false, true})
    for (const index_t length : {720, 1024, 4096, 5000})
      lines.push_back({"real Fourier transform, 512 channels",
                       std::string(time_major ? "time-major" : "channel-major") + ", length " +
                           std::to_string(length),
                       [=](index_t) { return rfft_line(length, time_major); }});
  for (const index_t steps : {1024, 4096})
    lines.push_back({"convolution through transforms, 512 channels",
                     "time-major, as many taps as steps, length " + std::to_string(steps),
                     [=](index_t) { return fft_convolution_line(steps, 512); }});
  for (const index_t count : {100000, 5000000})
    lines.push_back({"training", "Adam step, " + std::to_string(count) + " parameters",
                     [=](index_t) { return adam_line(count); }});
}

}  // namespace sequin_compare
