// sequin info: what is in a folder.
#include "commands.hpp"
#include "models.hpp"

#include "sequin/io/load_model.hpp"
#include "sequin/models/causal_mossformer2_config.hpp"
#include "sequin/models/informer_config.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/mossformer2_config.hpp"
#include "sequin/models/time_moe_config.hpp"
#include "sequin/ops/prob_sparse_attention.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>

namespace sequin_cli {

using namespace sequin;

namespace {

struct InfoArguments {
  std::string dir;
  index_t batch = 1, length = 128, variates = 0;
  double seconds = 2;
};

double multiply_adds(const ITransformerConfig& c, const InfoArguments& a) {
  const auto d = static_cast<double>(c.d_model);
  const auto inner = static_cast<double>(c.d_model / c.n_heads * c.n_heads);
  const auto tokens = static_cast<double>(a.variates > 0 ? a.variates : c.enc_in);
  const double layer =
      tokens * (4 * d * inner + 2 * d * static_cast<double>(c.d_ff)) + 2 * tokens * tokens * inner;
  const bool classifies = c.task == ITransformerConfig::Task::classification;
  const auto out = static_cast<double>(classifies ? c.num_class : c.pred_len);
  return static_cast<double>(a.batch) *
         (tokens * static_cast<double>(c.seq_len) * d + static_cast<double>(c.e_layers) * layer +
          tokens * d * out);
}

double multiply_adds(const MambaConfig& c, const InfoArguments& a) {
  const MambaMixerConfig m = c.mixer();
  const auto d = static_cast<double>(c.d_model);
  const auto e = static_cast<double>(m.d_inner());
  const auto n = static_cast<double>(m.d_state);
  const auto r = static_cast<double>(m.rank());
  const auto hidden = static_cast<double>((c.d_intermediate + 127) / 128 * 128);
  const double layer = 3 * d * e + e * static_cast<double>(m.d_conv) + e * (r + 2 * n) + r * e +
                       3 * e * n + (c.d_intermediate > 0 ? 3 * hidden * d : 0);
  return static_cast<double>(a.batch * a.length) *
         (static_cast<double>(c.n_layer) * layer + d * static_cast<double>(c.vocab_size));
}

double multiply_adds(const TimeMoeConfig& c, const InfoArguments& a) {
  const auto d = static_cast<double>(c.hidden_size);
  const auto inputs = static_cast<double>(c.input_size);
  const auto kv =
      static_cast<double>(c.num_key_value_heads) * d / static_cast<double>(c.num_attention_heads);
  const auto length = static_cast<double>(a.length);
  const SparseMoeConfig m = c.mixture();
  const double inner = static_cast<double>(
      c.use_dense ? c.intermediate_size
                  : c.intermediate_size + m.num_experts_per_tok * m.expert_width());
  const double layer = d * (2 * d + 2 * kv) + d * (length + 1) + 3 * d * inner +
                       (c.use_dense ? 0 : d * static_cast<double>(c.num_experts + 1));
  return static_cast<double>(a.batch) * length *
         (2 * d * inputs + static_cast<double>(c.num_hidden_layers) * layer +
          d * inputs * static_cast<double>(c.total_horizon()));
}

double multiply_adds(const InformerConfig& c, const InfoArguments& a) {
  const auto d = static_cast<double>(c.d_model);
  const auto inner = static_cast<double>(c.d_model / c.n_heads * c.n_heads);
  const auto attention = [&](AttentionKind kind, index_t queries, index_t keys) {
    const auto q = static_cast<double>(queries);
    const auto k = static_cast<double>(keys);
    const double pairs =
        kind == AttentionKind::full
            ? 2 * q * k
            : q * static_cast<double>(prob_sparse_count(c.factor, keys)) +
                  2 * k * static_cast<double>(prob_sparse_count(c.factor, queries));
    return pairs * inner + 2 * (q + k) * d * inner;
  };
  const auto feed_forward = [&](index_t steps) {
    return 2 * static_cast<double>(steps) * d * static_cast<double>(c.d_ff);
  };
  const auto embedding = [&](index_t steps, index_t channels) {
    return static_cast<double>(steps) * d * static_cast<double>(3 * channels + 4);
  };
  double work = embedding(c.seq_len, c.enc_in);
  index_t memory = 0;
  index_t shift = 0;
  for (const index_t layers : c.encoders()) {
    index_t steps = (std::max)(c.seq_len >> shift++, index_t{1});
    for (index_t l = 0; l < layers; ++l) {
      work += attention(c.attn, steps, steps) + feed_forward(steps);
      if (l + 1 == layers || c.distil_padding() == 0) continue;
      work += 3 * static_cast<double>(steps) * d * d;
      steps = (steps + 2 * (c.distil_padding() - 1) - 1) / 2 + 1;
    }
    memory += steps;
  }
  if (c.forecasts()) {
    const index_t steps = c.label_len + c.pred_len;
    const DecoderLayerConfig layer = c.decoder_layer();
    work += embedding(steps, c.dec_in);
    work += static_cast<double>(c.d_layers) *
            (attention(c.attn, steps, steps) +
             attention(layer.cross_attention.kind, steps, memory) + feed_forward(steps));
    work += static_cast<double>(c.pred_len) * d * static_cast<double>(c.c_out);
  } else if (c.task == InformerConfig::Task::classification) {
    work += d * static_cast<double>(c.seq_len) * static_cast<double>(c.num_class);
  } else {
    work += d * static_cast<double>(c.seq_len) * static_cast<double>(c.c_out);
  }
  return static_cast<double>(a.batch) * work;
}

/// Frames of `samples`, or so many frames of features.
double multiply_adds(const MossFormer2Config& c, double frames, index_t batch) {
  const auto d = static_cast<double>(c.channels);
  const auto n = static_cast<double>(c.in_channels);
  const auto q = static_cast<double>(c.query_key_dim);
  const auto i = static_cast<double>(c.inner_channels);
  const auto group = static_cast<double>(c.group_size);
  const auto taps = static_cast<double>(2 * c.lorder - 1);
  const auto speakers = static_cast<double>(c.num_spks);
  const auto ff = [](double in, double out) { return (in + 17) * out; };
  // Scores and sums of a group, and the sums over all groups, of v and u together.
  const double attention = group * (q + 4 * d) + 8 * q * d;
  const double gau = ff(d, 4 * d) + ff(d, q) + ff(2 * d, d) + attention;
  const double memory = (c.separates() ? 3 : 1) * i * taps;
  const double fsmn = 2 * d * i + 2 * ff(i, i) + 2 * i * i + memory;
  const double stack =
      static_cast<double>(c.num_layers) * (gau + fsmn) + (c.extra_linear ? d * d : 0);
  const double heads = speakers * (3 * d * d + d * static_cast<double>(c.out_channels));
  const double codec =
      c.separates() ? (1 + speakers) * n * static_cast<double>(c.encoder_kernel_size) : 0;
  return static_cast<double>(batch) * frames *
         (n * d + static_cast<double>(c.num_repeats) * stack + heads + codec);
}

double multiply_adds(const CausalMossFormer2Config& c, double frames, index_t batch) {
  const auto d = static_cast<double>(c.channels);
  const auto n = static_cast<double>(c.in_channels);
  const auto q = static_cast<double>(c.query_key_dim);
  const auto i = static_cast<double>(c.inner_channels);
  const auto speakers = static_cast<double>(c.num_spks);
  const auto ff = [&](double in, double out) { return (in + static_cast<double>(c.taps)) * out; };
  const double attention = static_cast<double>(c.group_size) * (q + 4 * d) + 8 * q * d;
  const double gau = ff(d, 4 * d) + ff(d, q) + ff(2 * d, d) + attention;
  const double fsmn = 2 * d * i + 2 * ff(i, i) + 2 * i * i + i * static_cast<double>(c.lorder);
  const double heads = speakers * (3 * d * d + d * n);
  const double codec = (1 + speakers) * n * static_cast<double>(c.encoder_kernel_size);
  return static_cast<double>(batch) * frames *
         (n * d + static_cast<double>(c.num_layers) * (gau + fsmn) + heads + codec);
}

int info(const InfoArguments& a) {
  const Config config = Config::load(std::filesystem::path(a.dir) / "config.json");
  const ModelInfo& model = model_of(config);
  std::printf("model       %s, %s\nfor         %s\n", model.name, model.paper, model.purpose);
  std::printf("config      %s\n", config.text().c_str());
  const std::string name = model.name;
  double work = -1;
  std::string given;
  if (name.starts_with("itransformer")) {
    const auto c = ITransformerConfig::read(config);
    work = multiply_adds(c, a);
    given = "[" + std::to_string(a.batch) + ", " + std::to_string(c.seq_len) + ", " +
            std::to_string(a.variates > 0 ? a.variates : c.enc_in) + "]";
  } else if (name.starts_with("informer")) {
    const auto c = InformerConfig::read(config);
    work = multiply_adds(c, a);
    given = "[" + std::to_string(a.batch) + ", " + std::to_string(c.seq_len) + ", " +
            std::to_string(c.enc_in) + "]";
  } else if (name == "mamba") {
    work = multiply_adds(MambaConfig::read(config), a);
    given = "[" + std::to_string(a.batch) + ", " + std::to_string(a.length) + "]";
  } else if (name == "time_moe") {
    const auto c = TimeMoeConfig::read(config);
    work = multiply_adds(c, a);
    given = "[" + std::to_string(a.batch) + ", " + std::to_string(a.length) + ", " +
            std::to_string(c.input_size) + "]";
  } else if (name == "causal_mossformer2") {
    const auto c = CausalMossFormer2Config::read(config);
    const auto samples = static_cast<index_t>(std::llround(a.seconds * c.sampling_rate));
    work = multiply_adds(c, static_cast<double>((samples + c.hop() - 1) / c.hop() + 1), a.batch);
    given = "[" + std::to_string(a.batch) + ", " + std::to_string(samples) + "]";
  } else if (name == "mossformer2") {
    const auto c = MossFormer2Config::read(config);
    const auto samples = static_cast<index_t>(std::llround(a.seconds * c.sampling_rate));
    const index_t stride = c.encoder_kernel_size / 2;
    const index_t frames =
        c.separates() ? (std::max)(samples - c.encoder_kernel_size, index_t{0}) / stride + 1
                      : a.length;
    work = multiply_adds(c, static_cast<double>(frames), a.batch);
    given = "[" + std::to_string(a.batch) + ", " +
            (c.separates() ? std::to_string(samples)
                           : std::to_string(a.length) + ", " + std::to_string(c.in_channels)) +
            "]";
  }

  // Blocks without parameters have no weights.
  const std::filesystem::path folder = a.dir;
  const bool parameterless = name == "blocks/selective_scan" || name == "blocks/causal_conv1d";
  const WeightsSource weights = parameterless ? WeightsSource(a.dir) : open_weights(folder);
  std::map<std::string, std::pair<double, double>> modules;  // elements, bytes
  double elements = 0, bytes = 0;
  std::printf("\n%-60s %-8s %s\n", "tensor", "type", "shape");
  for (const TensorEntry& e : weights.tensors()) {
    const std::vector<index_t> shape(e.shape.begin(), e.shape.end());
    std::printf("%-60s %-8s %s\n", detail::printable(e.name).c_str(),
                std::string(dtype_name(e.dtype)).c_str(),
                to_string(std::span<const index_t>(shape)).c_str());
    const auto size = static_cast<double>(e.bytes.size());
    const double count = size / static_cast<double>(dtype_size(e.dtype));
    auto& module = modules[detail::printable(e.name.substr(0, e.name.rfind('.')))];
    module.first += count;
    module.second += size;
    elements += count;
    bytes += size;
  }
  std::printf("\n%-60s %14s %14s\n", "module", "parameters", "bytes");
  for (const auto& [module, sizes] : modules)
    std::printf("%-60s %14.0f %14.0f\n", module.c_str(), sizes.first, sizes.second);
  std::printf("%-60s %14.0f %14.0f\n", "total", elements, bytes);
  if (work >= 0)
    std::printf("\nmultiply-adds of a forward pass on %s: %.4g\n", given.c_str(), work);
  return kDone;
}

}  // namespace

static void add_info(CLI::App& app, Action& chosen) {
  CLI::App* const cmd = app.add_subcommand("info", "Config, parameters and cost of a model");
  cmd->footer("Example: sequin info DIR --batch 32 --variates 7");
  const auto a = std::make_shared<InfoArguments>();
  cmd->add_option("dir", a->dir, "folder with config.json and weights")->required();
  cmd->add_option("--batch", a->batch, "rows (1)")->check(CLI::Range(1, 1 << 20));
  cmd->add_option("--length", a->length, "tokens, time points, frames of features (128)")
      ->check(CLI::Range(1, 1 << 24));
  cmd->add_option("--seconds", a->seconds, "audio to separate (2)")
      ->check(CLI::Range(0.01, 3600.0));
  cmd->add_option("--variates", a->variates, "series of a forecaster (enc_in)")
      ->check(CLI::Range(1, 1 << 20));
  cmd->callback([&chosen, a] { chosen = [a] { return info(*a); }; });
}

static const RegisterCommand info_command(1, add_info);

}  // namespace sequin_cli
