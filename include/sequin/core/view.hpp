/// A view of somebody else's elements, possibly strided.
#pragma once

#include "sequin/core/shape.hpp"

#include <span>
#include <type_traits>

namespace sequin::inline SEQUIN_ABI {

/// Does not own. `T` may be const. Element (i, j, ...) is at
/// `data()[i * stride(0) + j * stride(1) + ...]`. Valid as long as what it was made from. Real-time
/// safe.
template <class T, std::size_t Rank>
class View {
 public:
  View() = default;

  /// A contiguous row-major view.
  View(T* data, const Shape<Rank>& shape) noexcept
      : data_(data), shape_(shape), strides_(row_major_strides(shape)) {}

  /// A strided view; strides count elements.
  View(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides) noexcept
      : data_(data), shape_(shape), strides_(strides) {}

  /// A view of T is a view of const T.
  operator View<const T, Rank>() const noexcept  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {data_, shape_, strides_};
  }

  T* data() const noexcept { return data_; }
  const Shape<Rank>& shape() const noexcept { return shape_; }
  const Shape<Rank>& strides() const noexcept { return strides_; }
  index_t extent(std::size_t axis) const noexcept { return shape_[axis]; }
  index_t stride(std::size_t axis) const noexcept { return strides_[axis]; }

  index_t size() const noexcept {
    index_t count = 1;
    for (const index_t extent : shape_) count *= extent;
    return count;
  }

  /// True when the elements follow each other in row-major order without gaps.
  bool contiguous() const noexcept {
    index_t step = 1;
    for (std::size_t i = Rank; i-- > 0;) {
      if (shape_[i] != 1 && strides_[i] != step) return false;
      step *= shape_[i];
    }
    return true;
  }

  /// The element at the given indices, one for each axis; they are not checked.
  template <class... Index>
  requires(sizeof...(Index) == Rank) T& operator()(Index... index) const noexcept {
    const Shape<Rank> at{static_cast<index_t>(index)...};
    index_t offset = 0;
    for (std::size_t i = 0; i < Rank; ++i) offset += at[i] * strides_[i];
    return data_[offset];
  }

  /// Entry `i` of the outermost axis.
  View<T, Rank - 1> operator[](index_t i) const noexcept requires(Rank >= 1) {
    Shape<Rank - 1> shape{};
    Shape<Rank - 1> strides{};
    for (std::size_t k = 1; k < Rank; ++k) {
      shape[k - 1] = shape_[k];
      strides[k - 1] = strides_[k];
    }
    return {data_ + i * strides_[0], shape, strides};
  }

 private:
  T* data_ = nullptr;
  Shape<Rank> shape_{};
  Shape<Rank> strides_{};
};

}  // namespace sequin::inline SEQUIN_ABI
