/// Permutation-invariant training: the loss of the best assignment of estimates to sources.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/assignment.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/ops/elementwise.hpp"
#include "sequin/ops/reduce.hpp"
#include "sequin/ops/si_sdr.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// The permutations are tried in lexicographic order of one of these and the first of several best
/// ones is taken, which matters when two signals are alike.
enum class PermutationOrder {
  kSourceOfEstimate,  ///< as ClearerVoice (SpeechBrain's PitWrapper) and kaituoxu/Conv-TasNet
  kEstimateOfSource,  ///< as asteroid's PITLossWrapper
};

/// The best assignment of each batch item. The two permutations are each other's inverse: official
/// code returns the first (ClearerVoice's `perm`) or the second (asteroid's `batch_indices`).
template <class T>
struct PermutationLoss {
  Tensor<T, 1> loss;                           ///< [B]: mean of the assigned pairs' losses
  Tensor<std::int64_t, 2> source_of_estimate;  ///< [B, C]
  Tensor<std::int64_t, 2> estimate_of_source;  ///< [B, C]
};

/// pairwise [B, C, C], the loss of estimate i against source j -> the best assignment of each item.
/// Up to three sources all permutations are tried, beyond that the Hungarian method finds one (the
/// official code of ClearerVoice and kaituoxu tries all C! of any C, with the same optimum). The
/// gradient flows through the assigned pairs. Yu et al., "Permutation Invariant Training of Deep
/// Models for Speaker-Independent Multi-talker Speech Separation", ICASSP 2017. Throws ShapeError.
template <Scalar T>
PermutationLoss<T> permutation_loss(const Tensor<T, 3>& pairwise,
                                    PermutationOrder order = PermutationOrder::kSourceOfEstimate) {
  const index_t batch = pairwise.extent(0), C = pairwise.extent(1);
  if (C < 1 || pairwise.extent(2) != C)
    throw ShapeError("permutation_loss: pairwise is " + to_string(pairwise.shape()) +
                     ", expected [B, C, C] with C >= 1");
  PermutationLoss<T> r{Tensor<T, 1>({batch}), Tensor<std::int64_t, 2>({batch, C}),
                       Tensor<std::int64_t, 2>({batch, C})};
  const bool by_source = order == PermutationOrder::kEstimateOfSource;
  std::vector<double> cost(static_cast<std::size_t>(C * C));
  for (index_t b = 0; b < batch; ++b) {
    const T* const item = pairwise.data() + b * C * C;
    for (index_t i = 0; i < C; ++i)
      for (index_t j = 0; j < C; ++j)
        cost[static_cast<std::size_t>(by_source ? j * C + i : i * C + j)] =
            static_cast<double>(item[i * C + j]);
    const std::vector<index_t> best = best_assignment(cost.data(), C);
    double sum = 0;
    for (index_t k = 0; k < C; ++k) {
      const index_t other = best[static_cast<std::size_t>(k)];
      const index_t i = by_source ? other : k, j = by_source ? k : other;
      r.source_of_estimate(b, i) = j;
      r.estimate_of_source(b, j) = i;
      sum += static_cast<double>(item[i * C + j]);
    }
    r.loss.data()[b] = static_cast<T>(sum / static_cast<double>(C));
  }
  if (Recorder* tape = recording(pairwise))
    tape->push([source_of = r.source_of_estimate, pv = pairwise.var(),
                yv = tape->track(r.loss)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const index_t n = pv.shape[1];
      Tensor<T, 3> d(pv.shape);
      T* const to = d.data();
      for (index_t b = 0; b < pv.shape[0]; ++b)
        for (index_t i = 0; i < n; ++i)
          to[(b * n + i) * n + source_of(b, i)] = dy.data()[b] / static_cast<T>(n);
      g.add(pv, d);
    });
  return r;
}

/// The separation loss of ClearerVoice, asteroid and kaituoxu: -SI-SDR in dB of the best
/// assignment. estimate and source [B, C, T] -> one loss an item; their mean is the training loss.
/// `lengths` as in si_sdr_pairwise (kaituoxu). Throws ShapeError.
template <Scalar T>
PermutationLoss<T> si_sdr_loss(const Tensor<T, 3>& estimate, const Tensor<T, 3>& source,
                               std::span<const std::int64_t> lengths = {},
                               PermutationOrder order = PermutationOrder::kSourceOfEstimate) {
  if (estimate.extent(1) != source.extent(1))
    throw ShapeError("si_sdr_loss: source is " + to_string(source.shape()) + ", expected " +
                     to_string(estimate.shape()) + " as the estimate");
  return permutation_loss(neg(si_sdr_pairwise(estimate, source, lengths)), order);
}

/// Mean of the losses above `threshold`, 0 when none is: ClearerVoice's trainer drops utterances
/// that are separated well enough (`loss_threshold`, -9999 there: none). NaN in gives NaN out.
template <Scalar T>
Tensor<T, 0> mean_above(const Tensor<T, 1>& loss, T threshold) {
  Tensor<T, 1> kept(loss.shape());
  T* const keep = kept.data();
  index_t count = 0;
  for (index_t b = 0; b < loss.size(); ++b) {
    const bool counts = !(loss.data()[b] <= threshold);
    keep[b] = counts ? T{1} : T{0};
    count += counts ? 1 : 0;
  }
  if (count == loss.size()) return mean(loss);
  return scale(sum(mul(loss, kept)), count == 0 ? T{0} : T{1} / static_cast<T>(count));
}

/// signals [B, C, T] in another order: row j of item b is its row order[b, j]. With
/// `estimate_of_source` the estimates come in the order of the sources. (kaituoxu's
/// `reorder_source` takes the inverse permutation, which differs for the cyclic ones of three and
/// more sources: pass `source_of_estimate` to get that.) Recorded. Throws ShapeError.
template <Scalar T>
Tensor<T, 3> reorder_sources(const Tensor<T, 3>& signals, const Tensor<std::int64_t, 2>& order) {
  const index_t batch = signals.extent(0), C = signals.extent(1), n = signals.extent(2);
  if (order.shape() != Shape<2>{batch, C})
    throw ShapeError("reorder_sources: order is " + to_string(order.shape()) +
                     ", expected [B=" + std::to_string(batch) + ", C=" + std::to_string(C) + "]");
  for (const std::int64_t row : order.span())
    if (row < 0 || row >= C)
      throw ShapeError("reorder_sources: row " + std::to_string(row) +
                       " is out of range [0, C=" + std::to_string(C) + ")");
  auto y = Tensor<T, 3>::empty(signals.shape());
  T* const to = y.data();
  for (index_t b = 0; b < batch; ++b)
    for (index_t j = 0; j < C; ++j)
      std::copy_n(signals.data() + (b * C + order(b, j)) * n, n, to + (b * C + j) * n);
  if (Recorder* tape = recording(signals))
    tape->push([rows = order.clone(), xv = signals.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      const index_t sources = xv.shape[1], length = xv.shape[2];
      Tensor<T, 3> dx(xv.shape);
      T* const out = dx.data();
      for (index_t b = 0; b < xv.shape[0]; ++b)
        for (index_t j = 0; j < sources; ++j) {
          T* const row = out + (b * sources + rows(b, j)) * length;
          const T* const from = dy.data() + (b * sources + j) * length;
          for (index_t t = 0; t < length; ++t) row[t] += from[t];
        }
      g.add(xv, dx);
    });
  return y;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(permutation_loss);
SEQUIN_INSTANTIATE(si_sdr_loss);
SEQUIN_INSTANTIATE(mean_above);
SEQUIN_INSTANTIATE(reorder_sources);
