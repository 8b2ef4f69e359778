/// Where a training gets its batches from: numbered examples, or examples drawn on the spot.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/replicas.hpp"
#include "sequin/train/batch_order.hpp"

#include <concepts>
#include <optional>
#include <span>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Examples 0 to count() - 1, each visited once an epoch in an order that is shuffled anew: windows
/// of a series, sentences. `fetch` puts those with the given numbers into `batch`, whose memory it
/// may use again.
template <class S>
concept IndexedSource = requires(S& source, std::span<const index_t> numbers,
                                 typename std::remove_const_t<S>::Batch& batch) {
  { source.count() } -> std::convertible_to<index_t>;
  source.fetch(numbers, batch);
};

/// As many examples as anybody wants: mixtures made on the spot, pieces of a long text. `draw` puts
/// `examples` of them into `batch`; all that is random in it comes from the generator, example by
/// example, so that a batch drawn in two parts is the same.
template <class S>
concept DrawnSource = requires(S& source, Generator& generator, index_t examples,
                               typename std::remove_const_t<S>::Batch& batch) {
  source.draw(generator, examples, batch);
};

template <class S>
concept BatchSource = IndexedSource<S> || DrawnSource<S>;

namespace detail {

/// The steps of an epoch over a source, each cut into `parts` passes.
template <BatchSource Source>
class EpochSteps {
 public:
  using Batch = typename std::remove_const_t<Source>::Batch;
  static constexpr bool kIndexed = IndexedSource<Source>;

  /// `steps`: of an epoch of a DrawnSource. Throws ConfigError: no step an epoch.
  EpochSteps(Source& source, index_t batch, index_t parts, bool drop_last, index_t steps)
      : source_(&source), batch_(batch), parts_(parts), steps_(steps) {
    if constexpr (kIndexed) {
      order_.emplace(source.count(), batch, true, drop_last);
      steps_ = order_->batches();
    } else if (steps < 1 || batch < 1) {
      throw ConfigError("train: steps_per_epoch is " + std::to_string(steps) + ", batch_size is " +
                        std::to_string(batch) + ", expected both >= 1 where batches are drawn");
    }
  }

  index_t steps() const noexcept { return steps_; }
  index_t position() const noexcept { return position_; }

  /// Begins an epoch: draws the order of numbered examples.
  void start(Generator& generator) {
    position_ = 0;
    if constexpr (kIndexed) order_->start(generator);
  }
  /// Continues after `position` steps of the epoch that was started.
  void seek(index_t position) {
    position_ = position;
    if constexpr (kIndexed) order_->seek(position);
  }

  /// The next step; its number of examples, 0 when the epoch is over.
  index_t next() {
    if (position_ == steps_) return 0;
    ++position_;
    examples_ = batch_;
    if constexpr (kIndexed) {
      numbers_ = order_->next();
      examples_ = static_cast<index_t>(numbers_.size());
    }
    return examples_;
  }

  /// Part `part` of the step into `batch`; its number of examples, which may be 0.
  index_t fetch(index_t part, Generator& generator, Batch& batch) {
    const index_t begin = part_begin(examples_, part, parts_);
    const index_t count = part_begin(examples_, part + 1, parts_) - begin;
    if (count == 0) return 0;
    if constexpr (kIndexed)
      source_->fetch(
          numbers_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
          batch);
    else
      source_->draw(generator, count, batch);
    return count;
  }

  /// Some example of the step for one who has none; a DrawnSource has one for each.
  void fetch_any(Batch& batch) {
    if constexpr (kIndexed) source_->fetch(numbers_.first(1), batch);
  }

  /// Leaves parts [begin, end) to others: drawn examples are drawn for the generator's sake.
  void skip(index_t begin, index_t end, Generator& generator, Batch& batch) {
    if constexpr (!kIndexed)
      for (index_t part = begin; part < end; ++part) fetch(part, generator, batch);
  }

 private:
  Source* source_;
  index_t batch_;
  index_t parts_;
  index_t steps_;
  index_t position_ = 0;
  index_t examples_ = 0;
  std::optional<BatchOrder> order_;
  std::span<const index_t> numbers_;
};

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
