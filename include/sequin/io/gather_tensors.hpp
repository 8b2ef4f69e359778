/// Tensors that lie on one process each, for files that the first writes and reads.
#pragma once

#include "sequin/core/parameter.hpp"
#include "sequin/core/replicas.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI::detail {

/// Rank `from` sends `bytes` bytes at `send`, and rank `to`, another one, has them at `receive`.
/// The other ranks come too; what they give is not read.
inline void pass_bytes(Replicas& replicas, index_t bytes, index_t from, const std::byte* send,
                       index_t to, std::byte* receive) {
  constexpr index_t kMost = index_t{1} << 28;  // an exchange counts in int
  const bool sends = replicas.rank() == from, receives = replicas.rank() == to;
  std::vector<index_t> sent(static_cast<std::size_t>(replicas.size())), received(sent);
  for (index_t at = 0; at < bytes; at += kMost) {
    const index_t n = (std::min)(kMost, bytes - at);
    const auto count = static_cast<std::size_t>(n);
    if (sends) sent[static_cast<std::size_t>(to)] = n;
    if (receives) received[static_cast<std::size_t>(from)] = n;
    replicas.exchange(
        sends ? std::span<const std::byte>(send + at, count) : std::span<const std::byte>(), sent,
        receives ? std::span<std::byte>(receive + at, count) : std::span<std::byte>(), received);
  }
}

/// A tensor of a list that is alike on all ranks: `rank` alone has the elements, -1: all have them.
template <Scalar T>
struct RankTensor {
  Tensor<T, 1> values;
  index_t elements = 0;
  index_t rank = -1;
};

/// Gives rank 0, one by one, the tensors of a list wherever they lie, so that it needs memory for
/// one of the others' at a time: it calls fetch(i) as often as it likes, then finish(), while the
/// others are in serve().
template <Scalar T>
class TensorGathering {
 public:
  TensorGathering(Replicas& replicas, std::vector<RankTensor<T>> tensors)
      : replicas_(&replicas), tensors_(std::move(tensors)) {}

  /// The elements of tensor i, until the next call.
  std::span<const T> fetch(std::size_t i) {
    const RankTensor<T>& t = tensors_[i];
    if (t.rank <= 0) return t.values.span();
    room_.resize(static_cast<std::size_t>(t.elements));
    ask(static_cast<std::int64_t>(i));
    pass(t);
    return room_;
  }
  void finish() { ask(-1); }

  void serve() {
    for (std::int64_t i = ask(0); i >= 0; i = ask(0)) pass(tensors_[static_cast<std::size_t>(i)]);
  }

 private:
  /// Rank 0's number.
  std::int64_t ask(std::int64_t i) {
    replicas_->broadcast(std::as_writable_bytes(std::span<std::int64_t>(&i, 1)));
    return i;
  }
  void pass(const RankTensor<T>& t) {
    pass_bytes(*replicas_, t.elements * static_cast<index_t>(sizeof(T)), t.rank,
               std::as_bytes(t.values.span()).data(), 0,
               std::as_writable_bytes(std::span<T>(room_)).data());
  }

  Replicas* replicas_;
  std::vector<RankTensor<T>> tensors_;
  std::vector<T> room_;
};

}  // namespace sequin::inline SEQUIN_ABI::detail
