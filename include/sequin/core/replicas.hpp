/// What processes that work on one model say to each other; how they say it is somebody else's.
#pragma once

#include "sequin/core/shape.hpp"

#include <cstddef>
#include <span>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Where part `part` of `count` things begins, which are cut into `parts` as equal ones as can be;
/// it ends where the next begins.
constexpr index_t part_begin(index_t count, index_t part, index_t parts) noexcept {
  return part * count / parts;
}

}  // namespace detail

/// One of size() processes, which all call the members below in the same order and with the same
/// extents: a call returns when the others have come to it. Who throws instead of coming leaves the
/// others waiting, so that an implementation ends them (train/mpi.hpp does).
class Replicas {
 public:
  Replicas() = default;
  Replicas(const Replicas&) = delete;
  Replicas& operator=(const Replicas&) = delete;
  virtual ~Replicas() = default;

  /// 0 to size() - 1. Rank 0 leads: it alone reads checkpoints and writes files.
  virtual index_t rank() const noexcept = 0;
  virtual index_t size() const noexcept = 0;

  /// Each element becomes its sum over the ranks, the same bits on all of them.
  virtual void sum(std::span<float> values) = 0;
  virtual void sum(std::span<double> values) = 0;

  /// All get what rank 0 has.
  virtual void broadcast(std::span<std::byte> bytes) = 0;

  /// Sends to each rank r the next send_bytes[r] bytes of `send`, and receives what the ranks sent
  /// here, one after the other, receive_bytes[r] from rank r.
  virtual void exchange(std::span<const std::byte> send, std::span<const index_t> send_bytes,
                        std::span<std::byte> receive, std::span<const index_t> receive_bytes) = 0;

  /// Whether this rank computes only so that the others can: it had no example of its own and was
  /// given one that counts for nothing. Statistics over the ranks leave it out.
  bool stands_in() const noexcept { return stands_in_; }
  void set_stands_in(bool on) noexcept { stands_in_ = on; }

  /// Whether `here` is true on any rank; also the way to wait for all.
  bool any(bool here) {
    double count = here ? 1 : 0;
    sum(std::span<double>(&count, 1));
    return count > 0;
  }

 private:
  bool stands_in_ = false;
};

/// While it lives, this rank stands in, if `on`; nothing with nullptr.
class StandIn {
 public:
  StandIn(Replicas* replicas, bool on) : replicas_(on ? replicas : nullptr) {
    if (replicas_ != nullptr) replicas_->set_stands_in(true);
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;
  ~StandIn() {
    if (replicas_ != nullptr) replicas_->set_stands_in(false);
  }

 private:
  Replicas* replicas_;
};

}  // namespace sequin::inline SEQUIN_ABI
