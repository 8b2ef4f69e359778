#include "common/allocation_count.hpp"
#include "sequin/core/tensor.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

using namespace sequin;

namespace {

/// What a block costs: its counted header and its elements in whole cache lines.
constexpr std::size_t footprint(std::size_t bytes) {
  return kAlignment + (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Tensors of many sizes that come and go out of order; the addresses in the order of asking.
std::vector<const void*> exercise() {
  std::vector<const void*> addresses;
  std::vector<Tensor<float, 1>> kept;
  for (index_t i = 0; i < 40; ++i) {
    kept.push_back(Tensor<float, 1>::empty({(i * 37) % 101 + 1}));
    addresses.push_back(std::as_const(kept.back()).data());
    if (i % 3 == 2) kept.erase(kept.begin() + (i * 7) % static_cast<index_t>(kept.size()));
  }
  return addresses;
}

}  // namespace

TEST_CASE("arena: a scope run again after fit gets the same addresses inside the arena", "") {
  Arena arena;
  const ArenaScope scope(&arena);
  exercise();
  REQUIRE(arena.capacity() == 0);  // nothing was reserved: all of it came from the heap
  REQUIRE(arena.peak() > 0);
  arena.fit();
  REQUIRE(arena.capacity() == arena.peak());
  const std::size_t peak = arena.peak();
  const auto first = exercise();
  const auto second = exercise();
  REQUIRE(first == second);
  REQUIRE(arena.peak() == peak);
  REQUIRE(arena.live_blocks() == 0);
  const auto whole = Tensor<std::uint8_t, 1>::empty({static_cast<index_t>(peak - kAlignment)});
  const auto begin = reinterpret_cast<std::uintptr_t>(whole.data()) - kAlignment;
  for (const void* p : first) {
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    REQUIRE(at >= begin);
    REQUIRE(at < begin + peak);
  }
}

TEST_CASE("arena: before fit, blocks of the same size are used again up to half of the peak", "") {
  if (!sequin_examples::allocations_are_counted()) return;
  Arena arena;
  const ArenaScope scope(&arena);
  const auto layer = [](index_t size) {
    const auto before = sequin_examples::allocation_count();
    const auto a = Tensor<float, 1>::empty({size}), b = Tensor<float, 1>::empty({size});
    const auto c = Tensor<float, 1>::empty({size}), d = Tensor<float, 1>::empty({size});
    return sequin_examples::allocation_count() - before;
  };
  REQUIRE(layer(1000) == 4);
  REQUIRE(layer(1000) == 2);
  REQUIRE(layer(900) == 4);  // another size
}

TEST_CASE("arena: the peak is what lived at the worst moment, not the sum of all", "") {
  Arena arena;
  const ArenaScope scope(&arena);
  for (int i = 0; i < 10; ++i) Tensor<float, 1>({100});
  REQUIRE(arena.peak() == footprint(400));
  const Tensor<float, 1> a({100});
  const Tensor<double, 1> b({100});
  REQUIRE(arena.peak() == footprint(400) + footprint(800));
  REQUIRE(arena.live_blocks() == 2);
}

TEST_CASE("arena: what does not fit comes from the heap until fit, and stays valid", "") {
  Arena arena(footprint(400));
  const ArenaScope scope(&arena);
  {
    const Tensor<float, 1> inside({100}, 1.f);
    const Tensor<float, 1> outside({5000}, 2.f);
    REQUIRE(arena.capacity() == footprint(400));
    arena.fit();  // blocks live: nothing may move
    REQUIRE(arena.capacity() == footprint(400));
    for (const float v : inside.span()) REQUIRE(v == 1);
    for (const float v : outside.span()) REQUIRE(v == 2);
  }
  arena.fit();
  REQUIRE(arena.capacity() == footprint(400) + footprint(20000));
  arena.reserve(1);
  REQUIRE(arena.capacity() == footprint(400) + footprint(20000));
}

TEST_CASE("arena: live blocks never overlap and are aligned, whatever the order of release", "") {
  Arena arena(10000);  // less than the peak: arena and heap blocks mix
  const ArenaScope scope(&arena);
  std::vector<Tensor<std::uint8_t, 1>> live;
  std::uint32_t random = 12345;
  for (int step = 0; step < 3000; ++step) {
    random = random * 1664525u + 1013904223u;
    if (live.size() > 20 || (!live.empty() && (random >> 30) == 0)) {
      const std::size_t at = (random >> 8) % live.size();
      const auto& t = live[at];
      const auto expected = static_cast<std::uint8_t>(t.size());
      REQUIRE(std::count(t.span().begin(), t.span().end(), expected) == t.size());
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      const index_t n = (random >> 8) % 2000;
      live.emplace_back(Shape<1>{n}, static_cast<std::uint8_t>(n));
      const auto& t = live.back();
      REQUIRE(reinterpret_cast<std::uintptr_t>(t.data()) % kAlignment == 0);
    }
    REQUIRE(arena.live_blocks() == live.size());
  }
  live.clear();
  // All gaps were merged: the next block begins at the very first address.
  const auto first = Tensor<float, 1>::empty({100});
  const void* const address = first.data();
  const auto second = Tensor<float, 1>::empty({100});
  REQUIRE(static_cast<const std::byte*>(static_cast<const void*>(second.data())) ==
          static_cast<const std::byte*>(address) + footprint(400));
}

TEST_CASE("arena: scopes nest, and a null arena means the heap", "") {
  Arena outer, inner;
  {
    const ArenaScope a(&outer);
    const Tensor<float, 1> x({3});
    {
      const ArenaScope b(&inner);
      const Tensor<float, 1> y({3});
      {
        const ArenaScope none(nullptr);
        const Tensor<float, 1> z({3});
        REQUIRE(outer.live_blocks() == 1);
        REQUIRE(inner.live_blocks() == 1);
      }
    }
    REQUIRE(inner.live_blocks() == 0);
    const Tensor<float, 1> w({3});
    REQUIRE(outer.live_blocks() == 2);
  }
  const Tensor<float, 1> on_heap({3});
  REQUIRE(outer.live_blocks() == 0);
}

TEST_CASE("arena: a tensor may outlive the scope, not the arena", "") {
  Arena arena(4096);
  Tensor<float, 1> kept;
  {
    const ArenaScope scope(&arena);
    kept = Tensor<float, 1>({7}, 5.f);
  }
  const Tensor<float, 1> other({7}, 6.f);
  REQUIRE(arena.live_blocks() == 1);
  REQUIRE(std::as_const(kept)(6) == 5);
  const Tensor<float, 1> copy = kept;
  kept = {};
  REQUIRE(arena.live_blocks() == 1);  // a copy shares the block
}

TEST_CASE("arena: an allocation that failed leaves no trace", "") {
  // The address sanitizer ends the program where operator new would throw.
  if (!sequin_examples::allocations_are_counted()) return;
  Arena arena;
  const ArenaScope scope(&arena);
  { const Tensor<float, 1> x({100}); }
  const std::size_t peak = arena.peak();
  // 2^56 bytes: no machine maps them.
  REQUIRE_THROWS_AS((Tensor<float, 1>::empty({index_t{1} << 54})), std::bad_alloc);
  REQUIRE(arena.live_blocks() == 0);
  REQUIRE(arena.peak() == peak);
  arena.fit();
  REQUIRE(arena.capacity() == peak);
  const auto before = Tensor<float, 1>::empty({100});
  REQUIRE_THROWS_AS((Tensor<float, 1>::empty({index_t{1} << 54})), std::bad_alloc);
  const auto after = Tensor<float, 1>::empty({1});
  REQUIRE(arena.peak() == footprint(400) + footprint(4));
}

TEST_CASE("memory: a block of 4 MiB begins at a large page and is one allocation, as others are",
          "") {
  constexpr std::size_t large = detail::kLargeBlock;
  for (const std::size_t bytes : {std::size_t{64}, large - 1, large, large + 4097, 3 * large}) {
    const std::size_t before = sequin_examples::allocation_count();
    std::byte* const block = detail::allocate_block(bytes);
    const std::size_t after = sequin_examples::allocation_count();
    if (sequin_examples::allocations_are_counted()) CHECK(after - before == 1);
    const auto at = reinterpret_cast<std::uintptr_t>(block);
    CHECK(at % (detail::is_large(bytes) ? detail::kLargePage : kAlignment) == 0);
    std::fill_n(block, bytes, std::byte{1});
    detail::deallocate_block(block, bytes);
  }
  CHECK_FALSE(detail::is_large(large - 1));
  // The address sanitizer ends the program where there is no memory.
  if (!sequin_examples::allocations_are_counted()) return;
  CHECK(detail::allocate_block(SIZE_MAX / 4, std::nothrow) == nullptr);
  CHECK_THROWS_AS(detail::allocate_block(SIZE_MAX / 4), std::bad_alloc);
}

TEST_CASE("memory: large tensors of an arena come back to the same addresses without the heap",
          "") {
  Arena arena;
  const ArenaScope scope(&arena);
  const auto pass = [] {
    auto a = Tensor<float, 1>({1500000}, 1.0f);
    auto b = Tensor<float, 1>({2000000}, 2.0f);
    return std::pair<const void*, const void*>(std::as_const(a).data(), std::as_const(b).data());
  };
  pass();
  arena.fit();
  REQUIRE(arena.capacity() == footprint(6000000) + footprint(8000000));
  const auto first = pass();
  const std::size_t before = sequin_examples::allocation_count();
  REQUIRE(pass() == first);
  REQUIRE(sequin_examples::allocation_count() == before);
}

// Where the heap is glibc's: the sanitizers have their own.
#if defined(__has_feature)
#define SEQUIN_HAS_FEATURE(x) __has_feature(x)
#else
#define SEQUIN_HAS_FEATURE(x) 0
#endif
#if defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !SEQUIN_HAS_FEATURE(address_sanitizer) &&    \
    !SEQUIN_HAS_FEATURE(thread_sanitizer)
TEST_CASE("arena: once it has its size, what its first pass took from the heap is given back", "") {
  const auto resident_mib = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
    return 0.0;
  };
  constexpr index_t kMib = 1 << 18;  // floats
  // The heap no longer maps such blocks one by one once it has seen a larger one go.
  std::make_unique<std::vector<float>>(31 * kMib, 1.0f).reset();
  std::vector<std::vector<float>> below(100, std::vector<float>(kMib, 1.0f));
  const Tensor<float, 1> above(Shape<1>{kMib});  // so that the heap does not end where they go
  below.clear();
  detail::trim_heap();
  const double before = resident_mib();
  Arena arena;
  for (int pass = 0; pass < 2; ++pass) {
    {
      const ArenaScope scope(&arena);
      std::vector<Tensor<float, 1>> tensors;
      for (int i = 0; i < 100; ++i) tensors.emplace_back(Shape<1>{kMib}, 1.0f);
    }
    arena.fit();
  }
  // 100 MiB of tensors: twice that stayed.
  CHECK(resident_mib() - before < 130);
  CHECK(resident_mib() - before > 90);
}
#endif
