/// Keys and values of the past, for attention that goes on where it stopped.
#pragma once

#include "sequin/core/stream_state.hpp"

#include <algorithm>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// Keys and values (B, length, G, P) of one attention layer, in memory for `capacity` steps that
/// doubles when it is full. Each head's lie together, as attention reads them: (B, G, capacity, P).
/// A copy is independent.
template <Scalar T>
class KeyValueCache : public StreamState<KeyValueCache<T>> {
 public:
  KeyValueCache() = default;
  /// Empty, for B sequences; memory is touched only as it fills. Throws ShapeError.
  KeyValueCache(index_t batch, index_t heads, index_t width, index_t capacity)
      : keys_(Tensor<T, 4>::empty({batch, heads, capacity, width})),
        values_(Tensor<T, 4>::empty({batch, heads, capacity, width})) {}

  KeyValueCache(const KeyValueCache& other)
      : KeyValueCache(other.batch(), other.heads(), other.width(), other.capacity()) {
    this->assign(other);
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
  index_t capacity() const noexcept { return keys_.extent(2); }
  index_t heads() const noexcept { return keys_.extent(1); }
  index_t width() const noexcept { return keys_.extent(3); }

  /// Adds keys and values (B, L, G, P) at the end. Real-time safe as long as they fit; else it
  /// takes twice the memory from the heap. Throws ShapeError.
  void append(const Tensor<T, 4>& keys, const Tensor<T, 4>& values) {
    const Shape<4> expected{batch(), keys.extent(1), heads(), width()};
    if (keys.shape() != expected || values.shape() != expected)
      throw ShapeError("KeyValueCache: keys are " + to_string(keys.shape()) + " and values " +
                       to_string(values.shape()) + ", expected " + to_string(expected));
    const index_t length = length_ + keys.extent(1);
    if (length > capacity()) reserve((std::max)(length, 2 * capacity()));
    copy(keys.view(), keys_, length_);
    copy(values.view(), values_, length_);
    length_ = length;
  }

  /// What is there, (B, length, G, P), strided.
  View<const T, 4> keys() const noexcept { return view(keys_); }
  View<const T, 4> values() const noexcept { return view(values_); }

  /// Forgets all but the first `length` steps, as when a continuation is taken back. Real-time
  /// safe.
  void truncate(index_t length) noexcept {
    length_ = (std::min)(length_, (std::max)(length, index_t{0}));
  }

  template <class V, class... S>
  static void visit(V& v, S&... s) {
    v.steps("keys", StateSteps{s.keys_, s.length_, 2}...);
    v.steps("values", StateSteps{s.values_, s.length_, 2}...);
  }

  /// Memory for `capacity` steps, or as many as there are.
  void reserve(index_t capacity) {
    // The cache outlives the step that fills it.
    const ArenaScope heap(nullptr);
    const auto grow = [&](Tensor<T, 4>& t) {
      auto larger = Tensor<T, 4>::empty({batch(), heads(), (std::max)(capacity, length_), width()});
      copy(view(t), larger, 0);
      t = std::move(larger);
    };
    grow(keys_);
    grow(values_);
  }

 private:
  View<const T, 4> view(const Tensor<T, 4>& t) const noexcept {
    const Shape<4> strides = row_major_strides(t.shape());
    return {t.data(), Shape<4>{batch(), length_, heads(), width()},
            Shape<4>{strides[0], strides[2], strides[1], 1}};
  }

  /// Steps of `from` (B, L, G, P) to steps from `at` on.
  static void copy(const View<const T, 4>& from, Tensor<T, 4>& to, index_t at) {
    T* const out = to.data();
    const Shape<4> strides = row_major_strides(to.shape());
    for (index_t b = 0; b < from.extent(0); ++b)
      for (index_t g = 0; g < from.extent(2); ++g)
        for (index_t t = 0; t < from.extent(1); ++t)
          std::copy_n(from.data() + b * from.stride(0) + t * from.stride(1) + g * from.stride(2),
                      from.extent(3),
                      out + b * strides[0] + g * strides[1] + (at + t) * strides[2]);
  }

  Tensor<T, 4> keys_, values_;
  index_t length_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
