/// Counts heap allocations of the whole program, for the programs, benchmarks and tests that link
/// allocation_count.cpp.
#pragma once

#include <cstddef>

namespace sequin_examples {

/// Calls of malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign so far, from every
/// thread; operator new ends in one of them.
std::size_t allocation_count() noexcept;

/// False where the C library's allocator cannot be wrapped (another library than glibc, address
/// sanitizer): then the count stays 0.
bool allocations_are_counted() noexcept;

}  // namespace sequin_examples
