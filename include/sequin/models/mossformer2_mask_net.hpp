/// The network of MossFormer2 that makes masks of features.
#pragma once

#include "sequin/blocks/flash_gau.hpp"
#include "sequin/blocks/fsmn.hpp"
#include "sequin/models/mossformer2_config.hpp"

#include <optional>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// The computation block: FLASH layers and gated FSMN blocks in turn, a LayerNorm, and around all a
/// norm and a skip. `MossformerBlock_GFSMN` in `Computation_Block` (ClearerVoice), or in
/// `Dual_Computation_Block` (stand-alone), names included.
template <Scalar T>
class MossFormerStack {
 public:
  using value_type = T;

  std::vector<FlashGau<T>> layers;
  std::vector<GatedFsmnBlock<T>> fsmn;
  LayerNorm<T> norm;
  std::optional<Linear<T>> intra_linear;
  SpeechNorm<T> intra_norm;

  explicit MossFormerStack(const MossFormer2Config& c)
      : norm(c.channels, 1e-6), intra_norm(c.norm, c.channels), config_(c) {
    FlashGauConfig gau;
    gau.dim = c.channels;
    gau.group_size = c.group_size;
    gau.query_key_dim = c.query_key_dim;
    gau.rotary_dim = (std::min)(index_t{32}, c.query_key_dim);
    gau.causal = c.causal;
    for (index_t i = 0; i < c.num_layers; ++i) {
      layers.emplace_back(gau);
      fsmn.emplace_back(GatedFsmnConfig{c.channels, c.inner_channels, c.lorder, c.separates()});
    }
    if (c.extra_linear) intra_linear.emplace(c.channels, c.channels);
  }

  /// x (B, L, D) -> (B, L, D).
  Tensor<T, 3> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context) const {
    Tensor<T, 3> y = x;
    for (std::size_t i = 0; i < layers.size(); ++i)
      y = fsmn[i].forward(layers[i].forward(y, {}, context), context);
    y = norm.forward(y);
    if (intra_linear) y = intra_linear->forward(y);
    y = intra_norm.forward(y, context);
    return probe(*this, config_.skip_around_intra ? y + x : y);
  }

  void initialize(Generator& generator) {
    for (auto& layer : layers) layer.initialize(generator);
    for (auto& block : fsmn) block.initialize(generator);
    if (intra_linear) intra_linear->initialize(generator);
  }

  void visit(Visitor<T>& v) {
    const bool standalone = config_.layout == MossFormer2Config::Layout::standalone;
    const std::string stack = standalone ? "intra_mdl.mdl.flashT" : "intra_mdl.mossformerM";
    v.children(stack + ".layers", layers);
    v.children(stack + ".fsmn", fsmn);
    v.child(standalone ? "intra_mdl.mdl.norm.norm" : "intra_mdl.norm", norm);
    if (intra_linear) v.child("intra_linear.w", *intra_linear);
    v.child("intra_norm", intra_norm);
  }

 private:
  MossFormer2Config config_;
};

/// `MossFormer_MaskNet`: norm, 1x1 convolution, scaled sine positions, computation blocks, and a
/// gated head for each speaker.
template <Scalar T>
class MossFormerMaskNet {
 public:
  using value_type = T;

  SpeechNorm<T> norm;
  PointwiseConv1d<T> conv1d_encoder, conv1d_out, output, output_gate, conv1_decoder;
  Tensor<T, 1> position_scale{{1}, T{1}};
  Tensor<T, 1> inv_freq;  ///< (D / 2), stored and not trained
  std::vector<MossFormerStack<T>> blocks;
  Tensor<T, 1> slope{{1}, T(0.25)};

  explicit MossFormerMaskNet(const MossFormer2Config& c)
      : norm(c.norm, c.in_channels),
        conv1d_encoder(c.in_channels, c.channels, false),
        conv1d_out(c.channels, c.channels * c.num_spks),
        output(c.channels, c.channels),
        output_gate(c.channels, c.channels),
        conv1_decoder(c.channels, c.out_channels, false),
        inv_freq(Shape<1>{c.channels / 2}),
        config_(c) {
    for (index_t i = 0; i < inv_freq.size(); ++i)
      inv_freq(i) = static_cast<T>(
          std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(c.channels)));
    for (index_t i = 0; i < c.num_repeats; ++i) blocks.emplace_back(c);
  }

  /// x (B, L, N) -> masks (B, L, speakers, out_channels), of the first `speakers` (0: all).
  Tensor<T, 4> forward(const Tensor<T, 3>& x, const ForwardContext<T>& context = {},
                       index_t speakers = 0) const {
    Tensor<T, 3> y = conv1d_encoder.forward(norm.forward(x, context));
    if (config_.use_global_pos_enc) y = y + positions(x.extent(1)) * position_scale;
    for (const auto& block : blocks) y = block.forward(y, context);
    y = conv1d_out.forward(prelu(y, slope));
    Tensor<T, 4> each =
        reshape<4>(y, {x.extent(0), x.extent(1), config_.num_spks, config_.channels});
    if (speakers > 0 && speakers < config_.num_spks) each = slice(each, 2, 0, speakers);
    const Tensor<T, 4> gate = output_gate.forward(each, Activation::sigmoid);
    return relu(conv1_decoder.forward(output.forward(each, Activation::tanh) * gate));
  }

  void initialize(Generator& generator) {
    for (auto* conv : {&conv1d_encoder, &conv1d_out, &output, &output_gate, &conv1_decoder})
      conv->initialize(generator);
    for (auto& block : blocks) block.initialize(generator);
  }

  void visit(Visitor<T>& v) {
    v.child("norm", norm);
    v.child("conv1d_encoder", conv1d_encoder);
    if (config_.use_global_pos_enc) {
      v.parameter("pos_enc.scale", position_scale);
      v.buffer("pos_enc.inv_freq", inv_freq);
    }
    if (config_.layout == MossFormer2Config::Layout::standalone)
      v.children("dual_mdl", blocks);
    else
      v.child("mdl", blocks.front());
    v.parameter("prelu.weight", slope);
    v.child("conv1d_out", conv1d_out);
    v.child("output.0", output);
    v.child("output_gate.0", output_gate);
    v.child("conv1_decoder", conv1_decoder);
  }

 private:
  /// (1, L, D): sines in the first half of the channels, cosines in the second.
  Tensor<T, 3> positions(index_t steps) const {
    const RotaryTable<T> table = rotary_table_of(inv_freq, steps);
    return concat(table.sin, table.cos, 2);
  }

  MossFormer2Config config_;
};

}  // namespace sequin::inline SEQUIN_ABI
