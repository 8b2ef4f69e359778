/// A model's parameters as a file that loads like an official one.
#pragma once

#include "sequin/core/parameter.hpp"
#include "sequin/io/gather_tensors.hpp"
#include "sequin/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// The int64 that a counter's values, held as T, stand for.
template <class T>
std::vector<std::int64_t> whole_numbers(const Parameter<T>& p, std::span<const T> values) {
  std::vector<std::int64_t> numbers;
  for (const T v : values) {
    // As far as float and double count without a gap; NaN fails the comparison too.
    if (!(std::abs(static_cast<double>(v)) <= 0x1p53))
      throw LoadError("'" + p.name + "': expected a whole number to save, found " +
                      std::to_string(static_cast<double>(v)));
    numbers.push_back(static_cast<std::int64_t>(v));
  }
  return numbers;
}

/// `save_parameters` where elements_of(i) gives those of parameter i.
template <Scalar T, class ElementsOf>
void save_parameters_from(const std::filesystem::path& path, const ParameterList<T>& list,
                          ElementsOf&& elements_of) {
  std::vector<TensorEntry> entries;
  for (const auto& p : list.items) {
    TensorEntry entry;
    entry.name = p.name;
    entry.dtype = p.whole ? DType::I64 : dtype_of<T>;
    entry.shape.assign(p.shape.begin(), p.shape.end());
    entries.push_back(std::move(entry));
  }
  std::vector<std::int64_t> numbers;
  save_safetensors(path, entries, {{"format", "pt"}}, [&](std::size_t i) {
    const std::span<const T> elements = elements_of(i);
    if (!list.items[i].whole) return std::as_bytes(elements);
    numbers = whole_numbers(list.items[i], elements);
    return std::as_bytes(std::span<const std::int64_t>(numbers));
  });
}

}  // namespace detail

/// Writes parameters and buffers under their official names, shapes and types, atomically. Throws
/// LoadError when the file cannot be written; an older one then stays as it was. ConfigError: some
/// lie on another process.
template <Scalar T>
void save_parameters(const std::filesystem::path& path, const ParameterList<T>& list) {
  for (const auto& p : list.items)
    if (!p.here())
      throw ConfigError("parameter '" + p.name + "': expected here to be saved, found on rank " +
                        std::to_string(p.rank) + "; all ranks can save together");
  detail::save_parameters_from(path, list,
                               [&](std::size_t i) { return list.items[i].values.span(); });
}

/// The same of a model whose parts lie on several processes: all call it, rank 0 writes the one
/// file with everything, and only its `path` is read. One that throws leaves the others waiting.
template <Scalar T>
void save_parameters(const std::filesystem::path& path, const ParameterList<T>& list,
                     Replicas& replicas) {
  std::vector<detail::RankTensor<T>> tensors;
  for (const auto& p : list.items) {
    index_t elements = 1;
    for (const index_t extent : p.shape) elements *= extent;
    tensors.push_back({p.values, elements, p.rank});
  }
  detail::TensorGathering<T> gathering(replicas, std::move(tensors));
  if (replicas.rank() != 0) return gathering.serve();
  detail::save_parameters_from(path, list, [&](std::size_t i) { return gathering.fetch(i); });
  gathering.finish();
}

}  // namespace sequin::inline SEQUIN_ABI
