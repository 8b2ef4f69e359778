/// Sequences that end in questions, drawn on the spot: what both tasks have in common.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <concepts>
#include <cstdint>
#include <vector>

namespace sequin_tasks {

using sequin::index_t;

/// B sequences of T tokens; the logits at their last K positions are to name the answers.
struct AnswerBatch {
  sequin::Tensor<std::int64_t, 2> ids;  ///< (B, T)
  std::vector<std::int64_t> answers;    ///< B x K, sequence by sequence
};

/// A task describes sequences: T = `length()`, K = `answers()`, tokens below `vocabulary()`.
/// `sequence(generator)` begins one, whose `next()` gives its T tokens in turn in constant memory
/// (a few numbers and K answers, whatever T) and whose `answers()` are complete when all have come.
template <class Task>
concept AnswerTask = requires(const Task& task, sequin::Generator generator,
                              typename Task::Sequence& sequence) {
  { task.length() } -> std::convertible_to<index_t>;
  { task.answers() } -> std::convertible_to<index_t>;
  { task.vocabulary() } -> std::convertible_to<index_t>;
  { task.sequence(generator) } -> std::same_as<typename Task::Sequence>;
  { sequence.next() } -> std::same_as<std::int64_t>;
  { sequence.answers() } -> std::convertible_to<const std::vector<std::int64_t>&>;
};

/// `draw` of a task as a batch source: each sequence has a generator of its own, forked from the
/// given one, so that a streamed evaluation sees the same sequences side by side.
template <AnswerTask Task>
void draw_sequences(const Task& task, sequin::Generator& generator, index_t examples,
                    AnswerBatch& batch) {
  const sequin::ArenaScope heap(nullptr);
  const sequin::Shape<2> shape{examples, task.length()};
  if (!batch.ids.defined() || batch.ids.shape() != shape)
    batch.ids = sequin::Tensor<std::int64_t, 2>(shape);
  batch.answers.clear();
  std::int64_t* to = batch.ids.data();
  for (index_t b = 0; b < examples; ++b) {
    auto sequence = task.sequence(sequin::Generator(generator.fork()));
    for (index_t t = 0; t < task.length(); ++t) *to++ = sequence.next();
    batch.answers.insert(batch.answers.end(), sequence.answers().begin(), sequence.answers().end());
  }
}

}  // namespace sequin_tasks
