/// The sum of several passes' gradients.
#pragma once

#include "sequin/core/replicas.hpp"
#include "sequin/train/clip.hpp"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Adds up gradients, parameter by parameter, in memory of its own that is used again.
template <Scalar T>
class GradientSum {
 public:
  /// Forgets everything.
  void clear() noexcept {
    for (auto& g : sums_) g = Tensor<T, 1>{};
  }

  /// Adds what arrived for `parameters`, always the same ones.
  void add(const Gradients& gradients, const std::vector<Parameter<T>>& parameters) {
    make_room(parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!gradients.has(parameters[i].values)) continue;
      const Tensor<T, 1> g = gradients.of(parameters[i].values);
      T* const sum = room_[i].data();
      const T* const more = g.data();
      if (!sums_[i].defined()) {
        sums_[i] = room_[i];
        std::copy_n(more, g.size(), sum);
      } else {
        parallel_for(g.size(), index_t{16384}, [&](index_t begin, index_t end) {
          for (index_t k = begin; k < end; ++k) sum[k] += more[k];
        });
      }
    }
  }

  /// Takes over what arrived instead of adding it, without a copy: until `clear`, which comes
  /// before the arena's scope ends in which the gradients were made.
  void take(Gradients& gradients, const std::vector<Parameter<T>>& parameters) {
    sums_ = take_gradients(gradients, parameters);
  }

  /// The sums become those of all ranks, as does `loss`: one short message, then one with the small
  /// gradients that arrived anywhere and one for each large one. Those of parameters that one rank
  /// has alone stay as they are there, and are elsewhere without elements.
  void sum_over(Replicas& replicas, const std::vector<Parameter<T>>& parameters, double& loss) {
    sums_.resize(parameters.size());
    std::vector<double> notes{loss};  // then how many ranks have each gradient
    for (const auto& sum : sums_) notes.push_back(sum.defined() ? 1 : 0);
    replicas.sum(std::span<double>(notes));
    loss = notes[0];
    index_t together = 0;
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      if (notes[i + 1] == 0) continue;
      const index_t n = parameters[i].values.size();
      if (!sums_[i].defined()) sums_[i] = Tensor<T, 1>(Shape<1>{n});
      if (parameters[i].rank >= 0) notes[i + 1] = 0;  // it does not travel
      if (n < kLarge && notes[i + 1] > 0) together += n;
    }
    if (together > message_.size()) {
      const ArenaScope heap(nullptr);
      message_ = Tensor<T, 1>::empty({together});
    }
    const std::span<T> message = message_.span().first(static_cast<std::size_t>(together));
    const auto for_small = [&](auto&& fn) {
      T* at = message.data();
      for (std::size_t i = 0; i < sums_.size(); ++i)
        if (notes[i + 1] > 0 && sums_[i].size() < kLarge) {
          fn(sums_[i], at);
          at += sums_[i].size();
        }
    };
    for_small(
        [](Tensor<T, 1>& sum, T* at) { std::copy_n(std::as_const(sum).data(), sum.size(), at); });
    replicas.sum(message);
    for_small([](Tensor<T, 1>& sum, const T* at) { std::copy_n(at, sum.size(), sum.data()); });
    for (std::size_t i = 0; i < sums_.size(); ++i)
      if (notes[i + 1] > 0 && sums_[i].size() >= kLarge) replicas.sum(sums_[i].span());
  }

  /// One tensor for each parameter, undefined where nothing arrived; they may be written.
  const std::vector<Tensor<T, 1>>& gradients() const noexcept { return sums_; }

 private:
  static constexpr index_t kLarge = index_t{1} << 16;

  void make_room(const std::vector<Parameter<T>>& parameters) {
    if (!room_.empty()) return;
    const ArenaScope heap(nullptr);
    sums_.resize(parameters.size());
    for (const auto& p : parameters) room_.push_back(Tensor<T, 1>::empty({p.values.size()}));
  }

  std::vector<Tensor<T, 1>> sums_, room_;
  Tensor<T, 1> message_;
};

}  // namespace sequin::inline SEQUIN_ABI
