// Several ranks in one process, a thread each: what code does with replicas, tested without MPI.
#pragma once

#include "sequin/core/replicas.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sequin_test {

/// Calls `fn(replicas)` in `ranks` threads. When one throws, those that wait for it throw too, and
/// the first exception comes out.
template <class Fn>
void run_ranks(sequin::index_t ranks, Fn&& fn);

namespace detail {

struct LeftAlone : std::runtime_error {
  LeftAlone() : std::runtime_error("another rank has thrown") {}
};

class Meeting {
 public:
  explicit Meeting(sequin::index_t ranks) : left(static_cast<std::size_t>(ranks)), ranks_(ranks) {}

  /// Returns when all ranks have come. Throws LeftAlone when one no longer will.
  void wait() {
    std::unique_lock lock(mutex_);
    const auto round = round_;
    if (++arrived_ == ranks_) {
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
    }
    all_here_.wait(lock, [&] { return round != round_ || error_; });
    if (round == round_) throw LeftAlone();
  }
  void fail(std::exception_ptr error) {
    const std::scoped_lock lock(mutex_);
    if (!error_) error_ = std::move(error);
    all_here_.notify_all();
  }
  std::exception_ptr error() const { return error_; }

  std::vector<const void*> left;  // what each rank lays out for the others

 private:
  sequin::index_t ranks_, arrived_ = 0;
  std::size_t round_ = 0;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable all_here_;
};

class ThreadReplicas final : public sequin::Replicas {
 public:
  using index_t = sequin::index_t;

  ThreadReplicas(Meeting& meeting, index_t rank) : meeting_(meeting), rank_(rank) {}
  index_t rank() const noexcept override { return rank_; }
  index_t size() const noexcept override { return static_cast<index_t>(meeting_.left.size()); }

  void sum(std::span<float> values) override { sum_of(values); }
  void sum(std::span<double> values) override { sum_of(values); }

  void broadcast(std::span<std::byte> bytes) override {
    lay_out(bytes.data());
    if (rank_ != 0 && !bytes.empty()) std::memcpy(bytes.data(), meeting_.left[0], bytes.size());
    meeting_.wait();
  }

  void exchange(std::span<const std::byte> send, std::span<const index_t> send_bytes,
                std::span<std::byte> receive, std::span<const index_t> receive_bytes) override {
    struct Parcels {
      const std::byte* bytes;
      std::span<const index_t> sizes;
    };
    const Parcels mine{send.data(), send_bytes};
    lay_out(&mine);
    std::byte* to = receive.data();
    for (std::size_t from = 0; from < meeting_.left.size(); ++from) {
      const auto& parcels = *static_cast<const Parcels*>(meeting_.left[from]);
      const std::byte* at = parcels.bytes;
      for (index_t r = 0; r < rank_; ++r) at += parcels.sizes[static_cast<std::size_t>(r)];
      if (parcels.sizes[static_cast<std::size_t>(rank_)] != receive_bytes[from])
        throw std::runtime_error("exchange: the sizes do not fit each other");
      to = std::copy_n(at, receive_bytes[from], to);
    }
    meeting_.wait();
  }

 private:
  void lay_out(const void* data) {
    meeting_.left[static_cast<std::size_t>(rank_)] = data;
    meeting_.wait();
  }

  template <class T>
  void sum_of(std::span<T> values) {
    lay_out(values.data());
    std::vector<T> sums(values.size());
    for (const void* const left : meeting_.left)
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<const T*>(left)[i];
    meeting_.wait();
    std::copy(sums.begin(), sums.end(), values.begin());
  }

  Meeting& meeting_;
  index_t rank_;
};

}  // namespace detail

template <class Fn>
void run_ranks(sequin::index_t ranks, Fn&& fn) {
  detail::Meeting meeting(ranks);
  std::vector<std::thread> threads;
  for (sequin::index_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        detail::ThreadReplicas replicas(meeting, rank);
        fn(static_cast<sequin::Replicas&>(replicas));
      } catch (...) {
        meeting.fail(std::current_exception());
      }
    });
  for (auto& thread : threads) thread.join();
  if (meeting.error()) std::rethrow_exception(meeting.error());
}

}  // namespace sequin_test
