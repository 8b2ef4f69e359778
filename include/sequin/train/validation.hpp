/// What a training asks after each epoch, and ready answers to it.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/random.hpp"
#include "sequin/train/batch_source.hpp"

#include <functional>
#include <limits>
#include <optional>
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
};

/// The mean of `loss_fn(batch)` (a Tensor<T, 0>, or a number) over the batches of `order`, each
/// weighted by its number of examples or, with `plain`, by one; std::nullopt when stopped in
/// between: near the end it is cheaper to finish than to do all of it again.
template <class Source, class Loss>
requires IndexedSource<const Source> std::optional<double> mean_loss(const Source& source,
                                                                     BatchOrder& order, bool plain,
                                                                     Loss&& loss_fn,
                                                                     Validation& v) {
  typename Source::Batch batch;
  double sum = 0, weight = 0;
  order.start(v.order);
  for (auto numbers = order.next(); !numbers.empty(); numbers = order.next()) {
    source.fetch(numbers, batch);
    const double share = plain ? 1.0 : static_cast<double>(numbers.size());
    {
      const NoGrad no_grad;
      const ArenaScope scope(&v.arena);
      const auto loss = loss_fn(std::as_const(batch));
      if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(loss)>>)
        sum += share * static_cast<double>(loss);
      else
        sum += share * static_cast<double>(loss.item());
    }
    weight += share;
    v.arena.fit();
    if (order.position() < order.batches() && v.stop_requested && v.stop_requested())
      return std::nullopt;
  }
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
      {
        const NoGrad no_grad;
        const ArenaScope scope(&v.arena);
        sum += static_cast<double>(loss_fn(std::as_const(batch)).item());
      }
      v.arena.fit();
      if (i + 1 < batches && v.stop_requested && v.stop_requested()) return std::nullopt;
    }
    return sum / static_cast<double>(batches);
  };
}

}  // namespace sequin::inline SEQUIN_ABI
