/// Opt-in: training in several processes under mpirun. Needs an MPI: in CMake, find_package(MPI
/// COMPONENTS CXX) and MPI::MPI_CXX.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/replicas.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

// The C interface alone: the one of MPI-2 for C++ would ask for a library of its own.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

namespace sequin::inline SEQUIN_ABI {

/// The processes of MPI_COMM_WORLD; one object a program. Constructing it begins MPI unless
/// somebody has, destroying it then ends MPI, for which it waits for the others. It is used by the
/// thread that made it. A failure inside MPI ends all processes with MPI's own message.
class MpiReplicas final : public Replicas {
 public:
  MpiReplicas() {
    int begun = 0;
    MPI_Initialized(&begun);
    if (begun == 0) {
      int provided = 0;
      MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
      owns_ = true;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiReplicas() override {
    if (owns_) MPI_Finalize();
  }

  index_t rank() const noexcept override { return rank_; }
  index_t size() const noexcept override { return size_; }

  void sum(std::span<float> values) override { sum_as(MPI_FLOAT, values); }
  void sum(std::span<double> values) override { sum_as(MPI_DOUBLE, values); }

  void broadcast(std::span<std::byte> bytes) override {
    in_pieces(bytes,
              [](std::byte* at, int count) { MPI_Bcast(at, count, MPI_BYTE, 0, MPI_COMM_WORLD); });
  }

  /// Throws ShapeError when one of the two buffers has 2^31 bytes or more.
  void exchange(std::span<const std::byte> send, std::span<const index_t> send_bytes,
                std::span<std::byte> receive, std::span<const index_t> receive_bytes) override {
    if ((std::max)(send.size(), receive.size()) > INT_MAX)
      throw ShapeError("exchange: " + std::to_string(send.size()) + " bytes to send and " +
                       std::to_string(receive.size()) + " to receive, expected less than 2^31");
    const Layout from(send_bytes), to(receive_bytes);
    MPI_Alltoallv(send.data(), from.counts.data(), from.begins.data(), MPI_BYTE, receive.data(),
                  to.counts.data(), to.begins.data(), MPI_BYTE, MPI_COMM_WORLD);
  }

 private:
  struct Layout {
    std::vector<int> counts, begins;
    explicit Layout(std::span<const index_t> bytes) {
      int begin = 0;
      for (const index_t count : bytes) {
        begins.push_back(begin);
        counts.push_back(static_cast<int>(count));
        begin += counts.back();
      }
    }
  };

  /// MPI counts in int.
  template <class T, class Fn>
  static void in_pieces(std::span<T> values, Fn&& fn) {
    constexpr std::size_t most = std::size_t{1} << 28;
    for (std::size_t i = 0; i < values.size(); i += most)
      fn(values.data() + i, static_cast<int>((std::min)(most, values.size() - i)));
  }

  template <class T>
  static void sum_as(MPI_Datatype type, std::span<T> values) {
    in_pieces(values, [type](T* at, int count) {
      MPI_Allreduce(MPI_IN_PLACE, at, count, type, MPI_SUM, MPI_COMM_WORLD);
    });
  }

  int rank_ = 0, size_ = 1;
  bool owns_ = false;
};

/// Calls fn(replicas) in each process that mpirun started and returns what it returns. An exception
/// in one of them, from fn or beyond it, ends all of them: its message goes to stderr with the
/// rank, and mpirun ends with exit code `failed`. Rank 0 goes first, so that a mistake that all
/// make is told once: the others wait for a second.
template <class Fn>
int run_with_mpi(Fn&& fn, int failed = 2) {
  MpiReplicas replicas;
  std::string message;
  try {
    return fn(static_cast<Replicas&>(replicas));
  } catch (const std::exception& error) {
    message = error.what();
  } catch (...) {
    message = "an exception that is no std::exception";
  }
  if (replicas.rank() > 0) std::this_thread::sleep_for(std::chrono::seconds(1));
  std::fprintf(stderr, "sequin: rank %td of %td: %s\n", replicas.rank(), replicas.size(),
               message.c_str());
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, failed);
  return failed;
}

}  // namespace sequin::inline SEQUIN_ABI
