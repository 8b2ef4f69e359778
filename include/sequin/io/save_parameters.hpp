/// A model's parameters as a file that loads like an official one.
#pragma once

#include "sequin/core/parameter.hpp"
#include "sequin/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The int64 that a counter held as T stands for.
template <class T>
std::vector<std::int64_t> whole_numbers(const Parameter<T>& p) {
  std::vector<std::int64_t> numbers;
  for (const T v : p.values.span()) {
    // As far as float and double count without a gap; NaN fails the comparison too.
    if (!(std::abs(static_cast<double>(v)) <= 0x1p53))
      throw LoadError("'" + p.name + "': expected a whole number to save, found " +
                      std::to_string(static_cast<double>(v)));
    numbers.push_back(static_cast<std::int64_t>(v));
  }
  return numbers;
}

}  // namespace detail

/// Writes parameters and buffers under their official names, shapes and types, atomically. Throws
/// LoadError when the file cannot be written; an older one then stays as it was.
template <Scalar T>
void save_parameters(const std::filesystem::path& path, const ParameterList<T>& list) {
  std::vector<TensorEntry> entries;
  std::deque<std::vector<std::int64_t>> counters;
  for (const auto& p : list.items) {
    TensorEntry entry;
    entry.name = p.name;
    entry.dtype = p.whole ? DType::I64 : dtype_of<T>;
    entry.shape.assign(p.shape.begin(), p.shape.end());
    entry.bytes = std::as_bytes(p.values.span());
    if (p.whole) {
      counters.push_back(detail::whole_numbers(p));
      entry.bytes = std::as_bytes(std::span<const std::int64_t>(counters.back()));
    }
    entries.push_back(std::move(entry));
  }
  save_safetensors(path, entries, {{"format", "pt"}});
}

}  // namespace sequin::inline SEQUIN_ABI
