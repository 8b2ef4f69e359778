/// What a forward pass may be told besides its inputs.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"
#include "sequin/ops/dropout.hpp"

#include <cstddef>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

class KeySampler;
struct AttentionOptions;

/// Where attention layers put their maps (B, H, Tq, Tk), in order: the end of a vector, or nowhere.
/// How a map is computed is compiled only in files that give a vector.
template <Scalar T>
class AttentionMaps {
 public:
  AttentionMaps(std::nullptr_t = nullptr) noexcept {}
  AttentionMaps(std::vector<Tensor<T, 4>>* maps) noexcept
      : maps_(maps), compute_(maps == nullptr ? nullptr : &compute) {}

  /// True when somebody wants the maps; without, nothing may be added.
  explicit operator bool() const noexcept { return maps_ != nullptr; }

  /// What `attention` with the same arguments will use; throws as `attention_weights`.
  void add(const Tensor<T, 4>& q, const View<const T, 4>& k, const AttentionOptions& options,
           const View<const bool, 2>& key_mask) const {
    compute_(*maps_, q, k, options, key_mask);
  }
  void add(Tensor<T, 4> map) const { maps_->push_back(std::move(map)); }

 private:
  static void compute(std::vector<Tensor<T, 4>>& maps, const Tensor<T, 4>& q,
                      const View<const T, 4>& k, const AttentionOptions& options,
                      const View<const bool, 2>& key_mask) {
    maps.push_back(attention_weights(q, k, options, key_mask));  // ops/attention.hpp
  }

  std::vector<Tensor<T, 4>>* maps_ = nullptr;
  decltype(&AttentionMaps::compute) compute_ = nullptr;
};

/// Passed down from a model to its blocks. The default is inference.
template <Scalar T>
struct ForwardContext {
  /// Non-null while training: dropout is active and draws from it, BatchNorm normalises by the
  /// batch and moves its running statistics.
  Generator* dropout_generator = nullptr;
  /// The address of a std::vector<Tensor<T, 4>> to receive each attention layer's map.
  AttentionMaps<T> attention_maps = nullptr;
  /// Where ProbSparse attention gets its sampled keys from (blocks/key_sampler.hpp); nullptr: drawn
  /// from a fixed seed in each forward pass, so that the same input gives the same result.
  KeySampler* key_sampler = nullptr;

  bool training() const noexcept { return dropout_generator != nullptr; }
};

/// Dropout while training; x itself otherwise.
template <Scalar T, std::size_t Rank>
Tensor<T, Rank> dropout(const Tensor<T, Rank>& x, double p, const ForwardContext<T>& context) {
  return context.training() ? dropout(x, p, *context.dropout_generator) : x;
}

}  // namespace sequin::inline SEQUIN_ABI
