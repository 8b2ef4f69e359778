/// A text as bytes: pieces of it to learn from, and bits per byte of what a model does not know.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/no_grad.hpp"
#include "sequin/core/random.hpp"
#include "sequin/io/mapped_file.hpp"
#include "sequin/ops/loss.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sequin_bytes {

using sequin::index_t;
using sequin::Tensor;

/// B pieces of T bytes, and the byte after each of them.
struct ByteBatch {
  Tensor<std::int64_t, 2> ids;     ///< (B, T)
  std::vector<std::int64_t> next;  ///< B x T
};

/// Pieces of T + 1 bytes from anywhere in a text, a batch source for `train`.
class ByteText {
 public:
  using Batch = ByteBatch;

  /// Throws ConfigError: T < 1, or a text that is shorter than a piece.
  ByteText(std::vector<std::uint8_t> bytes, index_t length)
      : bytes_(std::move(bytes)), length_(length) {
    if (length < 1 || static_cast<index_t>(bytes_.size()) <= length)
      throw sequin::ConfigError("byte text: pieces of " + std::to_string(length) +
                                " bytes and the next, expected 1 or more and at most the text's " +
                                std::to_string(bytes_.size()) + " - 1");
  }

  std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

  void draw(sequin::Generator& generator, index_t examples, Batch& batch) const {
    const sequin::ArenaScope heap(nullptr);
    const sequin::Shape<2> shape{examples, length_};
    if (!batch.ids.defined() || batch.ids.shape() != shape)
      batch.ids = Tensor<std::int64_t, 2>(shape);
    batch.next.resize(static_cast<std::size_t>(batch.ids.size()));
    std::int64_t* id = batch.ids.data();
    auto next = batch.next.begin();
    const auto starts =
        static_cast<std::uint32_t>(bytes_.size() - static_cast<std::size_t>(length_));
    for (index_t b = 0; b < examples; ++b) {
      auto byte = bytes_.begin() + generator.below(starts);
      for (index_t t = 0; t < length_; ++t) {
        *id++ = *byte++;
        *next++ = *byte;
      }
    }
  }

 private:
  std::vector<std::uint8_t> bytes_;
  index_t length_;
};

/// The first bytes of a file, to learn from, and the last `share` of them, held out. Throws
/// LoadError, and ConfigError when a part is empty or the file has 4 GiB or more.
inline std::pair<std::vector<std::uint8_t>, std::vector<std::uint8_t>> split_text(
    const std::filesystem::path& path, double share) {
  const sequin::MappedFile file(path);
  const auto bytes = file.bytes();
  const auto held_out = static_cast<std::size_t>(share * static_cast<double>(bytes.size()));
  if (held_out < 1 || held_out >= bytes.size() || bytes.size() > 0xFFFF'FFFFu)
    throw sequin::ConfigError(path.string() + ": " + std::to_string(bytes.size()) +
                              " bytes, expected some to learn from and some to hold out, below "
                              "4 GiB");
  const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto* const middle = first + (bytes.size() - held_out);
  return {{first, middle}, {middle, first + bytes.size()}};
}

/// The bits that an arithmetic coder driven by `model` needs for a byte of `text`, on average. The
/// model reads `chunk` bytes at once, each before it is told the next, and knows nothing at the
/// start: the first byte counts 8 bits. Memory for a chunk and the model's state.
template <class Model>
double bits_per_byte(const Model& model, std::span<const std::uint8_t> text, index_t chunk) {
  using T = typename Model::value_type;
  const sequin::NoGrad no_grad;
  auto state = model.initial_state(1);
  sequin::Arena arena;
  double nats = std::log(256.0);
  const auto last = static_cast<index_t>(text.size()) - 1;
  for (index_t begin = 0; begin < last; begin += chunk) {
    const index_t n = (std::min)(chunk, last - begin);
    const auto piece =
        text.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n + 1));
    {
      const sequin::ArenaScope scope(&arena);
      Tensor<std::int64_t, 2> ids({1, n});
      std::copy(piece.begin(), piece.end() - 1, ids.data());
      const std::vector<std::int64_t> next(piece.begin() + 1, piece.end());
      const Tensor<T, 3> logits = model.forward(ids, &state);
      nats += static_cast<double>(n) *
              static_cast<double>(
                  sequin::cross_entropy(logits, std::span<const std::int64_t>(next)).item());
    }
    arena.fit();
  }
  return nats / std::log(2.0) / static_cast<double>(text.size());
}

}  // namespace sequin_bytes
