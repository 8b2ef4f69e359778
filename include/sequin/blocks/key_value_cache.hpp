/// Keys and values of the past, for attention that goes on where it stopped.
#pragma once

#include "sequin/core/tensor.hpp"

#include <algorithm>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// Keys and values (B, length, G, P) of one attention layer, in memory for `capacity` steps that
/// doubles when it is full. A copy is independent.
template <Scalar T>
class KeyValueCache {
 public:
  KeyValueCache() = default;
  /// Empty, for B sequences; memory is touched only as it fills. Throws ShapeError.
  KeyValueCache(index_t batch, index_t heads, index_t width, index_t capacity)
      : keys_(Tensor<T, 4>::empty({batch, capacity, heads, width})),
        values_(Tensor<T, 4>::empty({batch, capacity, heads, width})) {}

  KeyValueCache(const KeyValueCache& other)
      : KeyValueCache(other.keys_.extent(0), other.keys_.extent(2), other.keys_.extent(3),
                      other.capacity()) {
    assign(other);
  }
  KeyValueCache(KeyValueCache&&) noexcept = default;
  KeyValueCache& operator=(KeyValueCache other) noexcept {
    keys_ = std::move(other.keys_);
    values_ = std::move(other.values_);
    length_ = other.length_;
    return *this;
  }

  index_t batch() const noexcept { return keys_.extent(0); }
  index_t length() const noexcept { return length_; }
  index_t capacity() const noexcept { return keys_.extent(1); }

  /// Adds keys and values (B, L, G, P) at the end. Real-time safe as long as they fit; else it
  /// takes twice the memory from the heap. Throws ShapeError.
  void append(const Tensor<T, 4>& keys, const Tensor<T, 4>& values) {
    const Shape<4> expected{batch(), keys.extent(1), keys_.extent(2), keys_.extent(3)};
    if (keys.shape() != expected || values.shape() != expected)
      throw ShapeError("KeyValueCache: keys are " + to_string(keys.shape()) + " and values " +
                       to_string(values.shape()) + ", expected " + to_string(expected));
    const index_t length = length_ + keys.extent(1);
    if (length > capacity()) reserve((std::max)(length, 2 * capacity()));
    copy(keys.data(), keys.extent(1), keys.extent(1), keys_, length_);
    copy(values.data(), keys.extent(1), keys.extent(1), values_, length_);
    length_ = length;
  }

  /// What is there, (B, length, G, P), the batch strided by the capacity.
  View<const T, 4> keys() const noexcept { return view(keys_); }
  View<const T, 4> values() const noexcept { return view(values_); }

  /// Forgets everything; keeps the memory.
  void reset() noexcept { length_ = 0; }

  /// True when `other` is a cache of the same batch, heads and width.
  bool fits(const KeyValueCache& other) const noexcept {
    return batch() == other.batch() && keys_.extent(2) == other.keys_.extent(2) &&
           keys_.extent(3) == other.keys_.extent(3);
  }
  /// Copies what `other`, which fits, holds into this cache's own memory.
  void assign(const KeyValueCache& other) {
    length_ = 0;
    if (other.length_ > capacity()) reserve(other.length_);
    copy(std::as_const(other.keys_).data(), other.length_, other.capacity(), keys_, 0);
    copy(std::as_const(other.values_).data(), other.length_, other.capacity(), values_, 0);
    length_ = other.length_;
  }

  /// Memory for `capacity` steps, or as many as there are.
  void reserve(index_t capacity) {
    // The cache outlives the step that fills it.
    const ArenaScope heap(nullptr);
    const auto grow = [&](Tensor<T, 4>& t) {
      Shape<4> shape = t.shape();
      shape[1] = (std::max)(capacity, length_);
      auto larger = Tensor<T, 4>::empty(shape);
      copy(std::as_const(t).data(), length_, t.extent(1), larger, 0);
      t = std::move(larger);
    };
    grow(keys_);
    grow(values_);
  }

 private:
  View<const T, 4> view(const Tensor<T, 4>& t) const noexcept {
    Shape<4> shape = t.shape();
    shape[1] = length_;
    return {t.data(), shape, row_major_strides(t.shape())};
  }

  /// Steps [0, steps) of each batch entry, which are `from_steps` apart, to steps from `at` on.
  static void copy(const T* from, index_t steps, index_t from_steps, Tensor<T, 4>& to, index_t at) {
    const index_t step = to.extent(2) * to.extent(3);
    T* const out = to.data();
    for (index_t b = 0; b < to.extent(0); ++b)
      std::copy_n(from + b * from_steps * step, steps * step, out + (b * to.extent(1) + at) * step);
  }

  Tensor<T, 4> keys_, values_;
  index_t length_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
