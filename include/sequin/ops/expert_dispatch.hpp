/// Tokens to their experts and back: each expert computes its own tokens in one go.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/compiled.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/kernels/expert_rows.hpp"

#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Which tokens each expert got. Made once a routing; its cost is that of one pass over it.
class ExpertPlan {
 public:
  /// selected (N, k): for each token its experts, in [0, experts). Throws ShapeError naming the
  /// first that is not. Real-time safe under an arena.
  ExpertPlan(const Tensor<std::int64_t, 2>& selected, index_t experts)
      : tokens_(selected.extent(0)),
        k_(selected.extent(1)),
        first_(Shape<1>{experts + 1}),
        slot_(Tensor<std::int64_t, 1>::empty({selected.size()})) {
    const std::int64_t* const expert = selected.data();
    std::int64_t* const first = first_.data();
    std::int64_t* const slot = slot_.data();
    for (index_t i = 0; i < selected.size(); ++i) {
      if (expert[i] < 0 || expert[i] >= experts)
        throw ShapeError("ExpertPlan: token " + std::to_string(i / k_) + " selects expert " +
                         std::to_string(expert[i]) +
                         ", expected 0 to X - 1 = " + std::to_string(experts - 1));
      ++first[expert[i]];
    }
    // Ends of the lists, which filling from the back turns into their beginnings.
    for (index_t e = 0; e < experts; ++e) first[e + 1] += first[e];
    for (index_t i = selected.size(); i-- > 0;) slot[--first[expert[i]]] = i;
  }

  index_t tokens() const noexcept { return tokens_; }
  index_t choices() const noexcept { return k_; }
  index_t experts() const noexcept { return first_.size() - 1; }
  /// Number of tokens of expert `e`.
  index_t count(index_t e) const noexcept { return first_(e + 1) - first_(e); }
  /// Its slots token * k + choice, in ascending order.
  const std::int64_t* slots(index_t e) const noexcept { return slot_.data() + first_(e); }

 private:
  index_t tokens_, k_;
  Tensor<std::int64_t, 1> first_;  // (X + 1)
  Tensor<std::int64_t, 1> slot_;   // (N * k)
};

namespace detail {

template <Scalar T>
void check_tokens(const char* op, const char* name, const Tensor<T, 2>& x, index_t rows,
                  const char* what) {
  if (x.extent(0) != rows)
    throw ShapeError(std::string(op) + ": " + name + " is " + to_string(x.shape()) +
                     ", expected [" + what + "=" + std::to_string(rows) + ", ...]");
}

}  // namespace detail

/// The rows of x (N, D) whose token selected expert `e`, in the order of the tokens. Throws
/// ShapeError. Real-time safe under an arena.
template <Scalar T>
Tensor<T, 2> gather_tokens(const Tensor<T, 2>& x, const ExpertPlan& plan, index_t e) {
  detail::check_tokens("gather_tokens", "x", x, plan.tokens(), "N");
  const index_t n = x.extent(1);
  auto y = Tensor<T, 2>::empty({plan.count(e), n});
  kernels::gather_rows(x.data(), plan.slots(e), plan.count(e), plan.choices(), n, y.data());
  if (Recorder* tape = recording(x))
    tape->push([plan, e, n, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      const auto dy = g.take(yv);
      if (!dy.defined()) return;
      Tensor<T, 2> dx(xv.shape);
      kernels::add_rows<T>(dy.data(), plan.slots(e), nullptr, plan.count(e), plan.choices(), n,
                           dx.data());
      g.add(xv, dx);
    });
  return y;
}

/// sum (N, D) plus what expert `e` made of its tokens, y (count, D), each row times the token's
/// weight for it in weights (N, k). Unless it is recorded, the sum is made in the memory of `sum`:
/// hand it over. Experts are added in the order of the calls, whatever the number of threads.
/// Throws ShapeError. Real-time safe under an arena.
template <Scalar T>
Tensor<T, 2> add_expert(Tensor<T, 2> sum, const Tensor<T, 2>& y, const Tensor<T, 2>& weights,
                        const ExpertPlan& plan, index_t e) {
  detail::check_tokens("add_expert", "sum", sum, plan.tokens(), "N");
  detail::check_tokens("add_expert", "y", y, plan.count(e), "count");
  if (y.extent(1) != sum.extent(1))
    throw ShapeError("add_expert: y is " + to_string(y.shape()) + ", expected [count=" +
                     std::to_string(plan.count(e)) + ", D=" + std::to_string(sum.extent(1)) + "]");
  const Shape<2> expected{plan.tokens(), plan.choices()};
  if (weights.shape() != expected)
    throw ShapeError("add_expert: weights is " + to_string(weights.shape()) + ", expected " +
                     to_string(expected));
  const index_t n = sum.extent(1);
  Recorder* const tape = recording(sum, y, weights);
  Tensor<T, 2> out = tape == nullptr ? sum : sum.clone();
  kernels::add_rows(y.data(), plan.slots(e), weights.data(), plan.count(e), plan.choices(), n,
                    out.data());
  if (tape == nullptr) return out;
  tape->push([plan, e, n, y, weights, sv = sum.var(), outv = tape->track(out)](auto& g) -> void {
    const auto d = g.take(outv);
    if (!d.defined()) return;
    auto dy = Tensor<T, 2>::empty(y.shape());
    Tensor<T, 2> dweights(weights.shape());
    kernels::add_rows_backward(y.data(), plan.slots(e), weights.data(), d.data(), plan.count(e),
                               plan.choices(), n, dy.data(), dweights.data());
    g.add(sv, d);
    g.add(y.var(), dy);
    g.add(weights.var(), dweights);
  });
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(gather_tokens);
SEQUIN_INSTANTIATE(add_expert);
