/// Trades time for memory: a part of a model whose activations are computed again when needed.
#pragma once

#include "sequin/autograd/recorder.hpp"
#include "sequin/core/random.hpp"

#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

template <class T, std::size_t Rank>
std::tuple<Tensor<T, Rank>> as_tuple(const Tensor<T, Rank>& t) {
  return {t};
}
template <class... Tensors>
std::tuple<Tensors...> as_tuple(const std::tuple<Tensors...>& t) {
  return t;
}

/// A leaf of its own in place of another tape's value; parameters and constants as they are.
template <class T, std::size_t Rank>
Tensor<T, Rank> as_leaf(const Tensor<T, Rank>& x) {
  if (x.var().id == 0 || (x.var().id >> 63) != 0) return x;
  Tensor<T, Rank> leaf = x.detach();
  leaf.set_requires_grad();
  return leaf;
}

/// The same values, x's own name given up unless it is a constant of `tape`.
template <class T, std::size_t Rank>
Tensor<T, Rank> seen_by(const Recorder& tape, const Tensor<T, Rank>& x) {
  return tape.tracks(x) ? x : x.detach();
}

/// What is computed a first time without keeping anything, and again to be differentiated.
class Rehearsal : public Recorder {
 public:
  Rehearsal() : Recorder(Mode::kFollow) {}
};
class Repetition : public Recorder {
 public:
  Repetition() : Recorder(Mode::kRecord) {}
};

/// While it lives, generators continue from where they were before.
class ReplayedDraws {
 public:
  ReplayedDraws(const std::vector<Generator*>& generators, const std::vector<Generator>& before)
      : generators_(generators) {
    for (std::size_t i = 0; i < generators.size(); ++i) {
      now_.push_back(*generators[i]);
      *generators[i] = before[i];
    }
  }
  ReplayedDraws(const ReplayedDraws&) = delete;
  ReplayedDraws& operator=(const ReplayedDraws&) = delete;
  ~ReplayedDraws() {
    for (std::size_t i = 0; i < generators_.size(); ++i) *generators_[i] = now_[i];
  }

 private:
  const std::vector<Generator*>& generators_;
  std::vector<Generator> now_;
};

}  // namespace detail

/// fn(inputs...), of which the tape keeps the inputs alone: backward calls fn again and
/// differentiates that. Values and gradients are the same bits as without; a training step of L
/// layers, each recomputed, holds the activations of one layer and L inputs instead of L layers'.
/// Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
///
///     for (const auto& layer : layers)
///       x = recompute([&](const auto& h) { return layer.forward(h, context); }, {&generator}, x);
///
/// `fn` is copied, takes the tensors and returns a Tensor or a std::tuple of them; what it refers
/// to lives until the backward pass. Parameters may be captured. A value computed under the tape
/// has to come in as an input: captured, it counts as a constant. `generators` are those that fn
/// draws from (dropout): the second call repeats the draws of the first, and they then go on as if
/// there had been one. fn must change nothing else: BatchNorm's running statistics would move
/// twice. Without a tape it is fn(inputs...).
template <class F, class... Tensors>
auto recompute(const F& fn, const std::vector<Generator*>& generators, const Tensors&... inputs) {
  Recorder* const tape = Recorder::active();
  if (tape == nullptr) return fn(inputs...);
  std::vector<Generator> before;
  for (const Generator* generator : generators) before.push_back(*generator);
  const std::tuple<Tensors...> kept(detail::seen_by(*tape, inputs)...);
  auto result = [&] {
    const detail::Rehearsal rehearsal;
    return std::apply([&](const auto&... x) { return fn(detail::as_leaf(x)...); }, kept);
  }();
  auto outputs = detail::as_tuple(result);
  const bool depends =
      std::apply([](const auto&... y) { return (... || y.requires_grad()); }, outputs);
  std::apply([](auto&... y) { ((y = y.detach()), ...); }, outputs);
  if (depends) {
    const auto vars =
        std::apply([&](auto&... y) { return std::make_tuple(tape->track(y)...); }, outputs);
    tape->push([fn, generators, before, kept, vars](auto& g) -> void {
      const auto arrived =
          std::apply([&](const auto&... v) { return std::make_tuple(g.take(v)...); }, vars);
      if (!std::apply([](const auto&... dy) { return (... || dy.defined()); }, arrived)) return;
      const auto leaves =
          std::apply([](const auto&... x) { return std::make_tuple(detail::as_leaf(x)...); }, kept);
      const auto rename = [&]<std::size_t... I>(std::index_sequence<I...>, bool back) {
        const auto one = [&](const auto& x, const auto& leaf) {
          if (x.var().id == leaf.var().id) return;
          back ? g.rename(leaf.var(), x.var()) : g.rename(x.var(), leaf.var());
        };
        (one(std::get<I>(kept), std::get<I>(leaves)), ...);
      };
      constexpr auto all = std::index_sequence_for<Tensors...>{};
      const detail::ReplayedDraws replayed(generators, before);
      detail::Repetition inner;
      const auto again = detail::as_tuple(std::apply(fn, leaves));
      rename(all, false);
      inner.gradients_into(g, [&]<class Into>(Into& into) {
        const auto add = [&](const auto& y, const auto& dy) {
          if (dy.defined()) into.add(y.var(), dy);
        };
        [&]<std::size_t... I>(std::index_sequence<I...>) {
          (add(std::get<I>(again), std::get<I>(arrived)), ...);
        }
        (std::make_index_sequence<std::tuple_size_v<decltype(again)>>{});
      });
      rename(all, true);
    });
  }
  if constexpr (std::tuple_size_v<decltype(outputs)> == 1 &&
                !requires { std::tuple_size<decltype(result)>::value; })
    return std::get<0>(outputs);
  else
    return outputs;
}

/// The same for an fn that draws nothing.
template <class F, class T, std::size_t Rank, class... Tensors>
auto recompute(const F& fn, const Tensor<T, Rank>& input, const Tensors&... inputs) {
  return recompute(fn, std::vector<Generator*>{}, input, inputs...);
}

}  // namespace sequin::inline SEQUIN_ABI
