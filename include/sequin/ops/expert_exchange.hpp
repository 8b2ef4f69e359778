/// Tokens to the processes that have their experts, and back.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/replicas.hpp"
#include "sequin/ops/expert_dispatch.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Who computes whose tokens when X experts lie on the ranks in equal parts, in order: rank r has
/// experts `first(r)` to `first(r + 1)` - 1. The ranks make one a routing, together.
class ExpertExchange {
 public:
  /// selected (N, k): for each token of this rank its experts, in [0, experts). Throws ShapeError
  /// as ExpertPlan, and when there are more ranks than experts.
  ExpertExchange(Replicas& replicas, const Tensor<std::int64_t, 2>& selected, index_t experts)
      : replicas_(&replicas),
        plan_(selected, checked(experts, replicas)),
        sent_(static_cast<std::size_t>(replicas.size())),
        received_(sent_.size()),
        here_(receive_plan()) {}

  /// The tokens of this rank among all X experts.
  const ExpertPlan& plan() const noexcept { return plan_; }
  /// The M received tokens, rank after rank, among the experts of this one.
  const ExpertPlan& here() const noexcept { return here_; }
  Replicas& replicas() const noexcept { return *replicas_; }

  /// The first expert of a rank.
  static index_t first(index_t experts, index_t rank, index_t ranks) noexcept {
    return detail::part_begin(experts, rank, ranks);
  }

  /// Rows of `width` elements in the order of the plan's slots to the ranks of their experts. Every
  /// rank calls it.
  template <Scalar T>
  Tensor<T, 2> out(const Tensor<T, 2>& rows) const {
    return exchange(rows, here_.tokens(), sent_, received_);
  }
  /// The way back.
  template <Scalar T>
  Tensor<T, 2> back(const Tensor<T, 2>& rows) const {
    return exchange(rows, plan_.tokens() * plan_.choices(), received_, sent_);
  }

 private:
  static index_t checked(index_t experts, const Replicas& replicas) {
    if (experts < replicas.size())
      throw ShapeError("ExpertExchange: " + std::to_string(experts) + " experts on " +
                       std::to_string(replicas.size()) + " ranks, expected one each at least");
    return experts;
  }

  index_t first(index_t rank) const noexcept {
    return first(plan_.experts(), rank, replicas_->size());
  }

  /// Tells the others how many tokens each of their experts gets, and learns the same.
  ExpertPlan receive_plan() {
    const index_t ranks = replicas_->size(), mine = replicas_->rank();
    const index_t own = first(mine + 1) - first(mine);
    std::vector<std::int64_t> told, heard(static_cast<std::size_t>(ranks * own));
    std::vector<index_t> told_bytes, heard_bytes;
    constexpr auto word = static_cast<index_t>(sizeof(std::int64_t));
    for (index_t r = 0; r < ranks; ++r) {
      for (index_t e = first(r); e < first(r + 1); ++e) {
        told.push_back(plan_.count(e));
        sent_[static_cast<std::size_t>(r)] += plan_.count(e);
      }
      told_bytes.push_back((first(r + 1) - first(r)) * word);
      heard_bytes.push_back(own * word);
    }
    replicas_->exchange(std::as_bytes(std::span<const std::int64_t>(told)), told_bytes,
                        std::as_writable_bytes(std::span<std::int64_t>(heard)), heard_bytes);
    std::vector<std::int64_t> expert;  // of each received token
    for (std::size_t i = 0; i < heard.size(); ++i) {
      const auto e = static_cast<std::int64_t>(i) % own;
      received_[i / static_cast<std::size_t>(own)] += heard[i];
      expert.insert(expert.end(), static_cast<std::size_t>(heard[i]), e);
    }
    return ExpertPlan(Tensor<std::int64_t, 2>({static_cast<index_t>(expert.size()), 1},
                                              std::span<const std::int64_t>(expert)),
                      own);
  }

  template <Scalar T>
  Tensor<T, 2> exchange(const Tensor<T, 2>& rows, index_t count, const std::vector<index_t>& to,
                        const std::vector<index_t>& from) const {
    const index_t row = rows.extent(1) * static_cast<index_t>(sizeof(T));
    const auto bytes = [row](std::vector<index_t> counts) {
      for (index_t& n : counts) n *= row;
      return counts;
    };
    auto got = Tensor<T, 2>::empty({count, rows.extent(1)});
    replicas_->exchange(std::as_bytes(rows.span()), bytes(to), std::as_writable_bytes(got.span()),
                        bytes(from));
    return got;
  }

  Replicas* replicas_;
  ExpertPlan plan_;
  std::vector<index_t> sent_, received_;  // tokens to and from each rank
  ExpertPlan here_;
};

/// The tokens of all ranks that chose an expert of this one, (M, D), for x (N, D), this rank's: row
/// i is that of exchange.here(). All ranks call it, with a Tape or without, and go backward
/// together. Throws ShapeError.
template <Scalar T>
Tensor<T, 2> send_tokens(const Tensor<T, 2>& x, const ExpertExchange& exchange) {
  const ExpertPlan& plan = exchange.plan();
  detail::check_tokens("send_tokens", "x", x, plan.tokens(), "N");
  const index_t n = x.extent(1), slots = plan.tokens() * plan.choices();
  auto rows = Tensor<T, 2>::empty({slots, n});
  kernels::gather_rows(x.data(), plan.slots(0), slots, plan.choices(), n, rows.data());
  Tensor<T, 2> y = exchange.out(rows);
  // Whether or not x has a gradient here: others may wait for what arrives at y.
  if (Recorder* tape = Recorder::active())
    tape->push([exchange, n, slots, xv = x.var(), yv = tape->track(y)](auto& g) -> void {
      auto dy = g.take(yv);
      if (!dy.defined()) dy = Tensor<T, 2>(yv.shape);
      const Tensor<T, 2> drows = exchange.back(dy);
      if (!g.wants(xv)) return;
      Tensor<T, 2> dx(xv.shape);
      kernels::add_rows<T>(drows.data(), exchange.plan().slots(0), nullptr, slots,
                           exchange.plan().choices(), n, dx.data());
      g.add(xv, dx);
    });
  return y;
}

/// sum (N, D) plus what the experts, wherever they are, made of this rank's tokens, each times the
/// token's weight for it in weights (N, k); y (M, D) is what this rank's made of those that it
/// received. Unless it is recorded, the sum is made in the memory of `sum`: hand it over. Experts
/// are added in their order. All ranks call it, as send_tokens. Throws ShapeError.
template <Scalar T>
Tensor<T, 2> return_tokens(Tensor<T, 2> sum, const Tensor<T, 2>& y, const Tensor<T, 2>& weights,
                           const ExpertExchange& exchange) {
  const ExpertPlan& plan = exchange.plan();
  detail::check_tokens("return_tokens", "sum", sum, plan.tokens(), "N");
  detail::check_tokens("return_tokens", "weights", weights, plan.tokens(), "N");
  detail::check_tokens("return_tokens", "y", y, exchange.here().tokens(), "M");
  const index_t n = sum.extent(1), slots = plan.tokens() * plan.choices();
  if (y.extent(1) != n || weights.extent(1) != plan.choices())
    throw ShapeError("return_tokens: y is " + to_string(y.shape()) + " and weights " +
                     to_string(weights.shape()) + ", expected [M, D=" + std::to_string(n) +
                     "] and [N, k=" + std::to_string(plan.choices()) + "]");
  const Tensor<T, 2> rows = exchange.back(y);
  Recorder* const tape = Recorder::active();
  Tensor<T, 2> out = tape == nullptr ? sum : sum.clone();
  kernels::add_rows(rows.data(), plan.slots(0), weights.data(), slots, plan.choices(), n,
                    out.data());
  if (tape == nullptr) return out;
  tape->push([exchange, n, slots, rows, weights, sv = sum.var(), yv = y.var(),
              outv = tape->track(out)](auto& g) -> void {
    auto d = g.take(outv);
    if (!d.defined()) d = Tensor<T, 2>(outv.shape);
    auto drows = Tensor<T, 2>::empty(rows.shape());
    Tensor<T, 2> dweights(weights.shape());
    kernels::add_rows_backward(rows.data(), exchange.plan().slots(0), weights.data(), d.data(),
                               slots, exchange.plan().choices(), n, drows.data(), dweights.data());
    const Tensor<T, 2> dy = exchange.out(drows);
    g.add(sv, d);
    g.add(yv, dy);
    g.add(weights.var(), dweights);
  });
  return out;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(send_tokens);
SEQUIN_INSTANTIATE(return_tokens);
