/// The induction heads task: what came after this token the last time?
#pragma once

#include "answer_batch.hpp"

#include "sequin/core/error.hpp"

#include <string>

namespace sequin_tasks {

/// Sequences of ordinary tokens 0 .. V - 2 in which the special token V - 1 stands twice: once
/// somewhere, and at the end. The answer at the end is the token that followed it. A guess is right
/// once in V - 1. Gu and Dao, "Mamba", section 4.1.2; Dao et al., "Hungry Hungry Hippos", 3.1.
class InductionHeads {
 public:
  using Batch = AnswerBatch;

  /// T tokens. Throws ConfigError: T < 3, or a vocabulary without two ordinary tokens.
  explicit InductionHeads(index_t length = 256, index_t vocabulary = 16)
      : length_(length), vocabulary_(vocabulary) {
    if (length < 3 || vocabulary < 3 || length > kLongest || vocabulary > kLongest)
      throw sequin::ConfigError("induction_heads: length is " + std::to_string(length) +
                                " and vocabulary " + std::to_string(vocabulary) +
                                ", expected both 3 to 2^30");
  }

  index_t length() const noexcept { return length_; }
  index_t answers() const noexcept { return 1; }
  index_t vocabulary() const noexcept { return vocabulary_; }

  class Sequence {
   public:
    Sequence(index_t length, index_t vocabulary, const sequin::Generator& generator)
        : generator_(generator),
          last_(length - 1),
          ordinary_(static_cast<std::uint32_t>(vocabulary - 1)),
          special_at_(generator_.below(static_cast<std::uint32_t>(length - 2))),
          answers_{generator_.below(ordinary_)} {}

    std::int64_t next() noexcept {
      const index_t t = at_++;
      if (t == special_at_ || t == last_) return ordinary_;
      if (t == special_at_ + 1) return answers_[0];
      return generator_.below(ordinary_);
    }
    const std::vector<std::int64_t>& answers() const noexcept { return answers_; }

   private:
    sequin::Generator generator_;
    index_t at_ = 0;
    index_t last_;
    std::uint32_t ordinary_;
    index_t special_at_;
    std::vector<std::int64_t> answers_;
  };

  Sequence sequence(const sequin::Generator& generator) const {
    return Sequence(length_, vocabulary_, generator);
  }
  /// A batch source for `train`.
  void draw(sequin::Generator& generator, index_t examples, Batch& batch) const {
    draw_sequences(*this, generator, examples, batch);
  }

 private:
  static constexpr index_t kLongest = index_t{1} << 30;

  index_t length_, vocabulary_;
};

}  // namespace sequin_tasks
