/// Where ProbSparse attention gets its sampled keys from.
#pragma once

#include "sequin/ops/prob_sparse_attention.hpp"

#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Draws the keys that each ProbSparse call of a forward pass measures its queries against, or
/// hands out given ones in the order of the calls. Calls with the same seed, or with the same given
/// indices after `rewind`, give the same result.
class KeySampler {
 public:
  explicit KeySampler(std::uint64_t seed = 0) : generator_(seed) {}
  /// Draws from `generator`, which outlives it: one sequence for many forward passes, in training.
  explicit KeySampler(Generator* generator) : source_(generator) {}
  /// `given`: (Tq, U) for each call, keys from 0.
  explicit KeySampler(std::vector<Tensor<std::int32_t, 2>> given)
      : given_(std::move(given)), draws_(false) {}

  /// The keys of the next call, (Tq, U). Throws ConfigError when no given ones are left.
  Tensor<std::int32_t, 2> next(index_t queries, index_t keys, index_t factor) {
    if (draws_)
      return prob_sparse_samples(queries, keys, factor, source_ == nullptr ? generator_ : *source_);
    if (at_ == given_.size())
      detail::fail<ConfigError>({"key samples: expected those of ProbSparse call ", at_,
                                 " (from 0), found ", given_.size(), " calls' in all"});
    return given_[at_++];
  }

  /// Given keys again from the first call.
  void rewind() noexcept { at_ = 0; }

 private:
  Generator generator_{0};
  Generator* source_ = nullptr;
  std::vector<Tensor<std::int32_t, 2>> given_;
  std::size_t at_ = 0;
  bool draws_ = true;
};

}  // namespace sequin::inline SEQUIN_ABI
