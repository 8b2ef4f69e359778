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

  /// The sums become those of all ranks, as does `loss`: one short message, then one with the
  /// gradients that arrived anywhere. Those of parameters that one rank has alone stay as they are
  /// there, and are elsewhere without elements.
  void sum_over(Replicas& replicas, const std::vector<Parameter<T>>& parameters, double& loss) {
    make_room(parameters);
    std::vector<double> notes{loss};  // then how many ranks have each gradient
    for (const auto& sum : sums_) notes.push_back(sum.defined() ? 1 : 0);
    replicas.sum(std::span<double>(notes));
    loss = notes[0];
    index_t total = 0;
    const auto travels = [&](std::size_t i) { return notes[i + 1] > 0 && parameters[i].rank < 0; };
    for (std::size_t i = 0; i < sums_.size(); ++i)
      if (travels(i)) total += room_[i].size();
    if (total > message_.size()) {
      const ArenaScope heap(nullptr);
      message_ = Tensor<T, 1>::empty({total});
    }
    const std::span<T> message = message_.span().first(static_cast<std::size_t>(total));
    T* at = message.data();
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      if (!travels(i)) continue;
      const index_t n = room_[i].size();
      at = sums_[i].defined() ? std::copy_n(std::as_const(sums_[i]).data(), n, at)
                              : std::fill_n(at, n, T{0});
    }
    replicas.sum(message);
    const T* from = message.data();
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      if (notes[i + 1] > 0) sums_[i] = room_[i];
      if (!travels(i)) continue;
      std::copy_n(from, room_[i].size(), room_[i].data());
      from += room_[i].size();
    }
  }

  /// One tensor for each parameter, undefined where nothing arrived; they may be written.
  const std::vector<Tensor<T, 1>>& gradients() const noexcept { return sums_; }

 private:
  void make_room(const std::vector<Parameter<T>>& parameters) {
    if (!sums_.empty()) return;
    const ArenaScope heap(nullptr);
    sums_.resize(parameters.size());
    for (const auto& p : parameters) room_.push_back(Tensor<T, 1>::empty({p.values.size()}));
  }

  std::vector<Tensor<T, 1>> sums_, room_;
  Tensor<T, 1> message_;
};

}  // namespace sequin::inline SEQUIN_ABI
