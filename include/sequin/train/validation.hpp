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
  /// Parts of the model lie on several of them: all make their forward passes together, as many as
  /// the others.
  bool together = false;
};

namespace detail {

/// Of a loss, which is a number or a scalar.
template <class Loss>
double number_of(const Loss& loss) {
  if constexpr (std::is_arithmetic_v<Loss>)
    return static_cast<double>(loss);
  else
    return static_cast<double>(loss.item());
}

}  // namespace detail

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
    if (count > 0 || v.together) {
      const bool stands_in = count == 0;
      source.fetch(numbers.subspan(static_cast<std::size_t>(stands_in ? 0 : begin),
                                   static_cast<std::size_t>(stands_in ? 1 : count)),
                   batch);
      const StandIn stand_in(v.replicas, stands_in);
      const double share =
          static_cast<double>(count) / (plain ? static_cast<double>(examples) : 1.0);
      const NoGrad no_grad;
      const ArenaScope scope(&v.arena);
      const auto loss = loss_fn(std::as_const(batch));
      if (!stands_in) sum += share * detail::number_of(loss);
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

/// The same over `batches` batches that are drawn from `seed`, the same ones each time. Of several
/// processes each computes its part of each batch.
template <class Source, class Loss>
requires DrawnSource<const Source>
auto validate_on(const Source& source, index_t batch_size, index_t batches, std::uint64_t seed,
                 Loss loss_fn) {
  return [&source, batch_size, batches, seed, loss_fn](Validation& v) -> std::optional<double> {
    Generator generator(seed);
    typename Source::Batch batch;
    const index_t rank = v.replicas == nullptr ? 0 : v.replicas->rank();
    const index_t ranks = v.replicas == nullptr ? 1 : v.replicas->size();
    double sum = 0;
    for (index_t i = 0; i < batches; ++i) {
      // Drawn part by part, of which this rank computes its own.
      for (index_t part = 0; part < ranks; ++part) {
        const index_t begin = detail::part_begin(batch_size, part, ranks);
        const index_t count = detail::part_begin(batch_size, part + 1, ranks) - begin;
        const bool stands_in = part == rank && count == 0 && v.together;
        Generator aside = generator;
        if (count > 0 || stands_in)
          source.draw(stands_in ? aside : generator, count > 0 ? count : 1, batch);
        if (part != rank || (count == 0 && !stands_in)) continue;
        {
          const StandIn stand_in(v.replicas, stands_in);
          const NoGrad no_grad;
          const ArenaScope scope(&v.arena);
          const double share = static_cast<double>(count) / static_cast<double>(batch_size);
          const double loss = detail::number_of(loss_fn(std::as_const(batch)));
          if (!stands_in) sum += share * loss;
        }
        v.arena.fit();
      }
      if (i + 1 < batches && v.stop_requested && v.stop_requested()) return std::nullopt;
    }
    if (v.replicas != nullptr) v.replicas->sum(std::span<double>(&sum, 1));
    return sum / static_cast<double>(batches);
  };
}

}  // namespace sequin::inline SEQUIN_ABI
