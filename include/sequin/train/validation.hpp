/// What a training asks after each epoch, and ready answers to it.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/random.hpp"
#include "sequin/core/replicas.hpp"
#include "sequin/train/batch_source.hpp"

#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// What a validation function may use. It runs with nothing recorded.
struct Validation {
  /// The sequence that orders the training's examples, and part of the checkpoint.
  Generator& order;
  /// For the tensors of one batch: ArenaScope, then fit(), as `mean_loss` does it.
  Arena& arena;
  /// Whether somebody wants the training to stop; then return std::nullopt.
  std::function<bool()> stop_requested;
  /// The processes that train together; nullptr: alone. Each calls the validation function; with
  /// stop_requested all ask equally often. What rank 0 returns counts.
  Replicas* replicas = nullptr;
};

/// The mean of `loss_fn(batch)` (a Tensor<T, 0>, or a number) over the batches of `order`, each
/// weighted by its number of examples or, with `plain`, by one; std::nullopt when stopped in
/// between: near the end it is cheaper to finish than to do all of it again. Of several processes
/// each computes its part of each batch; `loss_fn` is a mean over examples.
template <class Source, class Loss>
requires IndexedSource<const Source> std::optional<double> mean_loss(const Source& source,
                                                                     BatchOrder& order, bool plain,
                                                                     Loss&& loss_fn,
                                                                     Validation& v) {
  typename Source::Batch batch;
  const index_t rank = v.replicas == nullptr ? 0 : v.replicas->rank();
  const index_t ranks = v.replicas == nullptr ? 1 : v.replicas->size();
  double sum = 0, weight = 0;
  order.start(v.order);
  for (auto numbers = order.next(); !numbers.empty(); numbers = order.next()) {
    const auto examples = static_cast<index_t>(numbers.size());
    const index_t begin = detail::part_begin(examples, rank, ranks);
    const index_t count = detail::part_begin(examples, rank + 1, ranks) - begin;
    weight += plain ? 1.0 : static_cast<double>(examples);
    if (count > 0) {
      source.fetch(
          numbers.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)), batch);
      const double share =
          static_cast<double>(count) / (plain ? static_cast<double>(examples) : 1.0);
      const NoGrad no_grad;
      const ArenaScope scope(&v.arena);
      const auto loss = loss_fn(std::as_const(batch));
      if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(loss)>>)
        sum += share * static_cast<double>(loss);
      else
        sum += share * static_cast<double>(loss.item());
    }
    v.arena.fit();
    if (order.position() < order.batches() && v.stop_requested && v.stop_requested())
      return std::nullopt;
  }
  if (v.replicas != nullptr) v.replicas->sum(std::span<double>(&sum, 1));
  return sum / weight;
}

/// A validation function: the mean of `loss_fn` over all examples of `source`, in order.
/// `source` outlives it.
template <class Source, class Loss>
requires IndexedSource<const Source>
auto validate_on(const Source& source, index_t batch_size, Loss loss_fn) {
  return [&source, batch_size, loss_fn](Validation& v) {
    BatchOrder order(source.count(), batch_size, false, false);
    return mean_loss(source, order, false, loss_fn, v);
  };
}

/// The same over `batches` batches that are drawn from `seed`, the same ones each time.
template <class Source, class Loss>
requires DrawnSource<const Source>
auto validate_on(const Source& source, index_t batch_size, index_t batches, std::uint64_t seed,
                 Loss loss_fn) {
  return [&source, batch_size, batches, seed, loss_fn](Validation& v) -> std::optional<double> {
    Generator generator(seed);
    typename Source::Batch batch;
    double sum = 0;
    for (index_t i = 0; i < batches; ++i) {
      source.draw(generator, batch_size, batch);
      if (v.replicas == nullptr || i % v.replicas->size() == v.replicas->rank()) {
        const NoGrad no_grad;
        const ArenaScope scope(&v.arena);
        sum += static_cast<double>(loss_fn(std::as_const(batch)).item());
      }
      v.arena.fit();
      if (i + 1 < batches && v.stop_requested && v.stop_requested()) return std::nullopt;
    }
    if (v.replicas != nullptr) v.replicas->sum(std::span<double>(&sum, 1));
    return sum / static_cast<double>(batches);
  };
}

}  // namespace sequin::inline SEQUIN_ABI
