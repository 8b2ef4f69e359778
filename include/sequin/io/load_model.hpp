/// Models from folders of official files, and back.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/io/config.hpp"
#include "sequin/io/safetensors.hpp"
#include "sequin/io/save_parameters.hpp"
#include "sequin/io/weights.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// "missing: a, b; surplus: c": at most a dozen names of each kind, then how many more.
inline void append_names(std::string& text, const char* kind,
                         const std::vector<std::string>& names) {
  if (names.empty()) return;
  if (!text.empty()) text += "; ";
  text += kind;
  text += ": ";
  constexpr std::size_t kShown = 12;
  for (std::size_t i = 0; i < (std::min)(names.size(), kShown); ++i) {
    if (i != 0) text += ", ";
    text += names[i];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
}

inline bool is_float(DType dtype) noexcept {
  return dtype == DType::F64 || dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

/// Converts in parts, and lets go of each part of the file, so that weights are in memory once.
template <class T>
void copy_elements(const WeightsSource& source, const TensorEntry& entry, std::span<T> to) {
  constexpr std::size_t kPart = std::size_t{1} << 20;
  const std::size_t size = dtype_size(entry.dtype);
  for (std::size_t i = 0; i < to.size(); i += kPart) {
    const std::size_t count = (std::min)(kPart, to.size() - i);
    const auto bytes = entry.bytes.subspan(i * size, count * size);
    convert_elements<T>(entry.dtype, bytes, to.subspan(i, count));
    source.forget(bytes);
  }
}

/// Entries by a model's names: checkpoints saved from PyTorch's parallel wrappers carry "module."
/// before each.
class EntryFinder {
 public:
  static constexpr std::string_view kWrapper = "module.";

  explicit EntryFinder(const WeightsSource& source)
      : source_(source),
        wrapped_(!source.tensors().empty() &&
                 std::all_of(source.tensors().begin(), source.tensors().end(),
                             [](const TensorEntry& e) { return e.name.starts_with(kWrapper); })) {}

  const TensorEntry* operator()(std::string_view name) const {
    return source_.find(wrapped_ ? std::string(kWrapper).append(name) : std::string(name));
  }
  /// A stored name as the model has it.
  std::string_view bare(std::string_view stored) const noexcept {
    return wrapped_ ? stored.substr(kWrapper.size()) : stored;
  }

 private:
  const WeightsSource& source_;
  bool wrapped_;
};

/// `load_weights` of the parameters and buffers of a block.
template <class T>
void load_parameters(ParameterList<T>& list, const WeightsSource& source) {
  const EntryFinder find(source);
  std::vector<std::string> missing, surplus, misfit;
  std::map<std::string, bool, std::less<>> known;
  for (const auto& name : list.unused) known.emplace(name, true);
  for (const auto& [name, parameter] : list.aliases) known.emplace(name, true);

  std::vector<const TensorEntry*> found;
  for (const auto& p : list.items) {
    known.emplace(p.name, true);
    const TensorEntry* entry = find(p.name);
    std::string called = p.name;
    for (const auto& [alias, parameter] : list.aliases) {
      if (parameter != p.name) continue;
      const TensorEntry* const other = find(alias);
      if (other == nullptr) continue;
      if (entry == nullptr) {
        entry = other;
        called = alias;
      } else if (entry->dtype != other->dtype || entry->shape != other->shape ||
                 !std::equal(entry->bytes.begin(), entry->bytes.end(), other->bytes.begin(),
                             other->bytes.end())) {
        misfit.push_back("'" + alias + "' expected the values of '" + called + "', found others");
      }
    }
    found.push_back(entry);
    if (entry == nullptr) {
      missing.push_back("'" + p.name + "' " + to_string(p.shape));
      continue;
    }
    const bool same_shape = std::equal(entry->shape.begin(), entry->shape.end(), p.shape.begin(),
                                       p.shape.end(), [](auto a, auto b) { return a == b; });
    if (!same_shape) {
      const std::vector<index_t> shape(entry->shape.begin(), entry->shape.end());
      misfit.push_back("'" + called + "' expected " + to_string(p.shape) + ", found " +
                       to_string(shape));
    } else if (!is_float(entry->dtype) && !(p.whole && entry->dtype == DType::I64)) {
      misfit.push_back("'" + called + "' expected " + (p.whole ? "I64" : "a floating type") +
                       ", found " + std::string(dtype_name(entry->dtype)));
    }
  }
  for (const TensorEntry& entry : source.tensors())
    if (!known.contains(find.bare(entry.name)))
      surplus.push_back("'" + printable(entry.name) + "'");
  if (!missing.empty() || !surplus.empty() || !misfit.empty()) {
    std::string what;
    append_names(what, "missing", missing);
    append_names(what, "misfit", misfit);
    append_names(what, "surplus", surplus);
    throw LoadError(source.label() + ": the tensors are not those of the model: " + what);
  }
  for (std::size_t i = 0; i < found.size(); ++i)
    copy_elements<T>(source, *found[i], list.items[i].values.span());
}

}  // namespace detail

/// Fills the parameters and buffers of `block` from `source`, by name. Every parameter must be
/// there in its official shape (or under an alias), in any floating type (a counter also in int64);
/// nothing else may be there but aliases and names that the block declares unused. All that is
/// wrong is reported in one LoadError and the block is then unchanged. An alias beside its
/// parameter must hold the same bytes.
template <class Block>
void load_weights(Block& block, const WeightsSource& source) {
  auto list = parameters(block);
  detail::load_parameters(list, source);
}

/// Writes the parameters and buffers of `block` under their official names and shapes, atomically.
/// Throws LoadError when the file cannot be written; an older one then stays as it was.
template <class Block>
void save_weights(Block& block, const std::filesystem::path& path) {
  save_parameters(path, parameters(block));
}

/// The same of a block whose parts lie on several processes (ExpertParallelMoe): all call it, rank
/// 0 writes one file with everything.
template <class Block>
void save_weights(Block& block, const std::filesystem::path& path, Replicas& replicas) {
  save_parameters(path, parameters(block), replicas);
}

/// Sizes in a config are only believed as far as the file can fill them: throws LoadError when a
/// block of `needed` parameters is far larger than what `source` holds. Call it before making the
/// block; smaller differences are left to load_weights, which names the tensors.
inline void check_size(double needed, const WeightsSource& source) {
  const double present = source.element_count();
  if (needed <= 4 * present + 1e6) return;
  char text[96];
  std::snprintf(text, sizeof text, ": config.json asks for %.6g parameters, the file has %.6g",
                needed, present);
  throw LoadError(source.label() + text);
}

namespace detail {

template <class Model>
Model load_unprepared(const std::filesystem::path& dir, const WeightsLimits& limits) {
  const auto config = Model::Config::read(Config::load(dir / "config.json"));
  const WeightsSource source = open_weights(dir, limits);
  try {
    check_size(config.parameter_count(), source);
    Model model(config);
    load_weights(model, source);
    return model;
  } catch (const LoadError& e) {
    // A model with several variants can say from the names which one a file holds.
    if constexpr (requires { Model::variant_of([](std::string_view) { return true; }); }) {
      const EntryFinder find(source);
      const std::string variant =
          Model::variant_of([&](std::string_view name) { return find(name) != nullptr; });
      if (!variant.empty())
        throw LoadError(std::string(e.what()) + "; by its names the file holds " + variant);
    }
    throw;
  }
}

}  // namespace detail

/// Reads `dir`/config.json and the weights beside it (weights.safetensors, model.safetensors or a
/// sharded model.safetensors.index.json) into a new, prepared model. Throws ConfigError, LoadError.
///
///     auto model = load_model<Mamba<float>>("mamba-130m-hf");
template <class Model>
Model load_model(const std::filesystem::path& dir, const WeightsLimits& limits = {}) {
  Model model = detail::load_unprepared<Model>(dir, limits);
  prepare(model);
  return model;
}

/// The same model ready to run and to stream, not to train or to save: its weights are in memory
/// once (see prepare_for_inference).
template <class Model>
Model load_for_inference(const std::filesystem::path& dir, const WeightsLimits& limits = {}) {
  Model model = detail::load_unprepared<Model>(dir, limits);
  prepare_for_inference(model);
  return model;
}

}  // namespace sequin::inline SEQUIN_ABI

SEQUIN_INSTANTIATE(detail::load_parameters);
