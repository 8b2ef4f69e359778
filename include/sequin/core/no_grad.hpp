/// Whether this thread records for autograd, known to every folder.
#pragma once

#include "sequin/core/version.hpp"

#include <utility>

namespace sequin::inline SEQUIN_ABI {

class Recorder;  // autograd/recorder.hpp

namespace detail {
inline thread_local Recorder* active_recorder = nullptr;
}  // namespace detail

/// True when what this thread computes is recorded.
inline bool recording_is_on() noexcept { return detail::active_recorder != nullptr; }

/// While it lives, nothing is recorded in this thread. Real-time safe.
class NoGrad {
 public:
  NoGrad() noexcept : outer_(std::exchange(detail::active_recorder, nullptr)) {}
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;
  ~NoGrad() { detail::active_recorder = outer_; }

 private:
  Recorder* outer_;
};

}  // namespace sequin::inline SEQUIN_ABI
