// Cases of the blocks that speech separators are made of.
#include "models.hpp"

#include "sequin/blocks/flash_gau.hpp"
#include "sequin/blocks/fsmn.hpp"
#include "sequin/blocks/speech_norm.hpp"
#include "sequin/io/load_model.hpp"
#include "sequin/ops/loss.hpp"

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

/// Loads the block, runs `forward` on it, writes y, the loss and the gradients.
template <class T, std::size_t Rank, class Block, class Forward>
void run_block(CaseIo<T>& io, const std::filesystem::path& dir, const RunOptions& options,
               Block& block, Forward&& forward) {
  if (options.stream)
    throw ConfigError(dir.string() +
                      ": --stream: expected a causal block, found one that sees the future");
  load_weights(block, open_weights(dir));
  auto x = io.template get<Rank>("x");
  if (options.grad) {
    set_requires_grad(block);
    x.set_requires_grad();
  } else {
    prepare(block);
  }
  Tape tape;
  const Tensor<T, Rank> y = forward(x);
  io.put("y", y);
  if (!io.has("target")) return;
  const Tensor<T, 0> loss = mse_loss(y, io.template get<Rank>("target"));
  io.put("loss", loss);
  if (!options.grad) return;
  const Gradients g = tape.gradients(loss);
  io.put_gradients(g, block);
  io.put_gradient("input.x", g, x);
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

/// The norms of asteroid: gLN over everything, fgLN over time for each channel, cgLN over all that
/// came before.
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
  FlashGauConfig c;
  c.dim = config.get_int("dim", 1, kMax);
  c.group_size = config.get_int("group_size", 256, 1, kMax);
  c.query_key_dim = config.get_int("query_key_dim", 128, 1, kMax);
  c.rotary_dim = config.get_int("rotary_dim", (std::min)(index_t{32}, c.query_key_dim), 0, kMax);
  c.causal = config.get_bool("causal", false);
  c.shift_tokens = config.get_bool("shift_tokens", true);
  c.norm = conv_norm(config);
  FlashGau<T> block(c);
  Tensor<T, 2> mask;
  if (io.has("mask")) mask = io.template integers<std::uint8_t, 2>("mask").template cast<T>();
  run_block<T, 3>(io, dir, options, block,
                  [&](const Tensor<T, 3>& x) { return block.forward(x, mask); });
}

template <class T>
void run_ffconvm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                 const RunOptions& options) {
  FFConvM<T> block(config.get_int("dim_in", 1, kMax), config.get_int("dim_out", 1, kMax),
                   conv_norm(config), config.get_int("kernel_size", 17, 1, 4095));
  run_block<T, 3>(io, dir, options, block, [&](const Tensor<T, 3>& x) { return block.forward(x); });
}

template <class T>
void run_fsmn(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
              const RunOptions& options) {
  const std::string kind = config.get_string("kind", "");
  const index_t lorder = config.get_int("lorder", 20, 1, 4096);
  if (kind == "gated_block" || kind == "gated_block_dilated") {
    GatedFsmnBlock<T> block(GatedFsmnConfig{config.get_int("dim", 1, kMax),
                                            config.get_int("inner_channels", 256, 1, kMax), lorder,
                                            kind == "gated_block_dilated"});
    return run_block<T, 3>(io, dir, options, block,
                           [&](const Tensor<T, 3>& x) { return block.forward(x); });
  }
  const index_t depth = config.get_int("depth", 2, 1, 16);
  if (kind == "densenet") {
    DilatedDenseNet<T> block(config.get_int("in_channels", 1, kMax), depth, lorder);
    return run_block<T, 4>(io, dir, options, block, [&](const Tensor<T, 4>& x) {
      const Tensor<T, 3> flat = reshape<3>(x, {x.extent(0), x.extent(1), x.extent(2)});
      return reshape<4>(transpose(block.forward(transpose(flat, 1, 2)), 1, 2), x.shape());
    });
  }
  if (kind == "ffconvm_dilated") {
    const index_t in = config.get_int("dim_in", 1, kMax);
    const index_t out = config.get_int("dim_out", 1, kMax);
    DilatedFFConv<T> block{LayerNorm<T>(in), Linear<T>(in, out),
                           DilatedDenseNet<T>(out, depth, lorder)};
    return run_block<T, 3>(io, dir, options, block,
                           [&](const Tensor<T, 3>& x) { return block.forward(x); });
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
  Fsmn<T> block(c);
  run_block<T, 3>(io, dir, options, block, [&](const Tensor<T, 3>& x) { return block.forward(x); });
}

template <class T>
void run_scale_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                    const RunOptions& options) {
  ScaleNorm<T> block(config.get_double("eps", 1e-5, 0.0, 1.0));
  const auto forward = [&](const auto& x) { return block.forward(x); };
  switch (io.rank("x")) {
    case 2:
      return run_block<T, 2>(io, dir, options, block, forward);
    case 3:
      return run_block<T, 3>(io, dir, options, block, forward);
    default:
      return run_block<T, 4>(io, dir, options, block, forward);
  }
}

template <class T>
void run_global_layer_norm(CaseIo<T>& io, const Config& config, const std::filesystem::path& dir,
                           const RunOptions& options) {
  const std::string norm = config.get_string("norm", "gln");
  const index_t dim = config.get_int("dim", 1, kMax);
  const double eps = config.get_double("eps", 1e-8, 0.0, 1.0);
  // (B, C, ...) to (B, T, C) and back.
  const auto run = [&](auto& block, const auto& forward) {
    const auto wrapped = [&](const auto& x) {
      const index_t steps = x.size() / (x.extent(0) * x.extent(1));
      const Tensor<T, 3> flat = reshape<3>(x, Shape<3>{x.extent(0), x.extent(1), steps});
      const Tensor<T, 3> y = transpose(forward(transpose(flat, 1, 2)), 1, 2);
      return reshape<std::remove_cvref_t<decltype(x)>::kRank>(y, x.shape());
    };
    if (io.rank("x") == 4)
      run_block<T, 4>(io, dir, options, block, wrapped);
    else
      run_block<T, 3>(io, dir, options, block, wrapped);
  };
  if (norm == "gln" || norm == "cln" || norm == "ln") {
    const auto kind = norm == "gln"   ? SpeechNormKind::gln
                      : norm == "cln" ? SpeechNormKind::cln
                                      : SpeechNormKind::ln;
    SpeechNorm<T> block(kind, dim, static_cast<int>(io.rank("x")), eps);
    return run(block, [&](const Tensor<T, 3>& x) { return block.forward(x); });
  }
  AsteroidNorm<T> block{Tensor<T, 1>({dim}, T{1}), Tensor<T, 1>(Shape<1>{dim})};
  if (norm == "gLN")
    return run(block,
               [&](const Tensor<T, 3>& x) { return global_norm(x, block.gamma, block.beta, eps); });
  if (norm == "fgLN")
    return run(block, [&](const Tensor<T, 3>& x) {
      return instance_norm(x, block.gamma, block.beta, eps);
    });
  if (norm == "cLN")
    return run(block,
               [&](const Tensor<T, 3>& x) { return layer_norm(x, block.gamma, block.beta, eps); });
  if (norm == "cgLN")
    return run(block, [&](const Tensor<T, 3>& x) {
      return cumulative_norm(x, block.gamma, block.beta, eps);
    });
  throw ConfigError(config.label() + ": norm: expected gln, cln, ln, gLN, fgLN, cLN or cgLN, " +
                    "found '" + detail::printable(norm) + "'");
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
