/// Configuration of MossFormer2 in its official layouts.
#pragma once

#include "sequin/blocks/speech_norm.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Hyper-parameters of MossFormer2. The same network is published under several sets of names.
struct MossFormer2Config {
  enum class Layout {
    clearervoice_ss,     ///< ClearerVoice-Studio, speech separation: mixture -> sources
    standalone,          ///< alibabasglab/mossformer2-*: mixture -> sources
    clearervoice_se48k,  ///< enhancement: filter-bank features -> mask
    clearervoice_sr48k,  ///< super-resolution: mel -> mel
  };

  Layout layout = Layout::clearervoice_ss;
  index_t num_spks = 2;
  index_t encoder_kernel_size = 16;  ///< samples; the encoder's stride is half of it
  index_t in_channels = 512;         ///< N: of the encoder, or of the features
  index_t channels = 512;            ///< D
  index_t out_channels = 512;        ///< of the mask
  index_t num_layers = 24;
  index_t num_repeats = 1;  ///< standalone: computation blocks one after the other
  SpeechNormKind norm = SpeechNormKind::ln;
  bool extra_linear = false;
  bool skip_around_intra = true;
  bool use_global_pos_enc = true;
  bool masks = true;  ///< false: the net's output is decoded itself (the whamr checkpoint)

  index_t group_size = 256;
  index_t query_key_dim = 128;
  index_t inner_channels = 256;
  index_t lorder = 20;
  bool causal = false;  ///< the attention only: convolutions and norms see the future still

  // The official long-audio decoding (ClearerVoice's speech separation).
  bool decodes_in_segments = false;  ///< the layout was "clearervoice_ss_decode"
  double sampling_rate = 16000;
  double decode_window = 1;            ///< seconds
  double one_time_decode_length = 60;  ///< seconds; longer audio is decoded in windows

  bool separates() const noexcept {
    return layout == Layout::clearervoice_ss || layout == Layout::standalone;
  }

  /// Number of parameters that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto d = static_cast<double>(channels);
    const auto q = static_cast<double>(query_key_dim);
    const auto i = static_cast<double>(inner_channels);
    const auto n = static_cast<double>(in_channels);
    const auto taps = static_cast<double>(2 * lorder - 1);
    const auto ff = [](double in, double out) { return in * out + 18 * out; };
    const double gau = ff(d, 4 * d) + ff(d, q) + ff(2 * d, d) + 3 + 8 * q + 16;
    const double memory = separates() ? 3 * i * taps + 6 * i : i * taps;
    const double fsmn =
        2 * d * i + i + 1 + d + 4 * i + 2 * (ff(i, i) + 2 * i) + 2 * i * i + i + memory;
    const double block =
        static_cast<double>(num_layers) * (gau + fsmn) + 4 * d + (extra_linear ? d * d + d : 0);
    const double spks = static_cast<double>(num_spks);
    const double net = 2 * n + n * d + 1 + d / 2 + static_cast<double>(num_repeats) * block + 1 +
                       d * d * spks + d * spks + 2 * (d * d + d) +
                       d * static_cast<double>(out_channels);
    return net + (separates() ? 2 * n * static_cast<double>(encoder_kernel_size) : 0);
  }

  /// Reads the official keys of each layout; without "layout" the keys decide. Throws ConfigError.
  template <class Reader>
  static MossFormer2Config read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 16;
    MossFormer2Config c;
    const std::string layout = r.get_string("layout", guess(r));
    if (layout == "clearervoice_ss" || layout == "clearervoice_ss_decode") {
      c.layout = Layout::clearervoice_ss;
      c.decodes_in_segments = layout == "clearervoice_ss_decode";
      c.num_spks = r.get_int("num_spks", 2, 1, 64);
      c.in_channels = r.get_int("encoder_embedding_dim", 512, 1, kMax);
      c.channels = r.get_int("mossformer_sequence_dim", 512, 1, kMax);
      c.num_layers = r.get_int("num_mossformer_layer", 24, 1, 1024);
      if (c.in_channels != c.channels)
        throw ConfigError(r.label() + ": encoder_embedding_dim: expected that of " +
                          "mossformer_sequence_dim, " + std::to_string(c.channels) + ", found " +
                          std::to_string(c.in_channels));
      c.out_channels = c.channels;
      c.sampling_rate = r.get_double("sampling_rate", 16000.0, 1.0, 1e6);
      c.decode_window = r.get_double("decode_window", 1.0, 1e-6, 1e6);
      c.one_time_decode_length = r.get_double("one_time_decode_length", 60.0, 0.0, 1e9);
    } else if (layout == "standalone") {
      c.layout = Layout::standalone;
      c.num_spks = r.get_int("masknet_numspks", 2, 1, 64);
      c.in_channels = r.get_int("encoder_out_nchannels", 512, 1, kMax);
      c.channels = c.out_channels = c.in_channels;
      if (r.get_int("encoder_in_nchannels", 1, 1, 1) != 1) return c;
      c.num_layers = r.get_int("intra_numlayers", 24, 1, 1024);
      c.num_repeats = r.get_int("masknet_numlayers", 1, 1, 1024);
      c.norm = norm_named(r.get_string("masknet_norm", "ln"));
      c.extra_linear = r.get_bool("masknet_useextralinearlayer", false);
      c.skip_around_intra = r.get_bool("masknet_extraskipconnection", true);
      c.masks = r.get_string("config_name", "") != "mossformer2-whamr-2spk";
      c.sampling_rate = r.get_double("sample_rate", 8000.0, 1.0, 1e6);
    } else if (layout == "clearervoice_se48k" || layout == "clearervoice_sr48k") {
      const bool enhances = layout == "clearervoice_se48k";
      c.layout = enhances ? Layout::clearervoice_se48k : Layout::clearervoice_sr48k;
      c.num_spks = r.get_int("num_spks", enhances ? 2 : 1, 1, 64);
      c.in_channels = r.get_int("in_channels", enhances ? 180 : 80, 1, kMax);
      c.channels = r.get_int("out_channels", 512, 1, kMax);
      c.out_channels = r.get_int("out_channels_final", enhances ? 961 : 80, 1, kMax);
      c.num_layers = r.get_int("num_blocks", 24, 1, 1024);
      c.sampling_rate = 48000;
    } else {
      throw ConfigError(r.label() + ": layout: expected clearervoice_ss, clearervoice_ss_decode, " +
                        "standalone, clearervoice_se48k or clearervoice_sr48k, found '" +
                        detail::printable(layout) + "'");
    }
    if (c.layout != Layout::standalone) {
      c.norm = norm_named(r.get_string("norm", "ln"));
      c.skip_around_intra = r.get_bool("skip_around_intra", true);
    }
    c.use_global_pos_enc = r.get_bool("use_global_pos_enc", true);
    c.encoder_kernel_size = r.get_int("encoder_kernel_size", 16, 2, kMax);
    c.group_size = r.get_int("group_size", 256, 1, kMax);
    c.query_key_dim = r.get_int("query_key_dim", 128, 2, kMax);
    c.inner_channels = r.get_int("inner_channels", 256, 1, kMax);
    c.lorder = r.get_int("lorder", 20, 1, 4096);
    c.causal = r.get_bool("causal", false);
    if (r.get_double("expansion_factor", 4.0, 0.0, 1e6) != 4.0)
      throw ConfigError(r.label() +
                        ": expansion_factor: expected 4 (the official network fits no " +
                        "other), found another number");
    if (c.channels % 2 != 0)
      throw ConfigError(r.label() + ": expected an even number of channels, found " +
                        std::to_string(c.channels));
    return c;
  }

 private:
  template <class Reader>
  static std::string guess(const Reader& r) {
    if (r.has("masknet_numspks")) return "standalone";
    if (r.has("out_channels_final"))
      return r.get_int("num_spks", 2, 1, 64) == 1 ? "clearervoice_sr48k" : "clearervoice_se48k";
    return "clearervoice_ss";
  }
  static SpeechNormKind norm_named(const std::string& name) {
    if (name == "ln") return SpeechNormKind::ln;
    if (name == "gln") return SpeechNormKind::gln;
    if (name == "cln") return SpeechNormKind::cln;
    return SpeechNormKind::batch;
  }
};

}  // namespace sequin::inline SEQUIN_ABI
