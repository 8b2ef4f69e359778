// Cases of the blocks that speech separators are made of.
#include "block_case.hpp"
#include "models.hpp"

#include "sequin/blocks/flash_gau.hpp"
#include "sequin/blocks/fsmn.hpp"
#include "sequin/blocks/speech_norm.hpp"

namespace sequin_cli {

using namespace sequin;

namespace {

constexpr index_t kMax = index_t{1} << 16;

FFConvNorm conv_norm(const Config& config) {
  const std::string name = config.get_string("norm_type", "scalenorm");
  if (name == "scalenorm") return FFConvNorm::scale_norm;
  if (name == "layernorm") return FFConvNorm::layer_norm;
  throw ConfigError(config.label() + ": norm_type: expected scalenorm or layernorm, found '" +
                    detail::printable(name) + "'");
}

double area(index_t a, index_t b) { return static_cast<double>(a) * static_cast<double>(b); }

/// x -> y of three axes.
template <class T, class Block>
void run_sequence(CaseIo<T>& io, Block block, const RunOptions& options) {
  run_block<T, 3>(io, block, "x", "y", options,
                  [&](const Tensor<T, 3>& x) { return block.forward(x); });
}

/// LayerNorm -> Linear -> SiLU -> dense net: `FFConvM_Dilated`.
template <class T>
struct DilatedFFConv {
  using value_type = T;
  LayerNorm<T> norm;
  Linear<T> linear;
  DilatedDenseNet<T> net;

  Tensor<T, 3> forward(const Tensor<T, 3>& x) const {
    return net.forward(linear.forward(norm.forward(x), Activation::silu));
  }
  void visit(Visitor<T>& v) {
    v.child("mdl.0", norm);
    v.child("mdl.1", linear);
    v.child("mdl.3", net);
  }
};

/// The parameters of asteroid's norms: gLN over everything, fgLN over time for each channel, cLN
/// over the channels of each step, cgLN over all that came before.
template <class T>
struct AsteroidNorm {
  using value_type = T;
  Tensor<T, 1> gamma, beta;

  void visit(Visitor<T>& v) {
    v.parameter("gamma", gamma);
    v.parameter("beta", beta);
  }
};

}  // namespace

template <class T>
void run_flash_gau(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                   const RunOptions& options) {
  refuse_stream(config, options);
  FlashGauConfig c;
  c.dim = config.get_int("dim", 1, kMax);
  c.group_size = config.get_int("group_size", 256, 1, kMax);
  c.query_key_dim = config.get_int("query_key_dim", 128, 1, kMax);
  c.rotary_dim = config.get_int("rotary_dim", (std::min)(index_t{32}, c.query_key_dim), 0, kMax);
  c.causal = config.get_bool("causal", false);
  c.shift_tokens = config.get_bool("shift_tokens", true);
  c.norm = conv_norm(config);
  auto block = load_block(6 * area(c.dim, c.dim) + area(c.dim, c.query_key_dim), dir,
                          [&] { return FlashGau<T>(c); });
  Tensor<T, 2> mask;
  if (io.has("mask")) mask = io.template integers<std::uint8_t, 2>("mask").template cast<T>();
  run_block<T, 3>(io, block, "x", "y", options,
                  [&](const Tensor<T, 3>& x) { return block.forward(x, mask); });
}

template <class T>
void run_ffconvm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                 const RunOptions& options) {
  refuse_stream(config, options);
  const index_t in = config.get_int("dim_in", 1, kMax);
  const index_t out = config.get_int("dim_out", 1, kMax);
  const index_t taps = config.get_int("kernel_size", 17, 1, 4095);
  run_sequence(io,
               load_block(area(in, out) + area(out, taps), dir,
                          [&] { return FFConvM<T>(in, out, conv_norm(config), taps); }),
               options);
}

template <class T>
void run_fsmn(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
              const RunOptions& options) {
  refuse_stream(config, options);
  const std::string kind = config.get_string("kind", "");
  const index_t lorder = config.get_int("lorder", 20, 1, 4096);
  if (kind == "gated_block" || kind == "gated_block_dilated") {
    GatedFsmnConfig c;
    c.dim = config.get_int("dim", 1, kMax);
    c.inner_channels = config.get_int("inner_channels", 256, 1, kMax);
    c.lorder = lorder;
    c.dilated = kind == "gated_block_dilated";
    const double size =
        2 * area(c.dim, c.inner_channels) + 4 * area(c.inner_channels, c.inner_channels);
    return run_sequence(io, load_block(size, dir, [&] { return GatedFsmnBlock<T>(c); }), options);
  }
  const index_t depth = config.get_int("depth", 2, 1, 16);
  if (kind == "densenet") {
    const index_t channels = config.get_int("in_channels", 1, kMax);
    auto block = load_block(area(channels, depth * lorder), dir,
                            [&] { return DilatedDenseNet<T>(channels, depth, lorder); });
    return run_block<T, 4>(io, block, "x", "y", options, [&](const Tensor<T, 4>& x) {
      const Tensor<T, 3> flat = reshape<3>(x, {x.extent(0), x.extent(1), x.extent(2)});
      return reshape<4>(transpose(block.forward(transpose(flat, 1, 2)), 1, 2), x.shape());
    });
  }
  if (kind == "ffconvm_dilated") {
    const index_t in = config.get_int("dim_in", 1, kMax);
    const index_t out = config.get_int("dim_out", 1, kMax);
    return run_sequence(io,
                        load_block(area(in, out) + area(out, depth * lorder), dir,
                                   [&] {
                                     return DilatedFFConv<T>{
                                         LayerNorm<T>(in), Linear<T>(in, out),
                                         DilatedDenseNet<T>(out, depth, lorder)};
                                   }),
                        options);
  }
  FsmnConfig c;
  if (kind == "unideep") {
    c.kind = FsmnKind::plain;
  } else if (kind == "unideep_dual") {
    c.kind = FsmnKind::dual;
  } else if (kind == "unideep_dilated") {
    c.kind = FsmnKind::dilated;
  } else {
    throw ConfigError(config.label() + ": kind: expected unideep, unideep_dual, unideep_dilated, " +
                      "densenet, ffconvm_dilated, gated_block or gated_block_dilated, found '" +
                      detail::printable(kind) + "'");
  }
  c.dim = config.get_int("input_dim", 1, kMax);
  c.hidden = config.get_int("hidden_size", c.dim, 1, kMax);
  c.lorder = lorder;
  c.depth = depth;
  if (config.get_int("output_dim", c.dim, 1, kMax) != c.dim)
    throw ConfigError(config.label() + ": output_dim: expected that of input_dim, " +
                      std::to_string(c.dim));
  run_sequence(io, load_block(2 * area(c.dim, c.hidden), dir, [&] { return Fsmn<T>(c); }), options);
}

template <class T>
void run_scale_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                    const RunOptions& options) {
  refuse_stream(config, options);
  const double eps = config.get_double("eps", 1e-5, 0.0, 1.0);
  auto block = load_block(1, dir, [&] { return ScaleNorm<T>(eps); });
  run_rowwise(io, block, "x", "y", options);
}

template <class T>
void run_global_layer_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                           const RunOptions& options) {
  refuse_stream(config, options);
  const std::string norm = config.get_string("norm", "gln");
  const index_t dim = config.get_int("dim", 1, kMax);
  const double eps = config.get_double("eps", 1e-8, 0.0, 1.0);
  // (B, C, ...) to (B, T, C) and back.
  const auto run = [&](auto& block, const auto& forward) {
    const auto wrapped = [&](const auto& x) {
      index_t steps = 1;
      for (std::size_t i = 2; i < x.shape().size(); ++i) steps *= x.extent(i);
      const Tensor<T, 3> flat = reshape<3>(x, Shape<3>{x.extent(0), x.extent(1), steps});
      const Tensor<T, 3> y = transpose(forward(transpose(flat, 1, 2)), 1, 2);
      return reshape<std::remove_cvref_t<decltype(x)>::kRank>(y, x.shape());
    };
    if (io.rank("x") == 4)
      run_block<T, 4>(io, block, "x", "y", options, wrapped);
    else
      run_block<T, 3>(io, block, "x", "y", options, wrapped);
  };
  if (norm == "gln" || norm == "cln" || norm == "ln") {
    const auto kind = norm == "gln"   ? SpeechNormKind::gln
                      : norm == "cln" ? SpeechNormKind::cln
                                      : SpeechNormKind::ln;
    auto block = load_block(static_cast<double>(dim), dir, [&] {
      return SpeechNorm<T>(kind, dim, static_cast<int>(io.rank("x")), eps);
    });
    return run(block, [&](const Tensor<T, 3>& x) { return block.forward(x); });
  }
  const auto formula = [&]() -> decltype(&global_norm<T>) {
    if (norm == "gLN") return &global_norm<T>;
    if (norm == "fgLN") return &instance_norm<T>;
    if (norm == "cLN") return &layer_norm<T, 3>;
    if (norm == "cgLN") return &cumulative_norm<T>;
    throw ConfigError(config.label() + ": norm: expected gln, cln, ln, gLN, fgLN, cLN or cgLN, " +
                      "found '" + detail::printable(norm) + "'");
  }();
  auto block = load_block(static_cast<double>(dim), dir, [&] {
    return AsteroidNorm<T>{Tensor<T, 1>({dim}, T{1}), Tensor<T, 1>(Shape<1>{dim})};
  });
  run(block, [&](const Tensor<T, 3>& x) { return formula(x, block.gamma, block.beta, eps); });
}

namespace {

const RegisterModel registered[] = {
    {"blocks/flash_gau", "arXiv 2202.10447 (ICML 2022)", "gated attention, local and global", false,
     true, SEQUIN_CLI_RUN(run_flash_gau)},
    {"blocks/ffconvm", "arXiv 2312.11825 (ICASSP 2024)",
     "feed-forward with a depthwise convolution", false, true, SEQUIN_CLI_RUN(run_ffconvm)},
    {"blocks/fsmn", "arXiv 1803.05030 (ICASSP 2018)", "memory by convolution over time", false,
     true, SEQUIN_CLI_RUN(run_fsmn)},
    {"blocks/dilated_fsmn_dense", "arXiv 2312.11825 (ICASSP 2024)", "the same, dilated and dense",
     false, true, SEQUIN_CLI_RUN(run_fsmn)},
    {"blocks/scale_norm", "arXiv 1910.05895", "normalisation by the length", false, true,
     SEQUIN_CLI_RUN(run_scale_norm)},
    {"blocks/global_layer_norm", "arXiv 1809.07454", "norms over time and channels", false, true,
     SEQUIN_CLI_RUN(run_global_layer_norm)}};

}  // namespace

}  // namespace sequin_cli
