/// The selective copying task: remember the tokens that matter, in their order.
#pragma once

#include "answer_batch.hpp"

#include "sequin/core/error.hpp"

#include <string>

namespace sequin_tasks {

/// L positions hold M data tokens 1 .. V - 2, at random places and in random order, among noise
/// (token 0); M markers (token V - 1) follow. The answers at the markers are the data tokens in
/// their order. A guess is right once in V - 2. Gu and Dao, "Mamba", section 4.1.1; the layout is
/// `torch_copying_data(variable=True)` of state-spaces/s4.
class SelectiveCopying {
 public:
  using Batch = AnswerBatch;

  /// T = L + M tokens. Throws ConfigError: M < 1 or more than L, or a vocabulary with no choice.
  explicit SelectiveCopying(index_t positions = 256, index_t data_tokens = 16,
                            index_t vocabulary = 16)
      : positions_(positions), data_tokens_(data_tokens), vocabulary_(vocabulary) {
    if (data_tokens < 1 || data_tokens > positions || positions > kLongest)
      throw sequin::ConfigError("selective_copying: " + std::to_string(data_tokens) +
                                " data tokens in " + std::to_string(positions) +
                                " positions, expected 1 or more, no more than positions");
    if (vocabulary < 4 || vocabulary > kLongest)
      throw sequin::ConfigError("selective_copying: vocabulary is " + std::to_string(vocabulary) +
                                ", expected 4 (noise, marker, two data tokens) to 2^30");
  }

  index_t length() const noexcept { return positions_ + data_tokens_; }
  index_t answers() const noexcept { return data_tokens_; }
  index_t vocabulary() const noexcept { return vocabulary_; }

  class Sequence {
   public:
    Sequence(const SelectiveCopying& task, const sequin::Generator& generator)
        : generator_(generator),
          places_(static_cast<std::uint32_t>(task.positions_)),
          missing_(static_cast<std::uint32_t>(task.data_tokens_)),
          kinds_(static_cast<std::uint32_t>(task.vocabulary_ - 2)) {
      answers_.reserve(missing_);
    }

    /// Of the places that are left each is as likely to hold one of the tokens that are missing:
    /// Knuth, "The Art of Computer Programming" 2, 3.4.2, algorithm S.
    std::int64_t next() {
      if (places_ == 0) return kinds_ + 1;
      const bool data = generator_.below(places_--) < missing_;
      if (!data) return 0;
      --missing_;
      answers_.push_back(1 + std::int64_t{generator_.below(kinds_)});
      return answers_.back();
    }
    const std::vector<std::int64_t>& answers() const noexcept { return answers_; }

   private:
    sequin::Generator generator_;
    std::uint32_t places_, missing_, kinds_;
    std::vector<std::int64_t> answers_;
  };

  Sequence sequence(const sequin::Generator& generator) const { return Sequence(*this, generator); }
  /// A batch source for `train`.
  void draw(sequin::Generator& generator, index_t examples, Batch& batch) const {
    draw_sequences(*this, generator, examples, batch);
  }

 private:
  static constexpr index_t kLongest = index_t{1} << 30;

  index_t positions_, data_tokens_, vocabulary_;
};

}  // namespace sequin_tasks
