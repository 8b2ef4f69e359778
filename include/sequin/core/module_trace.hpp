/// Opt-in: records what each block of a model puts out, by official module path.
#pragma once

#include "sequin/core/parameter.hpp"

#include <algorithm>
#include <concepts>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// The first output of a block since the trace began.
template <class T>
struct ModuleOutput {
  std::string path;            ///< "encoder.attn_layers.0.attention"
  std::vector<index_t> shape;  ///< time-major, as everything here
  std::vector<T> values;       ///< row-major
};

/// While it lives, keeps what the blocks of `model` put out in this thread, as a forward hook on
/// every module does in PyTorch:
///
///     ModuleTrace trace(model);
///     model.forward(x);
///     for (const auto& m : trace.outputs()) std::printf("%s\n", m.path.c_str());
///
/// Blocks that the official code has and a fused operation stands for here are not among them, nor
/// is the model itself. The model must not be moved meanwhile. Results stay the same, bit for bit;
/// the copies are allocated on the heap, so it is not for the real-time thread. Traces nest: the
/// inner one hears.
template <class T>
class ModuleTrace final : private detail::ModuleListener<T> {
 public:
  template <class Model>
  explicit ModuleTrace(Model& model) : ModuleTrace(model, [](std::string_view) { return true; }) {}

  /// Keeps only the blocks whose path `wanted` likes.
  template <class Model, std::predicate<std::string_view> Wanted>
  ModuleTrace(Model& model, Wanted&& wanted) {
    for (NamedModule& m : modules(model)) {
      if (wanted(std::string_view(m.path))) paths_.emplace(m.id, m.path);
    }
    outer_ = std::exchange(detail::module_listener<T>, static_cast<Listener*>(this));
  }
  ModuleTrace(const ModuleTrace&) = delete;
  ModuleTrace& operator=(const ModuleTrace&) = delete;
  ~ModuleTrace() { detail::module_listener<T> = outer_; }

  /// In the order in which the blocks ended: a block comes after those inside it.
  const std::vector<ModuleOutput<T>>& outputs() const noexcept { return outputs_; }

 private:
  using Listener = detail::ModuleListener<T>;

  void hear(const ModuleId& id, std::span<const index_t> shape, std::span<const T> values) final {
    const auto found = paths_.find(id);
    if (found == paths_.end()) return;
    outputs_.push_back(
        {std::move(found->second), {shape.begin(), shape.end()}, {values.begin(), values.end()}});
    paths_.erase(found);
  }

  std::map<ModuleId, std::string> paths_;  // of what was not heard yet
  std::vector<ModuleOutput<T>> outputs_;
  Listener* outer_ = nullptr;
};

template <class Model>
ModuleTrace(Model&) -> ModuleTrace<typename Model::value_type>;
template <class Model, class Wanted>
ModuleTrace(Model&, Wanted&&) -> ModuleTrace<typename Model::value_type>;

}  // namespace sequin::inline SEQUIN_ABI
