/// A reusable block of memory that tensors of one scope live in, so that repeating the scope does
/// not touch the heap.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Places blocks by first fit on a line of addresses that starts at 0 and has no end. What lies
/// below `capacity()` is in the arena's own memory; what does not fit comes from the heap, and the
/// peak that it reached is remembered. `fit()` then makes the arena as large as that peak: a scope
/// that runs the same sequence of allocations again gets the same addresses and no heap call.
///
/// Used by one thread at a time. Tensors that live in it must be gone before it is.
class Arena {
 public:
  Arena() {
    free_.reserve(256);
    spares_.reserve(256);
  }
  /// An arena of `bytes` to begin with.
  explicit Arena(std::size_t bytes) : Arena() { reserve(bytes); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    SEQUIN_ASSERT(live_ == 0);
    release();
  }

  /// Grows to the largest extent that was ever asked for. Does nothing while a block lives.
  /// Throws std::bad_alloc.
  void fit() {
    reserve(peak_);
    if (live_ == 0) release_spares();
  }

  /// Grows to at least `bytes`. Does nothing while a block lives. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    if (live_ != 0 || bytes <= capacity_) return;
    release();
    // The blocks of the pass that showed the need would stay with the heap, beside the arena.
    if (bytes >= kWorthTrimming) detail::trim_heap();
    memory_ = detail::allocate_block(bytes);
    capacity_ = bytes;
  }

  /// Bytes of the arena's own memory.
  std::size_t capacity() const noexcept { return capacity_; }
  /// Bytes that the most demanding moment so far needed.
  std::size_t peak() const noexcept { return peak_; }
  /// Number of blocks in use.
  std::size_t live_blocks() const noexcept { return live_; }

  /// Returns `bytes` (a multiple of kAlignment) and where they lie on the arena's line.
  /// Throws std::bad_alloc, and then is as before.
  std::byte* allocate(std::size_t bytes, std::size_t& offset) {
    std::size_t slot = 0;
    while (slot < free_.size() && free_[slot].size < bytes) ++slot;
    if (slot < free_.size()) {
      offset = free_[slot].offset;
      free_[slot].offset += bytes;
      free_[slot].size -= bytes;
      if (free_[slot].size == 0) free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(slot));
    } else {
      // The last gap, when it touches the end, is extended: otherwise holes would pile up.
      if (!free_.empty() && free_.back().offset + free_.back().size == end_) {
        offset = free_.back().offset;
        free_.pop_back();
      } else {
        offset = end_;
      }
      end_ = offset + bytes;
    }
    std::byte* block = nullptr;
    if (offset + bytes <= capacity_) {
      block = memory_ + offset;
    } else {
      block = from_heap(bytes);
      if (block == nullptr) {
        give_back(bytes, offset);
        throw std::bad_alloc();
      }
    }
    peak_ = (std::max)(peak_, end_);
    ++live_;
    return block;
  }

  /// Takes back what `allocate` gave.
  void deallocate(std::byte* block, std::size_t bytes, std::size_t offset) noexcept {
    SEQUIN_ASSERT(live_ > 0);
    --live_;
    if (offset + bytes > capacity_ || block != memory_ + offset) to_heap(block, bytes);
    give_back(bytes, offset);
  }

 private:
  static constexpr std::size_t kWorthTrimming = std::size_t{16} << 20;

  struct Spare {
    std::byte* block;
    std::size_t size;
  };
  struct Gap {
    std::size_t offset;
    std::size_t size;
  };

  /// Makes [offset, offset + bytes) a gap, joined with its neighbours.
  void give_back(std::size_t bytes, std::size_t offset) noexcept {
    if (free_.empty() && offset + bytes == end_) {
      end_ = offset;
      return;
    }
    auto next = std::lower_bound(free_.begin(), free_.end(), offset,
                                 [](const Gap& gap, std::size_t at) { return gap.offset < at; });
    if (next != free_.begin() && (next - 1)->offset + (next - 1)->size == offset) {
      --next;
      next->size += bytes;
    } else {
      next = free_.insert(next, Gap{offset, bytes});
    }
    const auto after = next + 1;
    if (after != free_.end() && next->offset + next->size == after->offset) {
      next->size += after->size;
      free_.erase(after);
    }
    if (free_.back().offset + free_.back().size == end_) {
      end_ = free_.back().offset;
      free_.pop_back();
    }
  }

  /// A block of the heap, a spare one of the same size if there is: in a first pass, before `fit`,
  /// layers of one shape follow each other, and fresh pages from the system cost more than the work
  /// on them.
  std::byte* from_heap(std::size_t bytes) noexcept {
    for (std::size_t i = spares_.size(); i-- > 0;)
      if (spares_[i].size == bytes) {
        std::byte* const block = spares_[i].block;
        spares_.erase(spares_.begin() + static_cast<std::ptrdiff_t>(i));
        spare_bytes_ -= bytes;
        return block;
      }
    auto* const block = detail::allocate_block(bytes, std::nothrow);
    if (block != nullptr || spares_.empty()) return block;
    release_spares();
    return detail::allocate_block(bytes, std::nothrow);
  }

  /// Keeps the block for the next of its size, while all that are kept stay below half of the peak.
  void to_heap(std::byte* block, std::size_t bytes) noexcept {
    if (spares_.size() < spares_.capacity() && spare_bytes_ + bytes <= peak_ / 2) {
      spares_.push_back({block, bytes});
      spare_bytes_ += bytes;
    } else {
      detail::deallocate_block(block, bytes);
    }
  }

  void release_spares() noexcept {
    for (const Spare& s : spares_) detail::deallocate_block(s.block, s.size);
    spares_.clear();
    spare_bytes_ = 0;
  }

  void release() noexcept {
    release_spares();
    if (memory_ != nullptr) detail::deallocate_block(memory_, capacity_);
    memory_ = nullptr;
    capacity_ = 0;
  }

  std::byte* memory_ = nullptr;
  std::size_t capacity_ = 0;
  std::vector<Spare> spares_;  // heap blocks that no tensor uses, the last given back last
  std::size_t spare_bytes_ = 0;
  std::size_t end_ = 0;
  std::size_t peak_ = 0;
  std::size_t live_ = 0;
  std::vector<Gap> free_;  // gaps below end_, by offset; neighbours are merged
};

namespace detail {
inline thread_local Arena* active_arena = nullptr;
}  // namespace detail

/// While it lives, tensors made in this thread live in `arena` (or, with nullptr, on the heap).
/// Scopes nest; the outer one is restored.
class ArenaScope {
 public:
  explicit ArenaScope(Arena* arena) noexcept : outer_(detail::active_arena) {
    detail::active_arena = arena;
  }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
  ~ArenaScope() { detail::active_arena = outer_; }

 private:
  Arena* outer_;
};

}  // namespace sequin::inline SEQUIN_ABI
