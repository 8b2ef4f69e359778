/// What a model offers to be streamed.
#pragma once

#include "sequin/core/shape.hpp"

#include <concepts>
#include <span>

namespace sequin::inline SEQUIN_ABI {

template <class T, std::size_t Rank>
class Tensor;

/// `StreamInput` is what one step takes per row of the batch: a token id, a sample. `State` is a
/// value: a copy is independent (core/stream_state.hpp).
template <class M>
concept Streamable = requires(const M& model, typename M::State& state,
                              std::span<const typename M::StreamInput> input) {
  typename M::value_type;
  { model.initial_state(index_t{1}) } -> std::same_as<typename M::State>;
  { model.stream_width() } -> std::same_as<index_t>;
  { model.accepts(input) }
  noexcept->std::same_as<bool>;
  { model.step(input, state) } -> std::same_as<Tensor<typename M::value_type, 2>>;
  { state.reset() }
  noexcept;
};

}  // namespace sequin::inline SEQUIN_ABI
