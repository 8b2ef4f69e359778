/// A causal MossFormer2: speakers separated while they speak, in constant memory.
#pragma once

#include "sequin/blocks/causal_flash_gau.hpp"
#include "sequin/blocks/causal_gated_fsmn.hpp"
#include "sequin/models/causal_mossformer2_config.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What one layer of a CausalMossFormer2 remembers of B sequences.
template <Scalar T>
struct CausalMossFormer2LayerState : StreamState<CausalMossFormer2LayerState<T>> {
  CausalFlashGauState<T> flash;
  CausalGatedFsmnState<T> fsmn;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.child("flash", s.flash...);
    v.child("fsmn", s.fsmn...);
  }
};

/// What a CausalMossFormer2 remembers of B sequences: a copy is independent, its size constant.
template <Scalar T>
struct CausalMossFormer2State : StreamState<CausalMossFormer2State<T>> {
  StateTensor<T, 2> samples;  ///< (B, hop): of the step before
  StateTensor<T, 3> overlap;  ///< (B, speakers, hop): the second half of the last frame
  std::vector<CausalMossFormer2LayerState<T>> layers;

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.tensor("samples", s.samples...);
    v.tensor("overlap", s.overlap...);
    v.children("layers", s.layers...);
  }
};

/// One layer: the gated attention unit, then the gated memory.
template <Scalar T>
class CausalMossFormer2Layer {
 public:
  using value_type = T;
  using State = CausalMossFormer2LayerState<T>;

  CausalFlashGau<T> flash;
  CausalGatedFsmn<T> fsmn;

  explicit CausalMossFormer2Layer(const CausalMossFormer2Config& c)
      : flash({c.channels, c.group_size, c.query_key_dim, c.rotary_dim(), c.taps, c.memory_decay}),
        fsmn({c.channels, c.inner_channels, c.lorder, c.taps}) {}

  State initial_state(index_t batch) const {
    State state;
    state.flash = flash.initial_state(batch);
    state.fsmn = fsmn.initial_state(batch);
    return state;
  }

  /// x (B, T, D) -> (B, T, D).
  Tensor<T, 3> forward(const Tensor<T, 3>& x, State* state) const {
    return probe(*this, fsmn.forward(flash.forward(x, state ? &state->flash : nullptr),
                                     state ? &state->fsmn : nullptr));
  }

  void visit(Visitor<T>& v) {
    v.child("flash", flash);
    v.child("fsmn", fsmn);
  }
};

/// Ours, after MossFormer2 (Zhao et al., ICASSP 2024, arXiv 2312.11825): encoder, mask network and
/// decoder of the same form, every part of which sees the past alone. What stands for what: a
/// LayerNorm of each frame for the norm over the utterance, no absolute positions, CausalFlashGau,
/// CausalGatedFsmn. There is no official code and no official checkpoint.
///
/// A frame spans two hops, and a sample is done when both of its frames are: the output is late by
/// one hop. As a Streamable, a step takes a hop of samples a row and gives one of each speaker.
template <Scalar T>
class CausalMossFormer2 {
 public:
  using value_type = T;
  using Config = CausalMossFormer2Config;
  using State = CausalMossFormer2State<T>;
  using StreamInput = T;

  /// All weights zero but norms and slopes: load them or `initialize`. Throws ConfigError.
  explicit CausalMossFormer2(const Config& c)
      : config_(checked(c)),
        encoder_(c.encoder_kernel_size, c.in_channels, false),
        decoder_(c.in_channels, c.encoder_kernel_size, false),
        conv1d_encoder_(c.in_channels, c.channels, false),
        conv1d_out_(c.channels, c.channels * c.num_spks),
        output_(c.channels, c.channels),
        output_gate_(c.channels, c.channels),
        conv1_decoder_(c.channels, c.in_channels, false),
        norm_(c.in_channels),
        norm_out_(c.channels) {
    for (index_t i = 0; i < c.num_layers; ++i) layers_.emplace_back(c);
  }

  const Config& config() const noexcept { return config_; }

  /// Samples (B, T), T a multiple of the hop and possibly 0 -> (B, T, speakers), late by one hop.
  /// With a state, the signal continues where the last call ended: any cutting into calls gives the
  /// bits of one call; nothing may then be recorded. Throws ShapeError, ConfigError. Real-time safe
  /// under an arena.
  Tensor<T, 3> forward(const Tensor<T, 2>& samples, State* state = nullptr) const {
    check(samples, state);
    const index_t batch = samples.extent(0), length = samples.extent(1);
    const index_t hop = config_.hop(), speakers = config_.num_spks, steps = length / hop;
    if (samples.size() == 0) return Tensor<T, 3>({batch, length, speakers});
    const Tensor<T, 2> before = state != nullptr ? state->samples : Tensor<T, 2>({batch, hop});
    const Tensor<T, 2> signal = concat(before, samples, 1);
    const Tensor<T, 3> encoded = encoder_.forward(frames(signal, 2 * hop, hop), Activation::relu);
    const Tensor<T, 4> sources =
        mask(encoded, state) * reshape<4>(encoded, {batch, steps, 1, config_.in_channels});
    const Tensor<T, 4> pieces =
        transpose(decoder_.forward(sources), 1, 2);  // (B, S, T / hop, 2 hop)
    const Tensor<T, 2> waves =
        overlap_add(reshape<3>(pieces, {batch * speakers, steps, 2 * hop}), hop);
    Tensor<T, 2> done = slice(waves, 1, 0, length);
    if (state != nullptr) carry(signal, waves, done, *state);
    return transpose(reshape<3>(done, {batch, speakers, length}), 1, 2);
  }

  /// mixture (B, T >= 1) -> sources (B, T, speakers), aligned with the mixture: `forward` of it and
  /// of as many zeros as bring its end out. Throws ShapeError.
  Tensor<T, 3> separate(const Tensor<T, 2>& mixture) const {
    const index_t batch = mixture.extent(0), length = mixture.extent(1), hop = config_.hop();
    if (batch < 1 || length < 1)
      throw ShapeError("CausalMossFormer2: mixture is " + to_string(mixture.shape()) +
                       ", expected [B >= 1, T >= 1]");
    const index_t whole = (length + hop - 1) / hop * hop + hop;
    const Tensor<T, 2> zeros({batch, whole - length});
    return slice(forward(concat(mixture, zeros, 1)), 1, hop, hop + length);
  }

  // What Session and BlockStream need.
  State initial_state(index_t batch) const {
    State state;
    state.samples = Tensor<T, 2>({batch, config_.hop()});
    state.overlap = Tensor<T, 3>({batch, config_.num_spks, config_.hop()});
    state.layers.reserve(layers_.size());
    for (const auto& layer : layers_) state.layers.push_back(layer.initial_state(batch));
    return state;
  }
  index_t stream_width() const noexcept { return config_.hop(); }
  /// In hops.
  StreamTiming timing() const noexcept { return {std::nullopt, 1, 1}; }
  /// What is not a number would stay in the state.
  bool accepts(std::span<const T> x) const noexcept {
    return std::all_of(x.begin(), x.end(), [](T v) { return std::isfinite(v); });
  }
  /// A hop of samples of each row -> (B, hop x speakers): a value of each speaker, sample by
  /// sample.
  Tensor<T, 2> step(std::span<const T> x, State& state) const {
    const index_t hop = config_.hop();
    const auto batch = static_cast<index_t>(x.size()) / hop;
    return reshape<2>(forward(Tensor<T, 2>({batch, hop}, x), &state),
                      {batch, hop * config_.num_spks});
  }

  /// Draws fresh weights by PyTorch's default rules, those of queries and keys as FLASH does.
  void initialize(Generator& generator) {
    encoder_.initialize(generator);
    decoder_.initialize(generator);
    for (auto* conv : {&conv1d_encoder_, &conv1d_out_, &output_, &output_gate_, &conv1_decoder_})
      conv->initialize(generator);
    for (auto& layer : layers_) {
      layer.flash.initialize(generator);
      layer.fsmn.initialize(generator);
    }
  }

  void visit(Visitor<T>& v) {
    v.child("encoder", encoder_);
    v.child("norm", norm_);
    v.child("conv1d_encoder", conv1d_encoder_);
    v.children("layers", layers_);
    v.child("norm_out", norm_out_);
    v.parameter("prelu.weight", slope_);
    v.child("conv1d_out", conv1d_out_);
    v.child("output", output_);
    v.child("output_gate", output_gate_);
    v.child("conv1_decoder", conv1_decoder_);
    v.child("decoder", decoder_);
  }

 private:
  static const Config& checked(const Config& c) {
    if (c.encoder_kernel_size < 2 || c.encoder_kernel_size % 2 != 0 || c.num_spks < 1 ||
        c.num_layers < 1 || c.in_channels < 1)
      throw ConfigError(
          "CausalMossFormer2: encoder_kernel_size is " + std::to_string(c.encoder_kernel_size) +
          ", num_spks " + std::to_string(c.num_spks) + ", num_layers " +
          std::to_string(c.num_layers) + " and in_channels " + std::to_string(c.in_channels) +
          ", expected an even number >= 2 and the others >= 1");
    return c;
  }

  void check(const Tensor<T, 2>& samples, const State* state) const {
    const index_t hop = config_.hop();
    if (samples.extent(0) < 1 || samples.extent(1) % hop != 0)
      detail::fail<ShapeError>({"CausalMossFormer2: the samples are ", samples.shape(),
                                ", expected [B >= 1, a multiple of the hop = ", hop, "]"});
    if (state == nullptr) return;
    if (state->layers.size() != layers_.size() ||
        state->samples.shape() != Shape<2>{samples.extent(0), hop} ||
        state->overlap.shape() != Shape<3>{samples.extent(0), config_.num_spks, hop})
      detail::fail<ShapeError>({"CausalMossFormer2: the state is not of this model and batch ",
                                samples.extent(0), "; make it with initial_state"});
    if (recording(samples, encoder_.weight) != nullptr)
      throw ConfigError("CausalMossFormer2: a state cannot be recorded; use it under NoGrad");
  }

  /// encoded (B, L, N) -> masks (B, L, speakers, N).
  Tensor<T, 4> mask(const Tensor<T, 3>& encoded, State* state) const {
    const Tensor<T, 3> x = conv1d_encoder_.forward(norm_.forward(encoded));
    Tensor<T, 3> y = x;
    for (std::size_t i = 0; i < layers_.size(); ++i)
      y = layers_[i].forward(y, state != nullptr ? &state->layers[i] : nullptr);
    y = conv1d_out_.forward(prelu(norm_out_.forward(y) + x, slope_));
    const Tensor<T, 4> each =
        reshape<4>(y, {x.extent(0), x.extent(1), config_.num_spks, config_.channels});
    const Tensor<T, 4> gate = output_gate_.forward(each, Activation::sigmoid);
    return relu(conv1_decoder_.forward(output_.forward(each, Activation::tanh) * gate));
  }

  /// Adds the last call's half frame to `done` (B x speakers, T) and keeps this one's, and the last
  /// samples of the signal.
  void carry(const Tensor<T, 2>& signal, const Tensor<T, 2>& waves, Tensor<T, 2>& done,
             State& state) const {
    const index_t hop = config_.hop(), length = done.extent(1);
    T* const overlap = state.overlap.data();
    for (index_t r = 0; r < done.extent(0); ++r) {
      T* const row = done.data() + r * length;
      for (index_t t = 0; t < hop; ++t) row[t] += overlap[r * hop + t];
      std::copy_n(waves.data() + r * (length + hop) + length, hop, overlap + r * hop);
    }
    T* const samples = state.samples.data();
    for (index_t b = 0; b < signal.extent(0); ++b)
      std::copy_n(signal.data() + b * (length + hop) + length, hop, samples + b * hop);
  }

  Config config_;
  Linear<T> encoder_, decoder_;  // (N, K), (K, N)
  PointwiseConv1d<T> conv1d_encoder_, conv1d_out_, output_, output_gate_, conv1_decoder_;
  LayerNorm<T> norm_, norm_out_;
  Tensor<T, 1> slope_{{1}, T(0.25)};
  std::vector<CausalMossFormer2Layer<T>> layers_;
};

}  // namespace sequin::inline SEQUIN_ABI
