/// The sum of several passes' gradients.
#pragma once

#include "sequin/train/clip.hpp"

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
    if (sums_.empty()) {
      const ArenaScope heap(nullptr);
      sums_.resize(parameters.size());
      for (const auto& p : parameters) room_.push_back(Tensor<T, 1>::empty({p.values.size()}));
    }
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

  /// One tensor for each parameter, undefined where nothing arrived; they may be written.
  const std::vector<Tensor<T, 1>>& gradients() const noexcept { return sums_; }

 private:
  std::vector<Tensor<T, 1>> sums_, room_;
};

}  // namespace sequin::inline SEQUIN_ABI
