/// A model, its state and an arena joined for streaming: steps that allocate nothing.
#pragma once

#include "sequin/core/no_grad.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/stream/streamable.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Streams `batch` sequences through one model, one step at a time.
///
/// The constructor rehearses two steps, learns how much memory a step needs and allocates it; after
/// that `step` allocates nothing, takes no lock, makes no system call and throws nothing. Many
/// sessions may share one model across threads (the model is not changed and must outlive them);
/// one session is used by one thread at a time. Call `prepare(model)` first for full speed.
///
///     Session session(model);
///     for (std::int64_t token : tokens) {
///       std::span<const float> logits = session.step({&token, 1});
///     }
template <Streamable Model>
class Session {
 public:
  using T = typename Model::value_type;
  using Input = typename Model::StreamInput;
  using State = typename Model::State;

  /// Throws ConfigError when batch is below 1, std::bad_alloc.
  explicit Session(const Model& model, index_t batch = 1)
      : model_(&model), batch_(check(batch)), state_(model.initial_state(batch)) {
    const NoGrad no_grad;
    const std::vector<Input> zeros(static_cast<std::size_t>(batch * model.stream_width()));
    {
      const ArenaScope scope(&arena_);
      const Tensor<T, 2> rehearsed = model.step(zeros, state_);
      const ArenaScope heap(nullptr);
      output_ = Tensor<T, 2>(rehearsed.shape());
    }
    arena_.fit();
    {
      const ArenaScope scope(&arena_);
      model.step(zeros, state_);
    }
    state_.reset();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Takes the next input of each row, (batch, stream_width()) row by row, and returns the outputs
  /// (batch, outputs) row by row; they stay valid until the next call. Returns an empty span, and
  /// leaves the state as it was, when the number of inputs is wrong or the model does not accept
  /// them (a token out of range). Real-time safe.
  std::span<const T> step(std::span<const Input> input) noexcept {
    if (static_cast<index_t>(input.size()) != batch_ * model_->stream_width() ||
        !model_->accepts(input))
      return {};
    const NoGrad no_grad;
    const ArenaScope scope(&arena_);
    const Tensor<T, 2> result = model_->step(input, state_);
    output_.copy_from(result.span());
    return std::as_const(output_).span();
  }

  /// Back to the beginning of a sequence. Real-time safe; cost of writing the state once.
  void reset() noexcept { state_.reset(); }

  /// The state after the steps so far. Copy it to keep it.
  const State& state() const noexcept { return state_; }
  /// Continues from another state, e.g. one that a prompt left. Throws ShapeError when it is not
  /// one of this model and batch. Real-time safe where the state's `assign` is.
  void set_state(const State& state) { state_.assign(state); }

  index_t batch() const noexcept { return batch_; }
  /// Values of a row that a step gives.
  index_t output_width() const noexcept { return output_.extent(1); }
  /// Bytes that a step needs besides weights and state.
  std::size_t arena_bytes() const noexcept { return arena_.capacity(); }

 private:
  static index_t check(index_t batch) {
    if (batch < 1)
      throw ConfigError("Session: batch is " + std::to_string(batch) + ", expected >= 1");
    return batch;
  }

  const Model* model_;
  index_t batch_;
  State state_;
  Arena arena_;
  Tensor<T, 2> output_;
};

}  // namespace sequin::inline SEQUIN_ABI
