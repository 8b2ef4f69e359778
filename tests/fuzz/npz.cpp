#include "sequin/io/npz.hpp"

#include "fuzz.hpp"

#include <string>

namespace sequin_fuzz {

using namespace sequin;

void fuzz_npz(std::span<const std::byte> bytes) {
  accepts([&] {
    NpzLimits limits;
    limits.array_bytes = 1 << 20;
    const NpzFile archive = NpzFile::from_memory(bytes, "a.npz", limits);
    const auto names = archive.names();
    require(names.size() <= limits.members, "a limit holds");
    for (const std::string& name : names) {
      require(archive.contains(name), "what is named is there");
      accepts([&] {
        const NpyFile array = archive.array(name);
        require(array.bytes().size() <= limits.array_bytes || within(array.bytes(), bytes),
                "an array lies within the file or its limit");
        if (array.shape().size() != 1) return;
        const auto x = array.tensor<double, 1>();
        require(x.size() == array.shape()[0], "an array has the shape of its header");
      });
    }
    accepts([&] { archive.array("no such array"); });
  });
}

}  // namespace sequin_fuzz
