/// Blocks of memory for tensors, in large pages where they are worth it.
#pragma once

#include "sequin/core/version.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sequin::inline SEQUIN_ABI {

/// Alignment of every tensor's first element in bytes: a cache line and the widest register.
inline constexpr std::size_t kAlignment = 64;

namespace detail {

/// A large page, and the size from which a block begins at one: a weight of 16 MB that is read once
/// takes 4096 small pages, more than the processor remembers.
inline constexpr std::size_t kLargePage = std::size_t{2} << 20, kLargeBlock = 2 * kLargePage;

/// Whether a block of `bytes` begins at a large page.
constexpr bool is_large(std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  return bytes >= kLargeBlock && bytes <= PTRDIFF_MAX - kLargePage;
#else
  return static_cast<void>(bytes), false;
#endif
}

/// What to ask the heap for. Not for its own alignment of so much: it never uses such a block
/// again, and fresh pages cost more than the work on them.
constexpr std::size_t with_border(std::size_t bytes) noexcept {
  return bytes + (is_large(bytes) ? kLargePage : 0);
}

/// The block in what the heap gave. Large pages are asked for only where they lie wholly in it, so
/// that they take no more memory; a system that refuses gives small ones.
inline std::byte* within_border(void* given, std::size_t bytes) noexcept {
  auto* block = static_cast<std::byte*>(given);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (block == nullptr || !is_large(bytes)) return block;
  block += kLargePage - reinterpret_cast<std::uintptr_t>(block) % kLargePage;
  std::memcpy(block - sizeof given, &given, sizeof given);
  static_cast<void>(::madvise(block, bytes / kLargePage * kLargePage, MADV_HUGEPAGE));
#else
  static_cast<void>(bytes);
#endif
  return block;
}

/// `bytes` uninitialised bytes. Throws std::bad_alloc.
inline std::byte* allocate_block(std::size_t bytes) {
  return within_border(::operator new (with_border(bytes), std::align_val_t{kAlignment}), bytes);
}

/// The same; nullptr where there is no memory.
inline std::byte* allocate_block(std::size_t bytes, const std::nothrow_t& nothrow) noexcept {
  return within_border(::operator new (with_border(bytes), std::align_val_t{kAlignment}, nothrow),
                       bytes);
}

/// Takes back a block of `bytes` bytes.
inline void deallocate_block(std::byte* block, std::size_t bytes) noexcept {
  void* given = block;
  if (is_large(bytes)) std::memcpy(&given, block - sizeof given, sizeof given);
  ::operator delete (given, std::align_val_t{kAlignment});
}

/// Gives the system what the heap holds and nobody uses. Takes milliseconds: for when much was let
/// go that nobody will ask for again.
inline void trim_heap() noexcept {
#if defined(__GLIBC__)
  static_cast<void>(::malloc_trim(0));
#endif
}

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
