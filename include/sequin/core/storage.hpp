/// Counted, aligned memory behind tensors.
#pragma once

#include "sequin/core/arena.hpp"
#include "sequin/core/compiler.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace sequin::inline SEQUIN_ABI::detail {

/// A handle to a counted block of bytes; copies share it. The block comes from the thread's active
/// arena, or from the heap when there is none.
class Storage {
 public:
  Storage() = default;

  /// `bytes` uninitialised bytes. Throws std::bad_alloc.
  explicit Storage(std::size_t bytes) {
    const std::size_t rounded = sizeof(Header) + (bytes + kAlignment - 1) / kAlignment * kAlignment;
    std::size_t offset = 0;
    Arena* const arena = active_arena;
    std::byte* const block =
        arena != nullptr ? arena->allocate(rounded, offset) : allocate_block(rounded);
    header_ = ::new (block) Header{{1}, {0}, rounded, arena, offset};
  }

  Storage(const Storage& other) noexcept : header_(other.header_) {
    if (header_ != nullptr) header_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : header_(std::exchange(other.header_, nullptr)) {}
  Storage& operator=(const Storage& other) noexcept { return *this = Storage(other); }
  Storage& operator=(Storage&& other) noexcept {
    // What is given up is often no block, which costs one comparison where the call stands.
    Header* const old = std::exchange(header_, std::exchange(other.header_, nullptr));
    if (old != nullptr) let_go(old);
    return *this;
  }
  ~Storage() {
    if (header_ != nullptr) let_go(header_);
  }

  explicit operator bool() const noexcept { return header_ != nullptr; }

  void* data() const noexcept { return header_ == nullptr ? nullptr : header_ + 1; }

  /// Bytes that the block has room for.
  std::size_t capacity() const noexcept {
    return header_ == nullptr ? 0 : header_->bytes - sizeof(Header);
  }

  /// True when no other handle shares the block.
  bool unique() const noexcept {
    return header_ != nullptr && header_->owners.load(std::memory_order_acquire) == 1;
  }

  /// Counts the times that somebody could have changed the contents; see Tensor::version.
  std::uint32_t version() const noexcept {
    return header_ == nullptr ? 0 : header_->version.load(std::memory_order_relaxed);
  }
  void touch() const noexcept {
    if (header_ != nullptr)
      header_->version.store(header_->version.load(std::memory_order_relaxed) + 1,
                             std::memory_order_relaxed);
  }

  friend bool operator==(const Storage& a, const Storage& b) noexcept {
    return a.header_ == b.header_;
  }

 private:
  struct alignas(kAlignment) Header {
    std::atomic<std::uint32_t> owners;
    std::atomic<std::uint32_t> version;
    std::size_t bytes;
    Arena* arena;
    std::size_t offset;
  };
  static_assert(sizeof(Header) == kAlignment);

  /// Apart, as tensors end in many places.
  SEQUIN_NO_INLINE static void let_go(Header* header) noexcept {
    // A sole owner need not count down: nobody is left who could copy the handle meanwhile.
    if (header->owners.load(std::memory_order_acquire) != 1 &&
        header->owners.fetch_sub(1, std::memory_order_acq_rel) != 1)
      return;
    const std::size_t bytes = header->bytes;
    const std::size_t offset = header->offset;
    Arena* const arena = header->arena;
    auto* const block = reinterpret_cast<std::byte*>(header);
    header->~Header();
    if (arena != nullptr) {
      arena->deallocate(block, bytes, offset);
    } else {
      deallocate_block(block, bytes);
    }
  }

  Header* header_ = nullptr;
};

}  // namespace sequin::inline SEQUIN_ABI::detail
