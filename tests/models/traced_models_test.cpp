// What the models tell about their blocks, for `sequin check`; docs/check.md quotes this file.
#include "sequin/core/module_trace.hpp"
#include "sequin/models/informer.hpp"
#include "sequin/models/itransformer.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/mossformer2.hpp"
#include "sequin/models/time_moe.hpp"

#include "common/allocation_count.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <vector>

using namespace sequin;
using sequin_test::identical;
using sequin_test::wavy;

namespace {

template <class Model, class Config>
Model drawn(const Config& config) {
  Model model(config);
  Generator generator(3);
  model.initialize(generator);
  prepare(model);
  return model;
}

ITransformer<float> small_itransformer() {
  ITransformerConfig c;
  c.seq_len = 11;
  c.pred_len = 5;
  c.d_model = 8;
  c.n_heads = 2;
  c.e_layers = 2;
  c.d_ff = 9;
  return drawn<ITransformer<float>>(c);
}

bool has(const std::vector<ModuleOutput<float>>& outputs, std::string_view path) {
  return std::any_of(outputs.begin(), outputs.end(),
                     [&](const ModuleOutput<float>& m) { return m.path == path; });
}

/// A trace changes no bit, and every path is the beginning of a parameter's name, as in PyTorch.
/// Gives back what it heard.
template <class Model, class Forward>
std::vector<ModuleOutput<float>> traced(Model& model, Forward&& forward) {
  const auto plain = forward();
  const ModuleTrace trace(model);
  CHECK(identical(forward(), plain));
  const auto list = parameters(model);
  std::set<std::string> seen;
  for (const auto& m : trace.outputs()) {
    INFO(m.path);
    CHECK(seen.insert(m.path).second);
    CHECK(std::any_of(list.items.begin(), list.items.end(),
                      [&](const auto& p) { return p.name.starts_with(m.path + "."); }));
  }
  return trace.outputs();
}

}  // namespace

TEST_CASE("traced_models: iTransformer tells its blocks in the order of execution") {
  auto model = small_itransformer();
  const auto x = wavy<float, 3>({2, 11, 3}, 0.3);
  const auto outputs = traced(model, [&] { return model.forward(x); });
  std::vector<std::string> paths{"enc_embedding.value_embedding"};
  for (const std::string layer : {"encoder.attn_layers.0", "encoder.attn_layers.1"}) {
    for (const char* const map : {"query", "key", "value", "out"})
      paths.push_back(layer + ".attention." + map + "_projection");
    // conv1 ends in its activation and the norms add the residual: fused, so not told.
    for (const char* const block : {".attention", ".conv2", ""}) paths.push_back(layer + block);
  }
  for (const char* const block : {"encoder.norm", "encoder", "projector"}) paths.push_back(block);
  std::vector<std::string> found;
  for (const auto& m : outputs) found.push_back(m.path);
  CHECK(found == paths);
  CHECK(outputs.back().shape == std::vector<index_t>{2, 3, 5});
}

TEST_CASE("traced_models: Informer tells encoder, distilling and decoder layers") {
  InformerConfig c;
  c.seq_len = 20;
  c.label_len = 8;
  c.pred_len = 5;
  c.enc_in = c.dec_in = c.c_out = 3;
  c.d_model = 8;
  c.n_heads = 2;
  c.d_ff = 9;
  c.factor = 1;
  auto model = drawn<Informer<float>>(c);
  const auto x = wavy<float, 3>({2, 20, 3}, 0.1);
  const auto marks = wavy<float, 3>({2, 20, 4}, 0.2, 0.5);
  const auto marks_dec = wavy<float, 3>({2, 13, 4}, 0.3, 0.5);
  const auto outputs =
      traced(model, [&] { return model.forward(x, marks, decoder_input(x, 8, 5), marks_dec); });
  for (const char* const path :
       {"enc_embedding", "encoder.attn_layers.0", "encoder.conv_layers.0", "encoder",
        "dec_embedding.temporal_embedding", "decoder.layers.0.cross_attention", "projection"})
    CHECK(has(outputs, path));
}

TEST_CASE("traced_models: Mamba tells its mixers") {
  MambaConfig c;
  c.d_model = 8;
  c.n_layer = 2;
  c.vocab_size = 16;
  c.ssm_cfg.d_state = 3;
  auto model = drawn<Mamba<float>>(c);
  const Tensor<std::int64_t, 2> ids({1, 4}, {3, 1, 4, 15});
  const auto outputs = traced(model, [&] { return model.forward(ids); });
  for (const char* const path : {"backbone.embedding", "backbone.layers.1.norm",
                                 "backbone.layers.1.mixer.x_proj", "backbone.layers.1.mixer"})
    CHECK(has(outputs, path));
}

TEST_CASE("traced_models: Time-MoE tells its layers, but not the experts, whose order is its own") {
  TimeMoeConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 20;
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.num_experts = 4;
  c.use_dense = false;
  auto model = drawn<TimeMoe<float>>(c);
  const auto x = wavy<float, 3>({2, 5, 1}, 0.1);
  const auto outputs = traced(model, [&] { return model.head(0, model.hidden_states(x)); });
  for (const char* const path :
       {"model.layers.1.self_attn", "model.layers.1.ffn_layer.gate",
        "model.layers.1.ffn_layer.shared_expert", "model.layers.1.ffn_layer", "model.layers.1"})
    CHECK(has(outputs, path));
  CHECK(std::none_of(outputs.begin(), outputs.end(), [](const ModuleOutput<float>& m) {
    return m.path.find(".experts.") != std::string::npos;
  }));
}

TEST_CASE("traced_models: MossFormer2 tells its attention and memory blocks") {
  MossFormer2Config c;
  c.in_channels = c.channels = c.out_channels = 8;
  c.num_layers = 1;
  c.encoder_kernel_size = 4;
  c.group_size = 8;
  c.query_key_dim = 6;
  c.inner_channels = 6;
  c.lorder = 3;
  auto model = drawn<MossFormer2<float>>(c);
  const auto x = wavy<float, 2>({1, 60}, 0.1);
  const auto outputs = traced(model, [&] { return model.separate(x); });
  const std::string stack = "mask_net.mdl.intra_mdl.mossformerM.";
  for (const std::string& path :
       {stack + "layers.0.to_qk", stack + "layers.0", stack + "fsmn.0.gated_fsmn.fsmn.conv",
        stack + "fsmn.0", std::string("mask_net.mdl.intra_norm"), std::string("mask_net.mdl")})
    CHECK(has(outputs, path));
}

TEST_CASE("traced_models: what a model allocates does not depend on its probes") {
  const auto model = small_itransformer();
  auto other = small_itransformer();
  const auto x = wavy<float, 3>({2, 11, 3}, 0.3);
  const auto allocations = [&] {
    const std::size_t before = sequin_examples::allocation_count();
    model.forward(x);
    return sequin_examples::allocation_count() - before;
  };
  allocations();
  const std::size_t alone = allocations();
  const ModuleTrace trace(other);  // hears the model, and keeps nothing of it
  CHECK(allocations() == alone);
}

TEST_CASE("traced_models: the code of docs/check.md") {
  auto model = small_itransformer();
  const auto x = wavy<float, 3>({2, 11, 3}, 0.3);
#include "from_docs/check/trace.inc"
  CHECK(trace.outputs().size() > 10);
}
