/// MossFormer2: separation of speakers, enhancement and super-resolution masks.
#pragma once

#include "sequin/models/mossformer2_mask_net.hpp"
#include "sequin/ops/matmul.hpp"

namespace sequin::inline SEQUIN_ABI {

/// Zhao et al., "MossFormer2: Combining Transformer and RNN-Free Recurrent Network for Enhanced
/// Time-Domain Monaural Speech Separation", ICASSP 2024 (arXiv 2312.11825); `MossFormer` of
/// modelscope/ClearerVoice-Studio (train/speech_separation/models/mossformer2) and
/// `Mossformer2Wrapper` of alibabasglab/MossFormer2, parameter names included. Training draws
/// dropout of 0.1 where the official code does.
template <Scalar T>
class MossFormer2 {
 public:
  using value_type = T;
  using Config = MossFormer2Config;

  /// All weights zero but norms and slopes: load them or `initialize`.
  explicit MossFormer2(const Config& config) : config_(config), mask_net_(config) {
    if (!config.separates()) return;
    encoder_ = Tensor<T, 3>({config.in_channels, 1, config.encoder_kernel_size});
    decoder_ = Tensor<T, 3>({config.in_channels, 1, config.encoder_kernel_size});
  }

  const Config& config() const noexcept { return config_; }

  /// mixture (B, T) -> sources (B, T, speakers). Samples at the end that no frame covers are 0.
  /// Throws ShapeError when there are fewer than two frames, ConfigError when the model makes
  /// masks.
  Tensor<T, 3> separate(const Tensor<T, 2>& mixture, const ForwardContext<T>& context = {}) const {
    if (!config_.separates())
      throw ConfigError("MossFormer2: this model makes masks; call mask, not separate");
    const index_t size = config_.encoder_kernel_size;
    const index_t hop = size / 2;
    const index_t batch = mixture.extent(0);
    const index_t length = mixture.extent(1);
    if (batch < 1 || length < size + hop)
      throw ShapeError("MossFormer2: mixture is " + to_string(mixture.shape()) +
                       ", expected [B >= 1, T >= " + std::to_string(size + hop) +
                       "] (two frames of encoder_kernel_size)");
    const index_t speakers = config_.num_spks;
    const index_t n = config_.in_channels;
    const Tensor<T, 3> encoded =
        linear(frames(mixture, size, hop), encoder_, Tensor<T, 1>{}, Activation::relu);
    const index_t steps = encoded.extent(1);
    Tensor<T, 4> sources = mask_net_.forward(encoded, context);
    if (config_.masks) sources = sources * reshape<4>(encoded, {batch, steps, 1, n});
    const Tensor<T, 2> kernels = reshape<2>(decoder_, {n, size});
    const Tensor<T, 2> pieces = matmul(reshape<2>(sources, {batch * steps * speakers, n}), kernels);
    const Tensor<T, 4> in_time =
        transpose(reshape<4>(pieces, {batch, steps, speakers, size}), 1, 2);
    Tensor<T, 2> waves = overlap_add(reshape<3>(in_time, {batch * speakers, steps, size}), hop);
    if (waves.extent(1) < length)
      waves = concat(waves, Tensor<T, 2>({batch * speakers, length - waves.extent(1)}), 1);
    return transpose(reshape<3>(waves, {batch, speakers, length}), 1, 2);
  }

  /// Enhancement: features (B, L, in_channels) -> mask (B, L, out_channels), that of the first
  /// speaker. Super-resolution: log-mel (B, in_channels, L) -> log-mel (B, out_channels, L).
  /// Throws ShapeError, ConfigError when the model separates.
  Tensor<T, 3> mask(const Tensor<T, 3>& features, const ForwardContext<T>& context = {}) const {
    if (config_.separates())
      throw ConfigError("MossFormer2: this model separates; call separate, not mask");
    const bool channels_first = config_.layout == Config::Layout::clearervoice_sr48k;
    const index_t found = features.extent(channels_first ? 1 : 2);
    const index_t steps = features.extent(channels_first ? 2 : 1);
    if (found != config_.in_channels || steps < 1)
      throw ShapeError("MossFormer2: the features are " + to_string(features.shape()) +
                       ", expected " + (channels_first ? "[B, C=" : "[B, L >= 1, C=") +
                       std::to_string(config_.in_channels) + (channels_first ? ", L >= 1]" : "]") +
                       " (C from in_channels)");
    const Tensor<T, 3> x = channels_first ? transpose(features, 1, 2) : features;
    const Tensor<T, 4> made = mask_net_.forward(x, context, 1);
    const Tensor<T, 3> y = reshape<3>(made, {x.extent(0), x.extent(1), config_.out_channels});
    return channels_first ? transpose(y, 1, 2) : y;
  }

  /// Which layout a checkpoint with these names has; empty for none. `has(name)` says whether a
  /// name is there.
  template <class Has>
  static std::string variant_of(Has&& has) {
    if (has("enc.conv1d.weight")) return "the layout clearervoice_ss";
    if (has("encoder.conv1d.weight") && has("masknet.norm.weight")) return "the layout standalone";
    if (has("mossformer.norm.weight")) return "the layout clearervoice_se48k or clearervoice_sr48k";
    return "";
  }

  /// Draws fresh weights by PyTorch's default rules.
  void initialize(Generator& generator) {
    mask_net_.initialize(generator);
    Tensor<T, 1> none;
    if (!config_.separates()) return;
    init::torch_default(encoder_, none, generator);
    init::torch_default(decoder_, none, generator);
  }

  void visit(Visitor<T>& v) {
    switch (config_.layout) {
      case Config::Layout::clearervoice_ss:
        v.parameter("enc.conv1d.weight", encoder_);
        v.child("mask_net", mask_net_);
        v.parameter("dec.weight", decoder_);
        break;
      case Config::Layout::standalone:
        v.parameter("encoder.conv1d.weight", encoder_);
        v.child("masknet", mask_net_);
        v.parameter("decoder.weight", decoder_);
        break;
      case Config::Layout::clearervoice_se48k:
      case Config::Layout::clearervoice_sr48k:
        v.child("mossformer", mask_net_);
        break;
    }
  }

 private:
  Config config_;
  Tensor<T, 3> encoder_, decoder_;  // (N, 1, K)
  MossFormerMaskNet<T> mask_net_;
};

}  // namespace sequin::inline SEQUIN_ABI
