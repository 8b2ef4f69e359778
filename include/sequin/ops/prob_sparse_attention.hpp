/// ProbSparse attention: full attention for the queries that have most to tell, a mean for the
/// others.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/kernels/prob_sparse_attention.hpp"
#include "sequin/ops/attention.hpp"

#include <cmath>
#include <cstdint>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// How `prob_sparse_attention` chooses and weighs.
struct ProbSparseOptions {
  index_t factor = 5;   ///< c: c ceil(ln Tk) keys are sampled, c ceil(ln Tq) queries are active
  double scale = 0;     ///< of the scores q k^T, > 0; 0: 1 / sqrt(P)
  bool causal = false;  ///< official `mask_flag`; needs Tq = Tk
};

/// min(c ceil(ln T), T): how many of T keys are sampled, or how many of T queries are active.
/// 0 for T = 1. Throws ConfigError unless c >= 1.
inline index_t prob_sparse_count(index_t factor, index_t length) {
  if (factor < 1 || factor > (index_t{1} << 24))
    detail::fail<ConfigError>(
        {"prob_sparse_attention: factor is ", factor, ", expected 1 to 2^24"});
  if (length <= 1) return 0;
  const auto logarithm = static_cast<index_t>(std::ceil(std::log(static_cast<double>(length))));
  return (std::min)(factor * logarithm, length);
}

/// Keys for each query to be measured against, uniform in [0, Tk) with replacement: (Tq, U) with
/// U = prob_sparse_count(c, Tk).
inline Tensor<std::int32_t, 2> prob_sparse_samples(index_t queries, index_t keys, index_t factor,
                                                   Generator& generator) {
  if (keys > 0x7fffffff)
    detail::fail<ShapeError>({"prob_sparse_samples: Tk is ", keys, ", expected at most 2^31 - 1"});
  auto samples = Tensor<std::int32_t, 2>::empty({queries, prob_sparse_count(factor, keys)});
  for (std::int32_t& s : samples.span())
    s = static_cast<std::int32_t>(generator.below(static_cast<std::uint32_t>(keys)));
  return samples;
}

namespace detail {

template <Scalar T>
kernels::ProbSparseProblem<T> prob_sparse_problem(const Tensor<T, 4>& q, const Tensor<T, 4>& k,
                                                  const Tensor<T, 4>& v,
                                                  const Tensor<std::int32_t, 2>& samples,
                                                  const ProbSparseOptions& options) {
  const Shape<4> expected{q.extent(0), k.extent(1), q.extent(2), q.extent(3)};
  if (q.extent(1) < 1 || q.extent(3) < 1 || q.extent(1) > 0x7fffffff)
    fail<ShapeError>(
        {"prob_sparse_attention: q is ", q.shape(), ", expected [B, Tq, H, P] with Tq and P >= 1"});
  if (k.shape() != expected || k.extent(1) < 1)
    fail<ShapeError>({"prob_sparse_attention: k is ", k.shape(), ", expected [B=", expected[0],
                      ", Tk >= 1, H=", expected[2], ", P=", expected[3], "] (from q ", q.shape(),
                      ")"});
  if (v.extent(0) != k.extent(0) || v.extent(1) != k.extent(1) || v.extent(2) != k.extent(2))
    fail<ShapeError>({"prob_sparse_attention: v is ", v.shape(), ", expected [B=", k.extent(0),
                      ", Tk=", k.extent(1), ", H=", k.extent(2), ", Pv] (from k ", k.shape(), ")"});
  if (options.causal && q.extent(1) != k.extent(1))
    fail<ShapeError>({"prob_sparse_attention: q is ", q.shape(), " and k ", k.shape(),
                      ", expected Tq = Tk with a causal mask"});
  if (!(options.scale >= 0) || std::isinf(options.scale))
    detail::fail<ConfigError>({"prob_sparse_attention: scale is ", options.scale,
                               ", expected a positive number (0: 1 / sqrt(P))"});
  const Shape<2> sampled{q.extent(1), prob_sparse_count(options.factor, k.extent(1))};
  if (samples.shape() != sampled)
    fail<ShapeError>({"prob_sparse_attention: samples are ", samples.shape(), ", expected ",
                      sampled, " ([Tq, min(factor ceil(ln Tk), Tk)] with factor ", options.factor,
                      ")"});
  for (index_t i = 0; i < samples.size(); ++i)
    if (samples.data()[i] < 0 || samples.data()[i] >= k.extent(1))
      fail<ShapeError>({"prob_sparse_attention: sample ", samples.data()[i], " at [",
                        i / sampled[1], ", ", i % sampled[1],
                        "] is out of range [0, Tk=", k.extent(1), ")"});
  kernels::ProbSparseProblem<T> a;
  a.q = q.view();
  a.k = k.view();
  a.v = v.view();
  a.samples = samples.data();
  a.sampled = sampled[1];
  a.active = prob_sparse_count(options.factor, q.extent(1));
  a.scale = static_cast<T>(options.scale > 0 ? options.scale
                                             : 1 / std::sqrt(static_cast<double>(q.extent(3))));
  a.causal = options.causal;
  return a;
}

template <Scalar T>
double prob_sparse_operations(const kernels::ProbSparseProblem<T>& a) noexcept {
  return 2.0 * static_cast<double>(a.tasks() * (a.width() + a.value_width())) *
         (static_cast<double>(a.queries() * (a.sampled + 1)) +
          static_cast<double>(a.keys() * (a.active + 1)));
}

}  // namespace detail

/// For each batch entry and head: the u queries with the largest
/// M_t = max_j q_t . k_j - sum_j q_t . k_j / Tk over their sampled keys j attend to all keys; every
/// other query gets the mean of v, or when causal the running sum of v up to its own step (a sum,
/// as in the official code). q (B, Tq, H, P), k (B, Tk, H, P), v (B, Tk, H, Pv), samples (Tq, U) as
/// `prob_sparse_samples` gives them -> (B, Tq, H, Pv). Time O((Tq U + u Tk) P), memory O(u Tk):
/// nothing of Tq x Tk but `map`, when asked for: (B, H, max(Tq, Tk), Tk), 1 / Tk everywhere but in
/// the active queries' rows, as the official `output_attention` (where Tq > Tk is an error).
///
/// With one key every query gets its value, with one query (u = 0) it gets the mean; the official
/// code stops at one key. No gradient flows through the choice. Does not depend on batch or
/// threads. Throws ShapeError, ConfigError.
///
/// Zhou et al., "Informer", AAAI 2021, section 3.2; official `ProbAttention` of
/// zhouhaoyi/Informer2020, which divides the sum by Tk where the paper divides by U.
template <Scalar T>
Tensor<T, 4> prob_sparse_attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k,
                                   const Tensor<T, 4>& v, const Tensor<std::int32_t, 2>& samples,
                                   const ProbSparseOptions& options = {},
                                   Tensor<T, 4>* map = nullptr) {
  const auto a = detail::prob_sparse_problem(q, k, v, samples, options);
  const index_t tasks = a.tasks();
  const double operations = detail::prob_sparse_operations(a);
  auto out = Tensor<T, 4>::empty({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
  Tensor<std::int32_t, 2> active({tasks, a.active});
  auto order = Tensor<std::int32_t, 2>::empty({tasks, a.queries()});
  const index_t map_rows = (std::max)(a.queries(), a.keys());
  if (map != nullptr)
    *map = Tensor<T, 4>({q.extent(0), q.extent(2), map_rows, a.keys()},
                        T{1} / static_cast<T>(a.keys()));
  std::int32_t* const chosen = active.data();
  std::int32_t* const orders = order.data();
  T* const maps = map == nullptr ? nullptr : map->data();
  const View<T, 4> to = out.view();
  detail::attention_parallel<T>(
      tasks, operations, kernels::prob_sparse_scratch(a, false),
      [&](index_t begin, index_t end, T* scratch) {
        for (index_t i = begin; i < end; ++i) {
          kernels::prob_sparse_choose(a, i, scratch, orders + i * a.queries(),
                                      chosen + i * a.active);
          kernels::prob_sparse_forward(
              a, i, static_cast<const std::int32_t*>(chosen) + i * a.active, to,
              maps == nullptr ? nullptr : maps + i * map_rows * a.keys(), scratch);
        }
      });
  if (Recorder* tape = recording(q, k, v))
    tape->push([a, q, k, v, active, operations, yv = tape->track(out)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, 4> dq(q.shape());
      auto dk = Tensor<T, 4>::empty(k.shape());
      auto dv = Tensor<T, 4>::empty(v.shape());
      const View<T, 4> to_q = dq.view(), to_k = dk.view(), to_v = dv.view();
      detail::attention_parallel<T>(
          a.tasks(), 2.5 * operations, kernels::prob_sparse_scratch(a, true),
          [&](index_t begin, index_t end, T* scratch) {
            for (index_t i = begin; i < end; ++i)
              kernels::prob_sparse_backward<T>(a, i, active.data() + i * a.active, dy.view(), to_q,
                                               to_k, to_v, scratch);
          });
      g.add(q.var(), dq);
      g.add(k.var(), dk);
      g.add(v.var(), dv);
    });
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(prob_sparse_attention);
