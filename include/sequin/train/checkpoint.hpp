/// One atomic file that holds a training, and loads all of it or nothing.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/io/safetensors.hpp"
#include "sequin/io/save_parameters.hpp"
#include "sequin/train/state_list.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Changes when what a checkpoint holds, or what it means, changes.
inline constexpr int kCheckpointVersion = 1;

/// What has to be the same when a training is resumed: {key, value}, such as the model's config.
using CheckpointFingerprint = std::vector<std::pair<std::string, std::string>>;

namespace detail {

/// How an entry of a StateList lies in the file.
template <class T>
DType stored_dtype(const typename StateList<T>::Entry& e) {
  if (std::holds_alternative<Tensor<T, 1>>(e.value)) return dtype_of<T>;
  const bool whole = std::holds_alternative<std::span<std::int64_t>>(e.value) ||
                     std::holds_alternative<Generator*>(e.value);
  return whole ? DType::I64 : DType::F64;
}

template <class T>
bool any_length(const typename StateList<T>::Entry& e) {
  return std::holds_alternative<std::vector<double>*>(e.value);
}

/// The first of the whole numbers stored for an entry that it cannot take; nullopt when it can.
template <class T>
std::optional<std::int64_t> impossible_number(const typename StateList<T>::Entry& e,
                                              std::span<const std::byte> bytes) {
  if (!std::holds_alternative<std::span<std::int64_t>>(e.value)) return std::nullopt;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::int64_t)) {
    std::int64_t number = 0;
    std::memcpy(&number, bytes.data() + at, sizeof number);
    if (number < e.least || number > e.most) return number;
  }
  return std::nullopt;
}

/// The tensors of a state by its entries; the others stand there without elements.
template <Scalar T>
std::vector<RankTensor<T>> rank_tensors(const StateList<T>& state) {
  std::vector<RankTensor<T>> tensors;
  for (const auto& e : state.entries()) {
    const auto* const tensor = std::get_if<Tensor<T, 1>>(&e.value);
    tensors.push_back({tensor == nullptr ? Tensor<T, 1>{} : *tensor, 1, e.rank});
    for (const index_t extent : e.shape) tensors.back().elements *= extent;
  }
  return tensors;
}

/// Adds ", what" or the first "what", at most a dozen times.
inline void add_finding(std::string& text, int& count, const std::string& what) {
  if (++count <= 12) text += (text.empty() ? "" : "; ") + what;
  if (count == 13) text += "; and more";
}

}  // namespace detail

/// Writes everything that `state` names to `path`, atomically: beside it first, then renamed, so
/// that a full disk or a crash leaves the older file. It is a safetensors file: tensors in their
/// own type, numbers as I64 and F64, `fingerprint` in the metadata. Throws LoadError when it cannot
/// be written. With `replicas`, where entries lie on other ranks, all call it and rank 0 writes.
template <Scalar T>
void save_checkpoint(const std::filesystem::path& path, const StateList<T>& state,
                     const CheckpointFingerprint& fingerprint, Replicas* replicas = nullptr) {
  std::optional<detail::TensorGathering<T>> gathering;
  if (replicas != nullptr) gathering.emplace(*replicas, detail::rank_tensors(state));
  if (replicas != nullptr && replicas->rank() != 0) return gathering->serve();
  std::vector<std::vector<std::int64_t>> generators;
  generators.reserve(state.entries().size());  // the spans below stay valid
  std::vector<TensorEntry> entries;
  for (const auto& e : state.entries()) {
    TensorEntry entry;
    entry.name = e.name;
    entry.dtype = detail::stored_dtype<T>(e);
    entry.shape.assign(e.shape.begin(), e.shape.end());
    entry.bytes = std::visit(
        [&](const auto& v) -> std::span<const std::byte> {
          using V = std::remove_cvref_t<decltype(v)>;
          if constexpr (std::is_same_v<V, Tensor<T, 1>>) {
            return std::as_bytes(v.span());
          } else if constexpr (std::is_same_v<V, std::vector<double>*>) {
            return std::as_bytes(std::span<const double>(*v));
          } else if constexpr (std::is_same_v<V, Generator*>) {
            generators.push_back({static_cast<std::int64_t>(v->state().seed),
                                  static_cast<std::int64_t>(v->state().position)});
            return std::as_bytes(std::span<const std::int64_t>(generators.back()));
          } else {
            return std::as_bytes(v);
          }
        },
        e.value);
    entries.push_back(std::move(entry));
  }
  std::map<std::string, std::string> metadata{
      {"format", "sequin.checkpoint"},
      {"version", std::to_string(kCheckpointVersion)},
      {"scalar", std::is_same_v<T, float> ? "float" : "double"}};
  for (const auto& [key, value] : fingerprint) metadata["is." + key] = value;
  save_safetensors(path, entries, metadata, [&](std::size_t i) {
    return gathering && state.entries()[i].rank > 0 ? std::as_bytes(gathering->fetch(i))
                                                    : entries[i].bytes;
  });
  if (gathering) gathering->finish();
}

/// A checkpoint file, opened.
class Checkpoint {
 public:
  /// Throws LoadError: not there, not readable, damaged, truncated, no checkpoint, or of another
  /// version.
  explicit Checkpoint(const std::filesystem::path& path) : file_(path), label_(file_.label()) {
    if (meta("format") != "sequin.checkpoint")
      throw LoadError(label_ + ": format is \"" + detail::printable(meta("format")) +
                      "\", expected sequin.checkpoint");
    if (meta("version") != std::to_string(kCheckpointVersion))
      throw LoadError(label_ + ": checkpoint version is \"" + detail::printable(meta("version")) +
                      "\", expected " + std::to_string(kCheckpointVersion));
  }

  /// Compares scalar type, fingerprint and every name, type, shape and the range of counters with
  /// `state`, and changes nothing. Throws one LoadError that lists what differs.
  template <Scalar T>
  void check(const StateList<T>& state, const CheckpointFingerprint& fingerprint) const {
    const std::string scalar = std::is_same_v<T, float> ? "float" : "double";
    if (meta("scalar") != scalar)
      throw LoadError(label_ + ": scalar type is \"" + detail::printable(meta("scalar")) +
                      "\", expected " + scalar);
    std::string findings;
    int count = 0;
    for (const auto& [key, value] : fingerprint)
      if (meta("is." + key) != value)
        detail::add_finding(findings, count,
                            detail::printable(key) + " is \"" +
                                detail::printable(meta("is." + key)) + "\", expected \"" +
                                detail::printable(value) + "\"");
    std::unordered_set<std::string_view> known;
    for (const auto& e : state.entries()) {
      known.insert(e.name);
      const TensorEntry* const found = file_.find(e.name);
      if (found == nullptr) {
        detail::add_finding(findings, count, e.name + " is missing");
        continue;
      }
      const std::vector<index_t> shape(found->shape.begin(), found->shape.end());
      const bool same_shape = detail::any_length<T>(e) ? shape.size() == 1 : shape == e.shape;
      if (!same_shape)
        detail::add_finding(
            findings, count,
            e.name + " is " + to_string(shape) + ", expected " + to_string(e.shape));
      else if (found->dtype != detail::stored_dtype<T>(e))
        detail::add_finding(findings, count, e.name + " has another element type");
      else if (const auto number = detail::impossible_number<T>(e, found->bytes))
        detail::add_finding(findings, count,
                            e.name + " is " + std::to_string(*number) + ", expected " +
                                std::to_string(e.least) + " to " + std::to_string(e.most));
    }
    for (const TensorEntry& entry : file_.tensors())
      if (!known.contains(entry.name))
        detail::add_finding(findings, count, detail::printable(entry.name) + " is surplus");
    if (count > 0)
      throw LoadError(label_ + ": checkpoint of another model or training: " + findings);
  }

  /// The number, or the first of the numbers, stored as I64 under `name`; after `check`.
  std::int64_t integer(std::string_view name) const {
    std::int64_t value = 0;
    const TensorEntry* const entry = file_.find(name);
    if (entry == nullptr || entry->bytes.size() < sizeof value)
      throw LoadError(label_ + ": " + std::string(name) + " is missing");
    std::memcpy(&value, entry->bytes.data(), sizeof value);
    return value;
  }
  /// The length of the list `name`; after `check`.
  std::int64_t length(std::string_view name) const {
    const TensorEntry* const entry = file_.find(name);
    return entry == nullptr ? -1 : static_cast<std::int64_t>(entry->bytes.size() / sizeof(double));
  }

  /// The bytes stored for an entry of a state for which `check` has held.
  std::span<const std::byte> bytes(std::string_view name) const { return file_.find(name)->bytes; }

  /// Copies everything into what `state` names, but for what lies on other ranks; `check` has held
  /// for it.
  template <Scalar T>
  void load(const StateList<T>& state) const {
    // What can fail, memory for lists, comes first.
    for (const auto& e : state.entries())
      if (const auto* list = std::get_if<std::vector<double>*>(&e.value))
        (*list)->reserve(bytes(e.name).size() / sizeof(double));
    for (const auto& e : state.entries()) {
      const std::span<const std::byte> from = bytes(e.name);
      const auto copy = [&](void* to) {
        if (!from.empty()) std::memcpy(to, from.data(), from.size());
      };
      if (const auto* tensor = std::get_if<Tensor<T, 1>>(&e.value)) {
        Tensor<T, 1> values = *tensor;
        if (values.size() > 0) copy(values.data());
      } else if (const auto* whole = std::get_if<std::span<std::int64_t>>(&e.value)) {
        copy(whole->data());
      } else if (const auto* real = std::get_if<std::span<double>>(&e.value)) {
        copy(real->data());
      } else if (const auto* list = std::get_if<std::vector<double>*>(&e.value)) {
        (*list)->resize(from.size() / sizeof(double));
        copy((*list)->data());
      } else {
        std::uint64_t state_of[2] = {};
        copy(state_of);
        *std::get<Generator*>(e.value) = Generator(Generator::State{state_of[0], state_of[1]});
      }
    }
  }

 private:
  std::string meta(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    return found == file_.metadata().end() ? std::string() : found->second;
  }

  SafetensorsFile file_;
  std::string label_;
};

/// Checks and loads in one: throws LoadError and changes nothing unless all of it fits.
template <Scalar T>
void load_checkpoint(const std::filesystem::path& path, const StateList<T>& state,
                     const CheckpointFingerprint& fingerprint) {
  const Checkpoint file(path);
  file.check(state, fingerprint);
  file.load(state);
}

}  // namespace sequin::inline SEQUIN_ABI
