#include "sequin/io/state_file.hpp"

#include "fuzz.hpp"

#include "sequin/models/causal_mossformer2.hpp"
#include "sequin/models/mamba.hpp"
#include "sequin/models/time_moe.hpp"
#include "sequin/stream/block_stream.hpp"

#include <array>
#include <cstdint>

namespace sequin_fuzz {

using namespace sequin;

namespace {

/// Weights are zero, but for those that are not: it is the sizes that a state must fit.
template <class Model>
const Model& prepared(Model&& made) {
  static Model model = std::move(made);
  static const bool once = (prepare(model), true);
  static_cast<void>(once);
  return model;
}

/// Loads into what `fresh` is a state of; `go_on` then uses what was loaded.
template <class State, class F>
void check_state(std::span<const std::byte> bytes, const State& fresh, F go_on) {
  State loaded = fresh;
  const auto before = state_bytes(loaded);
  if (!accepts([&] { load_state(bytes, loaded); })) {
    require(state_bytes(loaded) == before, "what is refused changes nothing");
    return;
  }
  const auto saved = state_bytes(loaded);
  State again = fresh;
  load_state(saved, again);
  require(state_bytes(again) == saved, "what was saved is what was loaded");
  accepts([&] { go_on(loaded); });
}

}  // namespace

void fuzz_state(std::span<const std::byte> bytes) {
  const NoGrad no_grad;
  const auto& language = prepared(Mamba<float>({.d_model = 4, .n_layer = 1, .vocab_size = 8}));
  check_state(bytes, language.initial_state(1), [&](const auto& state) {
    static Session session(language);
    session.set_state(state);
    const std::int64_t token = 3;
    session.step({&token, 1});
  });

  TimeMoeConfig sizes;
  sizes.hidden_size = 4;
  sizes.intermediate_size = 8;
  sizes.num_hidden_layers = 1;
  sizes.num_attention_heads = sizes.num_key_value_heads = 2;
  sizes.num_experts = 2;
  sizes.num_experts_per_tok = 1;
  sizes.horizon_lengths = {1};
  const auto& forecaster = prepared(TimeMoe<float>(sizes));
  check_state(bytes, forecaster.initial_state(2, 3), [&](auto& state) {
    TimeMoeCall<float> call;
    call.state = &state;
    forecaster.hidden_states(Tensor<float, 3>({2, 1, 1}, 0.5F), call);
  });

  CausalMossFormer2Config voices;
  voices.encoder_kernel_size = 4;
  voices.in_channels = voices.channels = voices.inner_channels = 4;
  voices.num_layers = 1;
  voices.group_size = 3;
  voices.query_key_dim = voices.lorder = 2;
  voices.taps = 3;
  const auto& separator = prepared(CausalMossFormer2<float>(voices));
  static BlockStream stream(separator);
  static const auto silence = stream.state();
  check_state(bytes, silence, [&](const auto& state) {
    stream.set_state(state);
    const std::array<float, 8> in{0.5F, -0.5F};
    std::array<float, 16> out{};
    stream.process(in, out);
  });
}

}  // namespace sequin_fuzz
