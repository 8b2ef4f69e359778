/// Runs Sequin's operations in an arena that has been fitted to them.
#pragma once

#include "line.hpp"

#include "sequin/core/arena.hpp"

#include <utility>

namespace sequin_compare {

/// `f()` returns a tensor; a call computes it in the arena and keeps it until the next call.
template <class F>
class InArena {
 public:
  explicit InArena(F f) : f_(std::move(f)) {
    run();
    { const Result dropped = std::move(result_); }
    arena_.fit();
    run();
  }
  InArena(const InArena&) = delete;
  InArena& operator=(const InArena&) = delete;

  void run() {
    result_ = Result();
    const sequin::ArenaScope scope(&arena_);
    result_ = f_();
  }

  std::span<const float> output() const {
    return {std::as_const(result_).data(), static_cast<std::size_t>(result_.size())};
  }

 private:
  using Result = decltype(std::declval<F&>()());
  F f_;
  sequin::Arena arena_;
  Result result_;
};

/// Makes `f` the line's own way. What `f` captures lives as long as the line.
template <class F>
void set_own(Line& line, F f) {
  const auto own = std::make_shared<InArena<F>>(std::move(f));
  line.run = [own] { own->run(); };
  line.output = [own] { return own->output(); };
}

}  // namespace sequin_compare
