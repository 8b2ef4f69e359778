/// Autoregressive continuation of series with Time-MoE.
#pragma once

#include "sequin/core/no_grad.hpp"
#include "sequin/models/time_moe.hpp"

#include <functional>
#include <string>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Positions of columns [begin, end) by the official rule: real steps of a row are counted from 0,
/// padding is at 1.
inline Tensor<std::int64_t, 2> positions_of(const Tensor<std::int64_t, 2>& mask, index_t begin,
                                            index_t end) {
  auto positions = Tensor<std::int64_t, 2>::empty({mask.extent(0), end - begin});
  for (index_t b = 0; b < mask.extent(0); ++b) {
    std::int64_t seen = 0;
    for (index_t t = 0; t < end; ++t) {
      seen += mask(b, t) != 0 ? 1 : 0;
      if (t >= begin) positions(b, t - begin) = mask(b, t) != 0 ? seen - 1 : 1;
    }
  }
  return positions;
}

}  // namespace detail

/// series (B, T), one variate a row, continued by `steps` values: (B, T + steps), series included.
/// Each round takes the longest head that is not longer than what is missing (the first one, cut,
/// where all are) and appends all it says, so that heads 1, 8, 32, 64 give 106 steps in rounds of
/// 64, 32, 8, 1 and 1. `attention_mask` (B, T): 0 at padding on the left. Nothing is normalised
/// here; `forecast` does.
///
/// `use_cache` false computes the whole prefix again in each round: the same values, slower.
/// `on_steps`, if given, is called after each round with the number of steps done.
/// Throws ShapeError, ConfigError (input_size other than 1, no steps). `generate` of
/// ts_generation_mixin.py.
template <Scalar T>
Tensor<T, 2> generate(const TimeMoe<T>& model, const Tensor<T, 2>& series, index_t steps,
                      const Tensor<std::int64_t, 2>& attention_mask = {}, bool use_cache = true,
                      const std::function<void(index_t)>& on_steps = {}) {
  const index_t batch = series.extent(0);
  const index_t given = series.extent(1);
  if (model.config().input_size != 1)
    throw ConfigError("generate: input_size is " + std::to_string(model.config().input_size) +
                      ", expected 1: one variate a row");
  if (steps < 1)
    throw ConfigError("generate: steps is " + std::to_string(steps) + ", expected >= 1");
  if (batch < 1 || given < 1)
    throw ShapeError("generate: series is " + to_string(series.shape()) +
                     ", expected [B >= 1, T >= 1]");
  if (attention_mask.defined() && attention_mask.shape() != series.shape())
    throw ShapeError("generate: attention_mask is " + to_string(attention_mask.shape()) +
                     ", expected " + to_string(series.shape()) + " as the series");
  const NoGrad no_grad;
  const index_t total = given + steps;
  Tensor<T, 2> out({batch, total});
  Tensor<std::int64_t, 2> mask({batch, total}, std::int64_t{1});
  for (index_t b = 0; b < batch; ++b)
    for (index_t t = 0; t < given; ++t) {
      out(b, t) = series(b, t);
      if (attention_mask.defined()) mask(b, t) = attention_mask(b, t);
    }

  typename TimeMoe<T>::State state;
  if (use_cache) state = model.initial_state(batch, total);
  index_t length = given;
  for (index_t read = 0; length < total;) {
    TimeMoeCall<T> call;
    if (use_cache) call.state = &state;
    call.attention_mask = slice(mask, 1, read, length);
    call.position_ids = detail::positions_of(mask, read, length);
    const Tensor<T, 2> unread = slice(out, 1, read, length);
    const Tensor<T, 3> hidden =
        model.hidden_states(unread.template reshaped<3>({batch, length - read, 1}), call);
    const Tensor<T, 3> last = slice(hidden, 1, length - read - 1, length - read);
    const Tensor<T, 3> said = model.predict(last, total - length);
    if (use_cache) read = length;
    for (index_t b = 0; b < batch; ++b)
      for (index_t s = 0; s < said.extent(2); ++s) out(b, length + s) = said(b, 0, s);
    length += said.extent(2);
    if (on_steps) on_steps(length - given);
  }
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI
