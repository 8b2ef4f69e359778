/// How many answers are right: of a batch at once, or of sequences of any length in pieces.
#pragma once

#include "answer_batch.hpp"

#include "sequin/core/no_grad.hpp"
#include "sequin/ops/shape.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace sequin_tasks {

using sequin::Tensor;

/// Answers that were asked for, and how many of them were right.
struct Score {
  index_t right = 0, asked = 0;

  double accuracy() const noexcept {
    return asked == 0 ? 0 : static_cast<double>(right) / static_cast<double>(asked);
  }
  Score& operator+=(const Score& other) noexcept {
    right += other.right;
    asked += other.asked;
    return *this;
  }
};

/// The logits at the last K positions: (B, T, V) -> (B, K, V).
template <class T>
Tensor<T, 3> answer_logits(const Tensor<T, 3>& logits, index_t k) {
  return sequin::slice(logits, 1, logits.extent(1) - k, logits.extent(1));
}

/// Whether `answer` alone has the largest of the logits (V): with a tie or a NaN it has not.
template <class T>
bool is_right(std::span<const T> logits, std::int64_t answer) {
  const T chosen = logits[static_cast<std::size_t>(answer)];
  const auto reached =
      std::count_if(logits.begin(), logits.end(), [&](T x) { return !(x < chosen); });
  return reached == 1;
}

/// Rows of logits (B, K, V) that name their answers (B x K).
template <class T>
Score count_right(const Tensor<T, 3>& logits, std::span<const std::int64_t> answers) {
  if (static_cast<index_t>(answers.size()) != logits.rows())
    throw sequin::ShapeError("count_right: " + std::to_string(answers.size()) +
                             " answers, expected " + std::to_string(logits.rows()) +
                             " (rows of logits " + sequin::to_string(logits.shape()) + ")");
  Score score;
  const auto classes = static_cast<std::size_t>(logits.cols());
  const auto all = logits.span();
  for (const std::int64_t answer : answers) {
    const auto row = all.subspan(static_cast<std::size_t>(score.asked++) * classes, classes);
    score.right += is_right<T>(row, answer) ? 1 : 0;
  }
  return score;
}

/// The score of `model` on `batch` sequences of `task`, read `chunk` tokens at a time: memory for a
/// chunk and the model's state, whatever the length. The sequences are those that `draw` would take
/// from the generator.
template <class Model, AnswerTask Task>
Score evaluate_streamed(const Model& model, const Task& task, index_t batch, index_t chunk,
                        sequin::Generator& generator) {
  using T = typename Model::value_type;
  const sequin::NoGrad no_grad;
  std::vector<typename Task::Sequence> sequences;
  for (index_t b = 0; b < batch; ++b)
    sequences.push_back(task.sequence(sequin::Generator(generator.fork())));
  auto state = model.initial_state(batch);
  Score score;
  sequin::Arena arena;
  for (index_t begin = 0; begin < task.length(); begin += chunk) {
    const index_t n = (std::min)(chunk, task.length() - begin);
    {
      const sequin::ArenaScope scope(&arena);
      Tensor<std::int64_t, 2> ids({batch, n});
      for (index_t b = 0; b < batch; ++b)
        for (index_t t = 0; t < n; ++t) ids(b, t) = sequences[static_cast<std::size_t>(b)].next();
      const Tensor<T, 3> logits = model.forward(ids, &state);
      const auto classes = static_cast<std::size_t>(logits.extent(2));
      // Question k stands at position length - K + k.
      const index_t questions = task.length() - task.answers();
      for (index_t b = 0; b < batch; ++b)
        for (index_t t = (std::max)(index_t{0}, questions - begin); t < n; ++t) {
          const auto row =
              logits.span().subspan(static_cast<std::size_t>(b * n + t) * classes, classes);
          const auto& answers = sequences[static_cast<std::size_t>(b)].answers();
          const bool right =
              is_right<T>(row, answers[static_cast<std::size_t>(begin + t - questions)]);
          score += {right ? 1 : 0, 1};
        }
    }
    arena.fit();
  }
  return score;
}

}  // namespace sequin_tasks
