/// A weight in the layout that products read fastest.
#pragma once

#include "sequin/ops/matmul.hpp"

#include <algorithm>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI {

/// The packed form of a weight. It remembers which version of the weight it was made from, and is
/// not used once the weight has changed.
template <Scalar T>
class PackedWeight {
 public:
  /// Elements that a weight of `out` outputs and `in` inputs takes when packed.
  static index_t room(index_t in, index_t out) noexcept { return kernels::packed_size<T>(in, out); }

  /// Packs `weight` (out, ...), all axes but the first being the input. Allocates.
  template <std::size_t Rank>
  void pack(const Tensor<T, Rank>& weight) {
    if (weight.released()) return;
    const index_t in = inputs(weight);
    panels_ = detail::pack_b_parallel(weight.data(), index_t{1}, in, in, weight.extent(0));
    source_ = weight.data();
    version_ = weight.version();
  }

  /// Packs `weight` in its own memory and takes that over: `weight` keeps its extents only. Where
  /// others hold the elements too, or the memory has no room for whole panels (see
  /// Tensor::with_room), it allocates.
  template <std::size_t Rank>
  void take(Tensor<T, Rank>& weight) {
    if (!weight.defined()) return;
    const index_t in = inputs(weight);
    const index_t out = weight.extent(0);
    const auto needed = static_cast<std::size_t>(room(in, out)) * sizeof(T);
    if (!weight.storage().unique() || weight.storage().capacity() < needed) {
      pack(weight);
      weight.release();
    } else {
      T* const at = weight.data();
      // A panel's rows of the weight lie exactly where the panel will.
      constexpr index_t width = kernels::kPanelColumns<T>;
      parallel_for((out + width - 1) / width, index_t{8}, [&](index_t begin, index_t end) {
        auto rows = Tensor<T, 1>::empty({width * in});
        for (index_t i = begin; i < end; ++i) {
          const index_t columns = (std::min)(width, out - i * width);
          T* const panel = at + i * width * in;
          std::copy_n(panel, columns * in, rows.data());
          kernels::pack_b(std::as_const(rows).data(), index_t{1}, in, in, columns, panel);
        }
      });
      panels_ = Tensor<T, 1>::from_storage(weight.release(), {room(in, out)});
    }
    source_ = nullptr;
    version_ = 0;
  }

  /// True when this is the packed form of `weight` as it is now.
  template <std::size_t Rank>
  bool fresh(const Tensor<T, Rank>& weight) const noexcept {
    if (!panels_.defined()) return false;
    return weight.released() ? source_ == nullptr
                             : source_ == weight.data() && version_ == weight.version();
  }

  const Tensor<T, 1>& panels() const noexcept { return panels_; }

  /// Copies the weights (in) of one output to `to`.
  void copy_row(index_t output, index_t in, T* to) const noexcept {
    constexpr index_t width = kernels::kPanelColumns<T>;
    const T* const from = panels_.data() + output / width * width * in + output % width;
    for (index_t k = 0; k < in; ++k) to[k] = from[k * width];
  }

 private:
  template <std::size_t Rank>
  static index_t inputs(const Tensor<T, Rank>& weight) noexcept {
    const index_t out = weight.extent(0);
    return out == 0 ? 0 : weight.size() / out;
  }

  Tensor<T, 1> panels_;
  const T* source_ = nullptr;
  std::uint32_t version_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
