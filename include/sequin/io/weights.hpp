/// The weights of a folder, in one file or in shards.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/io/json.hpp"
#include "sequin/io/read_file.hpp"
#include "sequin/io/safetensors.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What the files of a checkpoint may ask of a reader.
struct WeightsLimits {
  SafetensorsLimits file;  ///< each
  JsonLimits index;        ///< model.safetensors.index.json
};

/// All tensors of a checkpoint. A value; copies share the files.
class WeightsSource {
 public:
  explicit WeightsSource(SafetensorsFile file) : label_(file.label()) { add(std::move(file)); }

  /// From a file's contents in memory that outlives the source. Throws LoadError.
  static WeightsSource from_memory(std::span<const std::byte> bytes, std::string label = "memory") {
    return WeightsSource(SafetensorsFile::from_memory(bytes, std::move(label)));
  }

  /// Nothing yet; `label` begins the messages.
  explicit WeightsSource(std::string label) : label_(std::move(label)) {}

  /// Adds the tensors of a shard. Throws LoadError when a name is there already.
  void add(SafetensorsFile file);

  const std::vector<TensorEntry>& tensors() const noexcept { return tensors_; }
  const TensorEntry* find(std::string_view name) const noexcept {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }
  /// All elements of a tensor, row-major, converted as convert_elements does. Throws LoadError when
  /// there is none of that name or T cannot hold an element.
  template <class T>
  std::vector<T> read(std::string_view name) const {
    return detail::read_elements<T>(find(name), name, label_);
  }
  /// Tells the system that these bytes of a mapped file need not stay in memory.
  void forget(std::span<const std::byte> part) const noexcept {
    for (const SafetensorsFile& file : files_) file.forget(part);
  }
  const std::string& label() const noexcept { return label_; }
  /// Number of elements of all tensors.
  double element_count() const noexcept { return elements_; }

 private:
  std::string label_;
  std::vector<SafetensorsFile> files_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  double elements_ = 0;
};

/// Opens `path`, a .safetensors file, or what a folder holds: weights.safetensors,
/// model.safetensors or the shards of model.safetensors.index.json. Throws LoadError.
WeightsSource open_weights(const std::filesystem::path& path, const WeightsLimits& limits = {});

#if SEQUIN_BODIES

SEQUIN_INLINE void WeightsSource::add(SafetensorsFile file) {
  for (const TensorEntry& e : file.tensors()) {
    if (!by_name_.emplace(e.name, tensors_.size()).second)
      throw LoadError(file.label() + ": tensor '" + detail::printable(e.name) +
                      "': expected in one shard, found in two");
    tensors_.push_back(e);
    elements_ += static_cast<double>(e.bytes.size() / dtype_size(e.dtype));
  }
  files_.push_back(std::move(file));
}

namespace detail {

/// The index may say how many bytes all tensors have. Throws LoadError when it is wrong.
inline void check_total_size(const nlohmann::json& index, const WeightsSource& source,
                             const std::string& label) {
  const auto metadata = index.find("metadata");
  if (metadata == index.end() || !metadata->is_object()) return;
  const auto total = metadata->find("total_size");
  if (total == metadata->end()) return;
  double bytes = 0;
  for (const TensorEntry& e : source.tensors()) bytes += static_cast<double>(e.bytes.size());
  if (!total->is_number() || total->get<double>() != bytes)
    throw LoadError(label + ": metadata.total_size: expected " +
                    std::to_string(static_cast<std::uint64_t>(bytes)) + ", found " +
                    printable(total->dump(-1, ' ', true), 40));
}

/// Throws LoadError when a link leads out of `folder`, but for what a Hugging Face cache consists
/// of: snapshots/REVISION/NAME leading to blobs/HASH.
inline void check_shard_place(const std::filesystem::path& folder,
                              const std::filesystem::path& shard) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path home = fs::canonical(folder, failed);
  if (failed) return;  // opening it says what is wrong
  const fs::path target = fs::canonical(shard, failed);
  if (failed || target.parent_path() == home) return;
  const fs::path snapshots = home.parent_path();
  if (snapshots.filename() == "snapshots" &&
      target.parent_path() == snapshots.parent_path() / "blobs")
    return;
  throw LoadError(printable(shard.string(), 400) +
                  ": expected a file of its folder, found a link out of it");
}

/// The shards that model.safetensors.index.json names: files in the same folder, nowhere else.
inline WeightsSource open_shards(const std::filesystem::path& index, const WeightsLimits& limits) {
  const std::string label = printable(index.string(), 400);
  const nlohmann::json json =
      parse_json_object(read_file(index, limits.index.bytes), label, limits.index);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object())
    throw LoadError(label + ": weight_map: expected an object");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& item : map->items()) {
    if (!item.value().is_string())
      throw LoadError(label + ": weight_map: '" + printable(item.key()) +
                      "': expected a file name");
    shards[item.value().get<std::string>()].push_back(item.key());
  }
  WeightsSource source(label);
  std::size_t named = 0;
  const std::filesystem::path folder =
      index.has_parent_path() ? index.parent_path() : std::filesystem::path(".");
  for (const auto& [name, tensors] : shards) {
    const std::filesystem::path relative(name);
    if (name.empty() || relative.is_absolute() || relative.has_parent_path() || name == ".." ||
        name == "." || name.find('\0') != std::string::npos)
      throw LoadError(label + ": weight_map: expected the name of a file beside it, found '" +
                      printable(name) + "'");
    check_shard_place(folder, folder / relative);
    SafetensorsFile shard(folder / relative, limits.file);
    for (const std::string& tensor : tensors)
      if (shard.find(tensor) == nullptr)
        throw LoadError(shard.label() + ": tensor '" + printable(tensor) + "': expected (from " +
                        label + "), found none");
    named += tensors.size();
    source.add(std::move(shard));
  }
  if (named != source.tensors().size()) {
    const auto unnamed = std::find_if(source.tensors().begin(), source.tensors().end(),
                                      [&](const TensorEntry& e) { return !map->contains(e.name); });
    throw LoadError(label + ": weight_map: expected the " +
                    std::to_string(source.tensors().size()) + " tensors of its shards, found " +
                    std::to_string(named) + " and no '" + printable(unnamed->name) + "'");
  }
  check_total_size(json, source, label);
  return source;
}

}  // namespace detail

SEQUIN_INLINE WeightsSource open_weights(const std::filesystem::path& path,
                                         const WeightsLimits& limits) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return WeightsSource(SafetensorsFile(path, limits.file));
  for (const char* name : {"weights.safetensors", "model.safetensors"})
    if (fs::exists(path / name, ignored))
      return WeightsSource(SafetensorsFile(path / name, limits.file));
  const fs::path index = path / "model.safetensors.index.json";
  if (fs::exists(index, ignored)) return detail::open_shards(index, limits);
  throw LoadError(detail::printable(path.string(), 400) +
                  ": expected weights.safetensors, model.safetensors or " +
                  "model.safetensors.index.json, found none");
}

#endif

}  // namespace sequin::inline SEQUIN_ABI
