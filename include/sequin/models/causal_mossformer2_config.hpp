/// Configuration of the causal MossFormer2.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/shape.hpp"

#include <algorithm>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Hyper-parameters of CausalMossFormer2, under the keys of MossFormer2's layout clearervoice_ss
/// where it has them.
struct CausalMossFormer2Config {
  index_t num_spks = 2;
  index_t encoder_kernel_size = 32;  ///< samples, even; a step takes half as many
  index_t in_channels = 64;          ///< N: of the encoder; key encoder_embedding_dim
  index_t channels = 64;             ///< D; key mossformer_sequence_dim
  index_t num_layers = 4;            ///< key num_mossformer_layer
  index_t group_size = 64;
  index_t query_key_dim = 32;
  index_t inner_channels = 64;
  index_t lorder = 20;         ///< steps that a layer's memory by convolution sees
  index_t taps = 17;           ///< of the other convolutions
  double memory_decay = 0.95;  ///< what a finished group counts beside the next one
  double sampling_rate = 8000;

  /// Samples of a step.
  index_t hop() const noexcept { return encoder_kernel_size / 2; }
  index_t rotary_dim() const noexcept { return (std::min)(index_t{32}, query_key_dim) / 2 * 2; }
  /// There as in MossFormer2Config: it separates, by masks.
  bool separates() const noexcept { return true; }
  static constexpr bool masks = true;

  /// Number of parameters that a model of this configuration has, without making one.
  double parameter_count() const {
    const auto n = static_cast<double>(in_channels);
    const auto d = static_cast<double>(channels);
    const auto q = static_cast<double>(query_key_dim);
    const auto i = static_cast<double>(inner_channels);
    const auto spks = static_cast<double>(num_spks);
    const auto ff = [&](double in, double out) {
      return out * (in + 1 + static_cast<double>(taps));
    };
    const double gau = ff(d, 4 * d) + ff(d, q) + ff(2 * d, d) + 3 + 8 * q;
    const double fsmn = 2 * d * i + i + d + 1 + 4 * i + 2 * (ff(i, i) + 2 * i) + 2 * i * i + i +
                        i * static_cast<double>(lorder);
    return 2 * n * static_cast<double>(encoder_kernel_size) + 2 * n + n * d +
           static_cast<double>(num_layers) * (gau + fsmn) + 2 * d + 1 + spks * (d * d + d) +
           2 * (d * d + d) + d * n;
  }

  /// Throws ConfigError naming key, expected and found.
  template <class Reader>
  static CausalMossFormer2Config read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 16;
    CausalMossFormer2Config c;
    c.num_spks = r.get_int("num_spks", c.num_spks, 1, 64);
    c.encoder_kernel_size = r.get_int("encoder_kernel_size", c.encoder_kernel_size, 2, kMax);
    c.in_channels = r.get_int("encoder_embedding_dim", c.in_channels, 1, kMax);
    c.channels = r.get_int("mossformer_sequence_dim", c.channels, 1, kMax);
    c.num_layers = r.get_int("num_mossformer_layer", c.num_layers, 1, 1024);
    c.group_size = r.get_int("group_size", c.group_size, 1, kMax);
    c.query_key_dim = r.get_int("query_key_dim", c.query_key_dim, 2, kMax);
    c.inner_channels = r.get_int("inner_channels", c.inner_channels, 1, kMax);
    c.lorder = r.get_int("lorder", c.lorder, 1, 4096);
    c.taps = r.get_int("taps", c.taps, 1, 4096);
    c.memory_decay = r.get_double("memory_decay", c.memory_decay, 1e-6, 1.0);
    c.sampling_rate = r.get_double("sampling_rate", c.sampling_rate, 1.0, 1e6);
    if (c.encoder_kernel_size % 2 != 0)
      throw ConfigError(r.label() + ": encoder_kernel_size: expected an even number, found " +
                        std::to_string(c.encoder_kernel_size));
    return c;
  }
};

}  // namespace sequin::inline SEQUIN_ABI
