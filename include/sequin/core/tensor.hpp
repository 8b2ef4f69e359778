/// The tensor: static rank, run-time extents, row-major, contiguous, 64-byte aligned.
#pragma once

#include "sequin/core/fail.hpp"
#include "sequin/core/storage.hpp"
#include "sequin/core/view.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Identities of tensors whose gradient somebody asked for; never 0, never given twice.
inline std::uint64_t next_leaf_id() noexcept {
  static std::atomic<std::uint64_t> count{0};
  return (std::uint64_t{1} << 63) | (count.fetch_add(1, std::memory_order_relaxed) + 1);
}

}  // namespace detail

/// Names a value to autograd: its identity (0: a constant) and its extents, without its elements.
template <class T, std::size_t Rank>
struct Var {
  std::uint64_t id = 0;
  Shape<Rank> shape{};
};

/// A handle: a copy shares the elements, `clone()` copies them. `T` is float or double where
/// arithmetic is meant, an integer for token ids and indices. A default-constructed Tensor is
/// undefined: no elements, extents 0.
///
/// Constness is deep: a const Tensor gives const elements.
template <class T, std::size_t Rank>
class Tensor {
  static_assert(std::is_arithmetic_v<T>);

 public:
  using value_type = T;
  static constexpr std::size_t kRank = Rank;

  Tensor() = default;

  /// All zeros. Throws ShapeError (negative or impossible extents) and std::bad_alloc.
  explicit Tensor(const Shape<Rank>& shape) : Tensor(shape, T{0}) {}

  /// All `value`.
  Tensor(const Shape<Rank>& shape, T value) : Tensor(empty(shape)) {
    std::fill_n(data_, size(), value);
  }

  /// A copy of `values`, in row-major order.
  /// Throws ShapeError when their number is not that of `shape`.
  Tensor(const Shape<Rank>& shape, std::span<const T> values) : Tensor(empty(shape)) {
    copy_from(values);
  }
  Tensor(const Shape<Rank>& shape, std::initializer_list<T> values)
      : Tensor(shape, std::span<const T>(values.begin(), values.size())) {}

  /// Elements not initialised: for outputs that are written before they are read.
  static Tensor empty(const Shape<Rank>& shape) {
    const index_t count = element_count(shape);
    Tensor t;
    t.storage_ = detail::Storage(static_cast<std::size_t>(count) * sizeof(T));
    t.data_ = static_cast<T*>(t.storage_.data());
    t.shape_ = shape;
    return t;
  }

  /// All zeros, in a block of memory with room for `elements` at least: see `release`.
  static Tensor with_room(const Shape<Rank>& shape, index_t elements) {
    const index_t count = element_count(shape);
    auto room = Tensor<T, 1>::empty({(std::max)(count, elements)});
    std::fill_n(room.data(), count, T{0});
    return from_storage(room.storage(), shape);
  }

  bool defined() const noexcept { return data_ != nullptr; }
  /// True for a tensor that gave its memory away: it has extents, but no elements.
  bool released() const noexcept {
    if constexpr (Rank == 0)
      return false;
    else
      return data_ == nullptr && shape_[0] != 0;
  }
  const Shape<Rank>& shape() const noexcept { return shape_; }
  index_t extent(std::size_t axis) const noexcept { return shape_[axis]; }
  index_t size() const noexcept {
    index_t count = defined() ? 1 : 0;
    for (const index_t extent : shape_) count *= extent;
    return count;
  }
  /// The extent of the last axis; 1 for a scalar.
  index_t cols() const noexcept {
    if constexpr (Rank == 0)
      return 1;
    else
      return shape_[Rank - 1];
  }
  /// The product of all extents but the last.
  index_t rows() const noexcept {
    index_t count = defined() ? 1 : 0;
    for (std::size_t i = 0; i + 1 < Rank; ++i) count *= shape_[i];
    return count;
  }

  const T* data() const noexcept { return data_; }
  /// Non-const access counts as a change: constants derived from this tensor (packed weights) are
  /// no longer used.
  T* data() noexcept {
    storage_.touch();
    return data_;
  }
  std::span<const T> span() const noexcept { return {data_, static_cast<std::size_t>(size())}; }
  std::span<T> span() noexcept { return {data(), static_cast<std::size_t>(size())}; }
  View<const T, Rank> view() const noexcept { return {data_, shape_}; }
  View<T, Rank> view() noexcept { return {data(), shape_}; }

  /// The element at the given indices, which are not checked.
  template <class... Index>
  requires(sizeof...(Index) == Rank) const T& operator()(Index... index) const noexcept {
    return data_[offset_of(static_cast<index_t>(index)...)];
  }
  template <class... Index>
  requires(sizeof...(Index) == Rank) T& operator()(Index... index) noexcept {
    storage_.touch();
    return data_[offset_of(static_cast<index_t>(index)...)];
  }

  /// The one element. Throws ShapeError when there are more or none.
  T item() const {
    if (size() != 1) detail::fail<ShapeError>({"item: the tensor is ", shape_, ", not a scalar"});
    return *data_;
  }

  /// The same elements under other extents, sharing storage; autograd does not see it
  /// (ops/shape.hpp has the recorded form). Throws ShapeError when the number of elements differs.
  template <std::size_t NewRank>
  Tensor<T, NewRank> reshaped(const Shape<NewRank>& shape) const {
    if (element_count(shape) != size())
      detail::fail<ShapeError>(
          {"reshape: ", shape_, " has ", size(), " elements, ", shape, " another number"});
    Tensor<T, NewRank> t;
    t.storage_ = storage_;
    t.data_ = data_;
    t.shape_ = shape;
    return t;
  }

  /// A copy of the elements, unknown to autograd.
  Tensor clone() const { return defined() ? Tensor(shape_, span()) : Tensor(); }

  /// The same elements, unknown to autograd: a constant. Shares storage.
  Tensor detach() const {
    Tensor t = *this;
    t.id_ = 0;
    return t;
  }

  /// A copy in another element type.
  template <class U>
  Tensor<U, Rank> cast() const {
    if (!defined()) return {};
    auto t = Tensor<U, Rank>::empty(shape_);
    std::transform(data_, data_ + size(), t.data(), [](T v) { return static_cast<U>(v); });
    return t;
  }

  /// Overwrites all elements. Throws ShapeError when the number differs.
  void copy_from(std::span<const T> values) {
    if (static_cast<index_t>(values.size()) != size())
      detail::fail<ShapeError>({"copy_from: ", values.size(), " values for a tensor ", shape_});
    std::copy(values.begin(), values.end(), data());
  }
  void fill(T value) noexcept { std::fill_n(data(), size(), value); }

  /// Changes whenever somebody had non-const access to the elements.
  std::uint32_t version() const noexcept { return storage_.version(); }
  /// True when both are handles of the same elements.
  bool shares_storage_with(const Tensor& other) const noexcept {
    return data_ == other.data_ && storage_ == other.storage_;
  }

  /// Asks for gradients with respect to this tensor, as for a parameter; copies made afterwards are
  /// the same value to autograd. Returns *this.
  Tensor& set_requires_grad(bool on = true) noexcept {
    id_ = on ? detail::next_leaf_id() : 0;
    return *this;
  }
  /// True for a leaf whose gradient is asked for and for what was computed from one under a Tape.
  bool requires_grad() const noexcept { return id_ != 0; }
  /// The value's name for autograd.
  Var<T, Rank> var() const noexcept { return {id_, shape_}; }
  /// For autograd: makes this handle the value `id`.
  void set_var(std::uint64_t id) noexcept { id_ = id; }

  /// For autograd: the shared memory, and a tensor made from it.
  const detail::Storage& storage() const noexcept { return storage_; }
  static Tensor from_storage(detail::Storage storage, const Shape<Rank>& shape) noexcept {
    Tensor t;
    t.data_ = static_cast<T*>(storage.data());
    t.storage_ = std::move(storage);
    t.shape_ = shape;
    return t;
  }

  /// Gives the memory away; the extents stay. Other handles of the elements keep them.
  detail::Storage release() noexcept {
    data_ = nullptr;
    return std::exchange(storage_, {});
  }

  /// Eigen maps of the elements, the leading axes folded into rows; include core/eigen.hpp.
  auto matrix() const;
  auto matrix();
  auto array() const;
  auto array();

 private:
  template <class, std::size_t>
  friend class Tensor;

  template <class... Index>
  index_t offset_of(Index... index) const noexcept {
    const Shape<Rank> at{index...};
    index_t offset = 0;
    for (std::size_t i = 0; i < Rank; ++i) {
      SEQUIN_ASSERT(at[i] >= 0 && at[i] < shape_[i]);
      offset = offset * shape_[i] + at[i];
    }
    return offset;
  }

  detail::Storage storage_;
  T* data_ = nullptr;
  Shape<Rank> shape_{};
  std::uint64_t id_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
