/// Scaled dot-product attention.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/core/random.hpp"
#include "sequin/kernels/attention_backward.hpp"
#include "sequin/kernels/attention_step.hpp"
#include "sequin/kernels/attention_uniform.hpp"
#include "sequin/kernels/attention_weights.hpp"

#include <cmath>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// How `attention` weighs the keys.
struct AttentionOptions {
  double scale = 0;                ///< of the scores q k^T, > 0; 0: 1 / sqrt(P)
  bool causal = false;             ///< query i sees keys j <= i + (Tk - Tq) only
  double dropout = 0;              ///< probability that a weight is dropped (training)
  Generator* generator = nullptr;  ///< draws the dropout; needed where dropout > 0
  Tensor<bool, 2> key_mask{};      ///< (B, Tk), false removes a key; undefined: all take part
  /// A query left with no key weighs all keys alike, future and removed ones included: what adding
  /// the most negative finite number to blocked scores makes of it (transformers' masks). Such rows
  /// are not dropped. Otherwise it gives zeros.
  bool uniform_when_blocked = false;
};

namespace detail {

template <Scalar T>
kernels::AttentionProblem<T> attention_problem(const char* op, const View<const T, 4>& q,
                                               const View<const T, 4>& k,
                                               const View<const bool, 2>& mask,
                                               const AttentionOptions& options) {
  const Shape<4> expected{q.extent(0), k.extent(1), q.extent(2), q.extent(3)};
  if (q.extent(3) < 1)
    fail<ShapeError>({op, ": q is ", q.shape(), ", expected [B, Tq, H, P] with P >= 1"});
  Shape<4> heads_of_q = k.shape();
  if (k.extent(2) > 0 && q.extent(2) % k.extent(2) == 0) heads_of_q[2] = q.extent(2);
  if (heads_of_q != expected)
    fail<ShapeError>({op, ": k is ", k.shape(), ", expected [B=", expected[0],
                      ", Tk, H=", expected[2], ", P=", expected[3], "] (from q ", q.shape(), ")"});
  if (mask.data() != nullptr && mask.shape() != Shape<2>{k.extent(0), k.extent(1)})
    fail<ShapeError>({op, ": key_mask is ", mask.shape(), ", expected ",
                      Shape<2>{k.extent(0), k.extent(1)}, " ([B, Tk] from k ", k.shape(), ")"});
  if (!(options.scale >= 0) || std::isinf(options.scale))
    detail::fail<ConfigError>(
        {op, ": scale is ", options.scale, ", expected a positive number (0: 1 / sqrt(P))"});
  if (!(options.dropout >= 0 && options.dropout <= 1))
    detail::fail<ConfigError>({op, ": dropout is ", options.dropout, ", expected 0 to 1"});
  if (options.dropout > 0 && options.generator == nullptr)
    detail::fail<ConfigError>({op, ": dropout is ", options.dropout, " without a generator"});
  kernels::AttentionProblem<T> a;
  a.q = q;
  a.k = k;
  a.scale = static_cast<T>(options.scale > 0 ? options.scale
                                             : 1 / std::sqrt(static_cast<double>(q.extent(3))));
  a.causal = options.causal;
  a.key_mask = mask.data();
  a.key_mask_row = mask.stride(0);
  if (options.dropout > 0) {
    a.drop_below = static_cast<std::uint32_t>(std::lround(options.dropout * 65536));
    a.keep_factor = static_cast<T>(options.dropout < 1 ? 1 / (1 - options.dropout) : 0);
  }
  return a;
}

template <Scalar T>
kernels::AttentionProblem<T> attention_problem(const char* op, const Tensor<T, 4>& q,
                                               const Tensor<T, 4>& k,
                                               const AttentionOptions& options) {
  return attention_problem(op, q.view(), k.view(), options.key_mask.view(), options);
}

template <Scalar T>
void check_values(const View<const T, 4>& k, const View<const T, 4>& v) {
  if (v.extent(0) != k.extent(0) || v.extent(1) != k.extent(1) || v.extent(2) != k.extent(2))
    detail::fail<ShapeError>({"attention: v is ", v.shape(), ", expected [B=", k.extent(0), ", Tk=",
                              k.extent(1), ", H=", k.extent(2), ", Pv] (from k ", k.shape(), ")"});
}

/// f(first task, last task, scratch) on as many threads as the work is worth, each with its own
/// `scratch_size` elements.
template <Scalar T>
void attention_parallel(index_t tasks, double operations, index_t scratch_size,
                        FunctionRef<void(index_t, index_t, T*)> f) {
  constexpr double worth_a_thread = 2e5;
  const index_t chunks = (std::max)(
      index_t{1},
      (std::min)({concurrency(), tasks, static_cast<index_t>(operations / worth_a_thread)}));
  Tensor<T, 1> scratch;
  if (scratch_size > 0) scratch = Tensor<T, 1>::empty({chunks * scratch_size});
  T* const memory = scratch.data();
  parallel_for(chunks, 1, [&](index_t begin, index_t end) {
    for (index_t c = begin; c < end; ++c)
      f(tasks * c / chunks, tasks * (c + 1) / chunks, memory + c * scratch_size);
  });
}

template <Scalar T>
double attention_operations(const kernels::AttentionProblem<T>& a) noexcept {
  return 2.0 * static_cast<double>(a.batch() * a.heads() * a.queries()) *
         static_cast<double>(a.keys() * (a.width() + a.value_width()));
}

/// Forward, whichever kernel fits; `max` and `normaliser` as `attention_forward`.
template <Scalar T>
void attend(const kernels::AttentionProblem<T>& a, bool uniform_when_blocked, const View<T, 4>& out,
            T* max, T* normaliser) {
  const double operations = attention_operations(a);
  const index_t heads = a.batch() * a.heads();
  if (a.queries() == 1) {
    attention_parallel<T>(heads, operations, 0, [&](index_t begin, index_t end, T*) {
      kernels::attention_step(a, begin, end, out, max, normaliser);
    });
  } else {
    attention_parallel<T>(kernels::attention_tasks(a), operations, kernels::attention_scratch(a),
                          [&](index_t begin, index_t end, T* scratch) {
                            kernels::attention_forward(a, begin, end, out, max, normaliser,
                                                       scratch);
                          });
  }
  if (uniform_when_blocked)
    attention_parallel<T>(heads, operations, 0, [&](index_t begin, index_t end, T*) {
      kernels::attention_uniform_forward(a, begin, end, out);
    });
}

/// The map of a whole problem, for `attention_weights`.
template <Scalar T>
Tensor<T, 4> attention_map(kernels::AttentionProblem<T> a, const AttentionOptions& options) {
  if (a.drop_below != 0) a.dropout_key = Generator(*options.generator).fork();
  auto map = Tensor<T, 4>::empty({a.batch(), a.heads(), a.queries(), a.keys()});
  const View<T, 4> to = map.view();
  attention_parallel<T>(kernels::attention_tasks(a), attention_operations(a),
                        kernels::attention_scratch(a), [&](index_t begin, index_t end, T* scratch) {
                          kernels::attention_weights_forward(a, begin, end, to, scratch);
                        });
  for (index_t b = 0; options.uniform_when_blocked && b < a.batch(); ++b)
    for (index_t h = 0; h < a.heads(); ++h)
      std::fill_n(&to(b, h, 0, 0), kernels::blocked_queries(a, b) * a.keys(),
                  T{1} / static_cast<T>(a.keys()));
  return map;
}

}  // namespace detail

/// out (B, Tq, H, Pv) = dropout(softmax(scale q k^T)) v for each batch entry and head, q (B, Tq, H,
/// P), k (B, Tk, G, P), v (B, Tk, G, Pv): what a projection (B, T, H*P) reshapes to. G divides H:
/// each head of keys and values serves H / G query heads in a row (grouped-query attention,
/// Ainslie et al., arXiv 2305.13245). Never holds a Tq x Tk matrix, in backward neither. Masked
/// scores are -inf: what a masked key or value holds, NaN included, has no influence; a query left
/// with no key, or only with scores of -inf, gives zeros (torch: NaN) unless
/// `uniform_when_blocked`. A query's result does not depend on the other queries, the batch or the
/// number of threads. Dropout takes one `fork` of the generator. Throws ShapeError, ConfigError.
/// Real-time safe under an arena. Vaswani et al., arXiv 1706.03762, equation 1; official
/// `FullAttention` of thuml/iTransformer.
template <Scalar T>
Tensor<T, 4> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                       const AttentionOptions& options = {}) {
  kernels::AttentionProblem<T> a = detail::attention_problem("attention", q, k, options);
  detail::check_values(k.view(), v.view());
  a.v = v.view();
  if (a.drop_below != 0) a.dropout_key = options.generator->fork();

  auto out = Tensor<T, 4>::empty({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
  Recorder* const tape = recording(q, k, v);
  // The largest score and one over the sum, for each query.
  Tensor<T, 2> statistics;
  const index_t rows = q.extent(0) * q.extent(1) * q.extent(2);
  if (tape != nullptr) statistics = Tensor<T, 2>::empty({2, rows});
  T* const max = statistics.data();
  const bool uniform = options.uniform_when_blocked;
  detail::attend(a, uniform, out.view(), max, max == nullptr ? nullptr : max + rows);

  if (tape != nullptr) {
    tape->push([a, q, k, v, mask = options.key_mask, statistics, rows, yv = tape->track(out), out,
                uniform](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      auto dq = Tensor<T, 4>::empty(q.shape());
      auto dk = Tensor<T, 4>::empty(k.shape());
      auto dv = Tensor<T, 4>::empty(v.shape());
      const kernels::AttentionGradients<T> gradients{dq.view(), dk.view(), dv.view()};
      const double operations = 2.5 * detail::attention_operations(a);
      detail::attention_parallel<T>(
          a.batch() * a.key_heads(), operations, kernels::attention_backward_scratch(a),
          [&](index_t begin, index_t end, T* scratch) {
            kernels::attention_backward<T>(a, begin, end, out.view(), dy.view(), statistics.data(),
                                           statistics.data() + rows, gradients, scratch);
          });
      if (uniform)
        detail::attention_parallel<T>(
            a.batch() * a.key_heads(), operations, kernels::attention_uniform_scratch(a),
            [&](index_t begin, index_t end, T* scratch) {
              kernels::attention_uniform_backward<T>(a, begin, end, dy.view(), gradients.dq,
                                                     gradients.dk, gradients.dv, scratch);
            });
      g.add(q.var(), dq);
      g.add(k.var(), dk);
      g.add(v.var(), dv);
    });
  }
  return out;
}

/// The same over keys and values that lie somewhere else, in a cache say: their last axes are
/// contiguous, the others may be strided, and `key_mask` (B, Tk) or empty stands for that of the
/// options. Not recorded: throws ConfigError when q is.
template <Scalar T>
Tensor<T, 4> attention(const Tensor<T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
                       const AttentionOptions& options, const View<const bool, 2>& key_mask = {}) {
  kernels::AttentionProblem<T> a =
      detail::attention_problem("attention", q.view(), k, key_mask, options);
  detail::check_values(k, v);
  if (recording(q) != nullptr)
    detail::fail<ConfigError>(
        {"attention: gradients through views are not recorded; give tensors"});
  a.v = v;
  if (a.drop_below != 0) a.dropout_key = options.generator->fork();
  auto out = Tensor<T, 4>::empty({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
  detail::attend<T>(a, options.uniform_when_blocked, out.view(), nullptr, nullptr);
  return out;
}

/// The map (B, H, Tq, Tk) of probabilities that `attention` uses, after dropout, as the official
/// `output_attention` gives it; a row that sees no key is zeros, or uniform. Not recorded. The
/// generator does not advance: called before `attention` with the same options, it shows that
/// call's dropout. Throws ShapeError, ConfigError.
template <Scalar T>
Tensor<T, 4> attention_weights(const Tensor<T, 4>& q, const Tensor<T, 4>& k,
                               const AttentionOptions& options = {}) {
  return detail::attention_map(detail::attention_problem("attention_weights", q, k, options),
                               options);
}

/// The same over keys that lie somewhere else, as `attention` takes them.
template <Scalar T>
Tensor<T, 4> attention_weights(const Tensor<T, 4>& q, const View<const T, 4>& k,
                               const AttentionOptions& options,
                               const View<const bool, 2>& key_mask = {}) {
  return detail::attention_map(
      detail::attention_problem("attention_weights", q.view(), k, key_mask, options), options);
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::attend);
SEQUIN_INSTANTIATE(detail::attention_map);
