#include "fuzz.hpp"

#include "sequin/io/npy.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace sequin_fuzz {

using namespace sequin;

namespace {

template <std::size_t Rank>
void check_array(const NpyFile& file) {
  if (file.shape().size() != Rank) return;
  const auto x = file.tensor<double, Rank>();
  require(std::equal(file.shape().begin(), file.shape().end(), x.shape().begin()),
          "an array has the shape of the header");
  const auto copy = scratch("copy.npy");
  write_npy(copy, x);
  const auto again = read_npy<double, Rank>(copy);
  require(std::ranges::equal(
              again.span(), x.span(),
              [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }),
          "an array is read as it was written");
  accepts([&] { file.tensor<std::int32_t, Rank>(); });
}

}  // namespace

void fuzz_npy(std::span<const std::byte> bytes) {
  accepts([&] {
    const NpyFile file = NpyFile::from_memory(bytes, "a.npy");
    require(within(file.bytes(), bytes), "elements lie within the file");
    require(file.shape().size() <= NpyLimits{}.rank, "a limit holds");
    check_array<1>(file);
    check_array<2>(file);
    check_array<3>(file);
    check_array<4>(file);
  });
}

}  // namespace sequin_fuzz
