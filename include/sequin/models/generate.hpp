/// Autoregressive generation with any streaming language model.
#pragma once

#include "sequin/models/sampling.hpp"
#include "sequin/stream/session.hpp"

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

/// Continues `prompt` (B, L) and returns (B, up to max_length), prompt included. The prompt is read
/// in one pass, then each token takes one step of constant cost. `on_token`, if given, gets each
/// new token of each row (B) as it comes and returns false to stop. Rows that have produced eos
/// continue until all have, as in the official `decode`.
///
/// Throws ShapeError for an empty prompt, ConfigError when max_length leaves nothing to generate.
template <class Model>
Tensor<std::int64_t, 2> generate(
    const Model& model, const Tensor<std::int64_t, 2>& prompt, const GenerateOptions& options,
    const std::function<bool(std::span<const std::int64_t>)>& on_token = {}) {
  using T = typename Model::value_type;
  const index_t batch = prompt.extent(0);
  const index_t length = prompt.extent(1);
  if (batch < 1 || length < 1)
    throw ShapeError("generate: prompt is " + to_string(prompt.shape()) +
                     ", expected [B >= 1, L >= 1]");
  if (options.max_length <= length)
    throw ConfigError("generate: max_length is " + std::to_string(options.max_length) +
                      ", expected more than the prompt's " + std::to_string(length) + " tokens");
  const NoGrad no_grad;
  const auto rows = static_cast<std::size_t>(batch);
  std::vector<std::vector<std::int64_t>> sequences(rows);
  for (std::size_t b = 0; b < rows; ++b) {
    const auto row = prompt.span().subspan(b * static_cast<std::size_t>(length),
                                           static_cast<std::size_t>(length));
    sequences[b].reserve(static_cast<std::size_t>(options.max_length));
    sequences[b].assign(row.begin(), row.end());
  }

  Sampler<T> sampler(options.sampling);
  Session<Model> session(model, batch);
  typename Model::State state = model.initial_state(batch);
  const Tensor<T, 2> prefilled = model.prefill(prompt, state);
  session.set_state(state);

  std::span<const T> logits = prefilled.span();
  std::vector<std::int64_t> next(rows);
  for (index_t at = length; at < options.max_length; ++at) {
    if (at > length) logits = session.step(next);
    const std::size_t width = logits.size() / rows;
    bool all_ended = options.eos_token_id.has_value();
    for (std::size_t b = 0; b < rows; ++b) {
      next[b] = sampler.choose(logits.subspan(b * width, width), sequences[b]);
      sequences[b].push_back(next[b]);
      all_ended = all_ended && next[b] == *options.eos_token_id;
    }
    if ((on_token && !on_token(next)) || all_ended) break;
  }

  const auto produced = static_cast<index_t>(sequences.front().size());
  auto out = Tensor<std::int64_t, 2>::empty({batch, produced});
  for (std::size_t b = 0; b < rows; ++b)
    std::copy(sequences[b].begin(), sequences[b].end(),
              out.data() + static_cast<index_t>(b) * produced);
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
