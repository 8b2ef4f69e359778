/// What the blocks of a model put out, told to this thread's listener where there is one.
#pragma once

#include "sequin/core/tensor.hpp"

#include <compare>
#include <span>
#include <string>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// Tells a block from all others: where it lies, and its type, since a block's first member lies
/// where the block does.
struct ModuleId {
  const void* address = nullptr;
  const void* type = nullptr;

  friend auto operator<=>(const ModuleId&, const ModuleId&) = default;
};

/// A block below a model under its official path: "encoder.attn_layers.0.attention".
struct NamedModule {
  ModuleId id;
  std::string path;
};

namespace detail {

template <class Block>
inline constexpr char kModuleType = 0;

/// Who hears the outputs of blocks; core/module_trace.hpp has the one that there is.
template <class T>
class ModuleListener {
 public:
  virtual void hear(const ModuleId& id, std::span<const index_t> shape,
                    std::span<const T> values) = 0;

 protected:
  ~ModuleListener() = default;
};

template <class T>
inline thread_local ModuleListener<T>* module_listener = nullptr;

}  // namespace detail

/// A class that only names its base anew says whose output is its own by a `module_type`.
template <class Block>
ModuleId module_id(const Block& block) noexcept {
  if constexpr (requires { typename Block::module_type; })
    return {&block, &detail::kModuleType<typename Block::module_type>};
  else
    return {&block, &detail::kModuleType<Block>};
}

/// Ends the forward pass of a block: gives back y, the output of the official module of that path.
/// Without a ModuleTrace in this thread that is one comparison. Real-time safe then.
template <class Block, class T, std::size_t Rank>
Tensor<T, Rank> probe(const Block& block, Tensor<T, Rank> y) {
  if (detail::module_listener<T> != nullptr) [[unlikely]]
    detail::module_listener<T>->hear(module_id(block), y.shape(), std::as_const(y).span());
  return y;
}

/// While it lives, the blocks of this thread tell nothing: for blocks that work on what the
/// official code has in another order or form. Real-time safe.
template <class T>
class NoProbe {
 public:
  NoProbe() noexcept : outer_(std::exchange(detail::module_listener<T>, nullptr)) {}
  NoProbe(const NoProbe&) = delete;
  NoProbe& operator=(const NoProbe&) = delete;
  ~NoProbe() { detail::module_listener<T> = outer_; }

 private:
  detail::ModuleListener<T>* outer_;
};

}  // namespace sequin::inline SEQUIN_ABI
