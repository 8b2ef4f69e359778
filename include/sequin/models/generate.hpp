/// Autoregressive generation with any streaming language model.
#pragma once

#include "sequin/models/sampling.hpp"
#include "sequin/stream/session.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// When to stop and how to choose.
struct GenerateOptions {
  index_t max_length = 0;                    ///< tokens in all, the prompt included
  std::optional<std::int64_t> eos_token_id;  ///< stop when every row has just produced it
  SamplingOptions sampling;
};

/// Where a generation begins and ends besides the prompt.
template <class Model>
struct GenerateFrom {
  /// (B, L), 0 at padding on the left of shorter prompts, or undefined: padding leaves no trace.
  Tensor<typename Model::value_type, 2> attention_mask;
  /// The model has read something already; nullptr: nothing.
  const typename Model::State* state = nullptr;
  /// Gets the state after the last token, if given.
  typename Model::State* last_state = nullptr;
};

/// Continues `prompt` (B, L) and returns (B, up to max_length), prompt included. The prompt is read
/// in one pass, then each token takes one step of constant cost. `on_token`, if given, gets each
/// new token of each row (B) as it comes and returns false to stop. Rows that have produced eos
/// continue until all have, as in the official `decode`. The repetition penalty sees a row's real
/// tokens, not its padding.
///
/// Throws ShapeError for an empty prompt, a mask of other extents or a state of another model or
/// batch, ConfigError for padding after a state and when max_length leaves nothing to generate.
template <class Model>
Tensor<std::int64_t, 2> generate(
    const Model& model, const Tensor<std::int64_t, 2>& prompt, const GenerateOptions& options,
    const std::function<bool(std::span<const std::int64_t>)>& on_token = {},
    const GenerateFrom<Model>& from = {}) {
  using T = typename Model::value_type;
  const index_t batch = prompt.extent(0);
  const index_t length = prompt.extent(1);
  if (batch < 1 || length < 1)
    throw ShapeError("generate: prompt is " + to_string(prompt.shape()) +
                     ", expected [B >= 1, L >= 1]");
  if (options.max_length <= length)
    throw ConfigError("generate: max_length is " + std::to_string(options.max_length) +
                      ", expected more than the prompt's " + std::to_string(length) + " tokens");
  const Tensor<T, 2>& mask = from.attention_mask;
  if (mask.defined() && mask.shape() != prompt.shape())
    throw ShapeError("generate: attention_mask is " + to_string(mask.shape()) + ", expected " +
                     to_string(prompt.shape()) + " as the prompt");
  if (mask.defined() && from.state != nullptr &&
      std::any_of(mask.span().begin(), mask.span().end(), [](T m) { return m == T{0}; }))
    throw ConfigError(
        "generate: attention_mask hides tokens, expected none after a state: padding "
        "would stand between the two");
  const NoGrad no_grad;
  const auto rows = static_cast<std::size_t>(batch);
  std::vector<std::vector<std::int64_t>> sequences(rows);
  for (index_t b = 0; b < batch; ++b) {
    auto& row = sequences[static_cast<std::size_t>(b)];
    row.reserve(static_cast<std::size_t>(options.max_length));
    for (index_t t = 0; t < length; ++t)
      if (!mask.defined() || mask(b, t) != T{0}) row.push_back(prompt(b, t));
  }

  Sampler<T> sampler(options.sampling);
  Session<Model> session(model, batch);
  typename Model::State state = model.initial_state(batch);
  if (from.state != nullptr) state.assign(*from.state);
  const Tensor<T, 2> prefilled =
      mask.defined() ? model.prefill(prompt, state, mask) : model.prefill(prompt, state);
  session.set_state(state);

  std::span<const T> logits = prefilled.span();
  std::vector<std::int64_t> next(rows);
  std::size_t steps = 0;
  for (index_t at = length; at < options.max_length; ++at) {
    if (at > length) logits = session.step(next);
    const std::size_t width = logits.size() / rows;
    bool all_ended = options.eos_token_id.has_value();
    for (std::size_t b = 0; b < rows; ++b) {
      next[b] = sampler.choose(logits.subspan(b * width, width), sequences[b]);
      sequences[b].push_back(next[b]);
      all_ended = all_ended && next[b] == *options.eos_token_id;
    }
    ++steps;
    if ((on_token && !on_token(next)) || all_ended) break;
  }

  if (from.last_state != nullptr) {
    session.step(next);
    *from.last_state = session.state();
  }

  // Rows hold their real tokens; what comes after the prompt is as long in all.
  const auto added = static_cast<index_t>(steps);
  auto out = Tensor<std::int64_t, 2>::empty({batch, length + added});
  std::int64_t* to = out.data();
  for (index_t b = 0; b < batch; ++b, to += length + added) {
    std::copy_n(prompt.data() + b * length, length, to);
    const auto& row = sequences[static_cast<std::size_t>(b)];
    std::copy(row.end() - added, row.end(), to + length);
  }
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
