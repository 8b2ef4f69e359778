/// Arrays of NumPy's .npy files, read and written: what Python and Sequin give each other.
#pragma once

#include "sequin/core/tensor.hpp"
#include "sequin/io/atomic_file.hpp"
#include "sequin/io/mapped_file.hpp"
#include "sequin/io/npy_header.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// A .npy file, mapped, its header checked against the file before anything else. A value; copies
/// share the mapping. Python objects (pickle), structured types, texts, complex and big-endian
/// numbers are refused.
class NpyFile {
 public:
  /// Throws LoadError: "FILE: header: expected ..., found ...".
  explicit NpyFile(const std::filesystem::path& path, const NpyLimits& limits = {})
      : label_(detail::printable(path.string(), 400)),
        bytes_(map(path)),
        header_(detail::parse_npy(bytes_, label_, limits)) {}

  /// From memory that outlives the result, or that `owner` keeps alive; `label` begins the
  /// messages.
  static NpyFile from_memory(std::span<const std::byte> bytes, std::string label = "memory",
                             const NpyLimits& limits = {}, std::shared_ptr<const void> owner = {}) {
    return NpyFile(bytes, std::move(label), limits, std::move(owner));
  }

  DType dtype() const noexcept { return header_.dtype; }
  /// Empty for a scalar.
  const std::vector<std::int64_t>& shape() const noexcept { return header_.shape; }
  /// The elements in memory have the first axis as the fastest; `tensor` puts them row-major.
  bool fortran_order() const noexcept { return header_.fortran_order; }
  /// The elements as they lie in the file; they need not be aligned.
  std::span<const std::byte> bytes() const noexcept { return bytes_.subspan(header_.data); }

  /// The array, converted as convert_elements does. Throws LoadError when it has not `Rank` axes or
  /// T cannot hold an element.
  template <class T, std::size_t Rank>
  Tensor<T, Rank> tensor() const {
    if (shape().size() != Rank)
      throw LoadError(label_ + ": shape: expected " + std::to_string(Rank) + " axes, found " +
                      std::to_string(shape().size()));
    Shape<Rank> extents{};
    std::copy(shape().begin(), shape().end(), extents.begin());
    try {
      if (!fortran_order()) {
        Tensor<T, Rank> out(extents);
        convert_elements<T>(dtype(), bytes(), out.span());
        return out;
      }
      Shape<Rank> reversed = extents;
      std::reverse(reversed.begin(), reversed.end());
      Tensor<T, Rank> stored(reversed), out(extents);
      convert_elements<T>(dtype(), bytes(), stored.span());
      to_row_major<T, Rank>(std::as_const(stored).data(), extents, out.data());
      return out;
    } catch (const LoadError& e) {
      throw LoadError(label_ + ": " + e.what());
    }
  }

 private:
  NpyFile(std::span<const std::byte> bytes, std::string label, const NpyLimits& limits,
          std::shared_ptr<const void> owner)
      : label_(std::move(label)),
        owner_(std::move(owner)),
        bytes_(bytes),
        header_(detail::parse_npy(bytes_, label_, limits)) {}

  std::span<const std::byte> map(const std::filesystem::path& path) {
    auto mapping = std::make_shared<const MappedFile>(path);
    const auto bytes = mapping->bytes();
    owner_ = std::move(mapping);
    return bytes;
  }

  template <class T, std::size_t Rank>
  static void to_row_major(const T* from, const Shape<Rank>& shape, T* to) {
    Shape<Rank> step{}, at{};
    index_t count = 1;
    for (std::size_t k = 0; k < Rank; ++k) {
      step[k] = count;
      count *= shape[k];
    }
    for (index_t i = 0, offset = 0; i < count; ++i) {
      to[i] = from[offset];
      for (std::size_t k = Rank; k-- > 0;) {
        offset += step[k];
        if (++at[k] < shape[k]) break;
        offset -= at[k] * step[k];
        at[k] = 0;
      }
    }
  }

  std::string label_;
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
  detail::NpyHeader header_;
};

/// The array of a .npy file, of any layout and of any type that T can hold (T = float or double
/// takes all). Throws LoadError naming the file, what was expected and what was found.
template <class T, std::size_t Rank>
Tensor<T, Rank> read_npy(const std::filesystem::path& path, const NpyLimits& limits = {}) {
  return NpyFile(path, limits).tensor<T, Rank>();
}

/// Writes a tensor as numpy.load reads it, row-major, atomically (AtomicFile). Throws LoadError
/// when the file cannot be written; an older file then stays.
template <class T, std::size_t Rank>
void write_npy(const std::filesystem::path& path, const Tensor<T, Rank>& array) {
  std::array<std::int64_t, Rank> shape;
  std::copy(array.shape().begin(), array.shape().end(), shape.begin());
  AtomicFile file(path);
  file.write(detail::npy_head(dtype_of<T>, shape));
  file.write(std::as_bytes(array.span()));
  file.commit();
}

}  // namespace sequin::inline SEQUIN_ABI
