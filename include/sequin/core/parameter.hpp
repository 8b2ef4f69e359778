/// The one list of a block's parameters: names, shapes, storage. Loading, saving, optimisers,
/// counting, casting and printing all use it.
#pragma once

#include "sequin/core/module_probe.hpp"
#include "sequin/core/tensor.hpp"

#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// One named tensor of a block, its rank erased. Shares the elements with the block's tensor.
template <class T>
struct Parameter {
  std::string name;            ///< the official name, with the path: "encoder.norm.weight"
  std::vector<index_t> shape;  ///< as stored in the official checkpoint
  Tensor<T, 1> values;         ///< all elements, flat; the same memory and the same autograd value
  bool trainable = true;       ///< false for a buffer
  bool whole = false;          ///< whole numbers, int64 in the official checkpoint
  /// Of several processes (Replicas) the one that alone has it: elsewhere `values` is undefined,
  /// the rest is alike on all of them. -1: everybody has it.
  index_t rank = -1;

  bool here() const noexcept { return values.defined(); }
};

/// What `visit` of a block tells.
template <class T>
struct ParameterList {
  std::vector<Parameter<T>> items;
  /// Further names under which a checkpoint may carry a parameter: {name, name of the parameter}.
  std::vector<std::pair<std::string, std::string>> aliases;
  /// Names that official checkpoints are known to carry and that the model does not use.
  std::vector<std::string> unused;

  /// Number of trainable elements; of several processes, those of this one.
  index_t count() const noexcept {
    index_t total = 0;
    for (const auto& p : items) total += p.trainable ? p.values.size() : 0;
    return total;
  }
};

/// Walks through a block and its children. Every block has one member
///
///     void visit(Visitor<T>& v) {
///       v.parameter("weight", weight);   // undefined tensors (absent biases) are skipped
///       v.child("norm", norm);           // "norm.weight", ...
///       v.children("layers", layers);    // "layers.0.weight", ...
///       v.derived(*this);                // calls refresh_derived() when constants are prepared
///       v.child_of(rank, "expert", e);   // of several processes, what `rank` alone has; the
///       v.elsewhere(rank, "expert.weight", shape);  // others name its parameters
///     }
///
/// `parameters(model)`, `modules(model)` and `prepare(model)` below are the walks that exist.
template <class T>
class Visitor {
 public:
  enum class Walk { kList, kCount, kModules, kRequireGrad, kPrepare, kPrepareForInference };

  explicit Visitor(Walk walk, bool on = true) : walk_(walk), on_(on) {}
  /// Asks for the gradients of the parameters whose name `wanted` likes.
  explicit Visitor(std::function<bool(std::string_view)> wanted)
      : walk_(Walk::kRequireGrad), wanted_(std::move(wanted)) {}

  template <std::size_t Rank>
  void parameter(std::string_view name, Tensor<T, Rank>& t) {
    check_present(name, t);
    if (walk_ == Walk::kCount && (t.defined() || t.released())) count_ += element_count(t.shape());
    if (!t.defined()) return;
    if (walk_ == Walk::kRequireGrad)
      t.set_requires_grad(wanted_ ? wanted_(prefix_ + std::string(name)) : on_);
    add(name, t, true);
  }

  /// Part of the state, but not trained.
  template <std::size_t Rank>
  void buffer(std::string_view name, Tensor<T, Rank>& t) {
    if (t.defined()) add(name, t, false);
  }

  /// A buffer of whole numbers, int64 in checkpoints and held as T (float counts to 2^24): such as
  /// BatchNorm's num_batches_tracked.
  template <std::size_t Rank>
  void counter(std::string_view name, Tensor<T, Rank>& t) {
    if (t.defined()) add(name, t, false, true);
  }

  template <class Block>
  void child(std::string_view name, Block& block) {
    const std::size_t length = prefix_.size();
    prefix_.append(name);
    if (walk_ == Walk::kModules) modules_.push_back({module_id(block), prefix_});
    prefix_.append(".");
    block.visit(*this);
    prefix_.resize(length);
  }

  template <class Blocks>
  void children(std::string_view name, Blocks& blocks) {
    std::size_t i = 0;
    for (auto& block : blocks) child(std::string(name) + "." + std::to_string(i++), block);
  }

  /// A child that rank `rank`, which is this process, has alone.
  template <class Block>
  void child_of(index_t rank, std::string_view name, Block& block) {
    const index_t outer = std::exchange(rank_, rank);
    child(name, block);
    rank_ = outer;
  }
  /// A parameter that rank `rank`, which is another process, has alone: named in the place where it
  /// names its own.
  template <std::size_t Rank>
  void elsewhere(index_t rank, std::string_view name, const Shape<Rank>& shape) {
    if (walk_ != Walk::kList) return;
    Parameter<T> p;
    p.name = prefix_ + std::string(name);
    p.shape.assign(shape.begin(), shape.end());
    p.rank = rank;
    list_.items.push_back(std::move(p));
  }

  /// A checkpoint may carry `name` beside or instead of `parameter`, with the same values.
  void alias(std::string_view name, std::string_view parameter) {
    if (walk_ == Walk::kList)
      list_.aliases.emplace_back(prefix_ + std::string(name), prefix_ + std::string(parameter));
  }
  /// Official checkpoints carry `name`; nothing here uses it.
  void unused(std::string_view name) {
    if (walk_ == Walk::kList) list_.unused.push_back(prefix_ + std::string(name));
  }
  /// The block keeps constants made from its parameters.
  template <class Block>
  void derived(Block& block) {
    if (walk_ == Walk::kPrepareForInference) {
      if constexpr (requires { block.release_sources(); })
        block.release_sources();
      else
        block.refresh_derived();
    }
    if (walk_ == Walk::kPrepare) block.refresh_derived();
  }

  /// Number of trainable elements.
  index_t count() const noexcept { return count_; }
  ParameterList<T> take() { return std::move(list_); }
  std::vector<NamedModule> take_modules() { return std::move(modules_); }

 private:
  template <std::size_t Rank>
  void add(std::string_view name, Tensor<T, Rank>& t, bool trainable, bool whole = false) {
    if (walk_ != Walk::kList) return;
    Parameter<T> p;
    p.name = prefix_ + std::string(name);
    p.shape.assign(t.shape().begin(), t.shape().end());
    p.values = t.template reshaped<1>({t.size()});
    p.values.set_var(t.var().id);
    p.trainable = trainable;
    p.whole = whole;
    p.rank = rank_;
    list_.items.push_back(std::move(p));
  }

  /// Throws ConfigError for what prepare_for_inference took away.
  template <std::size_t Rank>
  void check_present(std::string_view name, const Tensor<T, Rank>& t) const {
    if (!t.released() || (walk_ != Walk::kList && walk_ != Walk::kRequireGrad)) return;
    throw ConfigError("parameter '" + prefix_ + std::string(name) + "' " + to_string(t.shape()) +
                      ": expected its elements, found that prepare_for_inference gave them up");
  }

  Walk walk_;
  bool on_ = true;
  std::function<bool(std::string_view)> wanted_;
  std::string prefix_;
  index_t rank_ = -1;
  index_t count_ = 0;
  ParameterList<T> list_;
  std::vector<NamedModule> modules_;
};

/// All parameters and buffers of a block, in the order of its `visit`.
template <class Block>
auto parameters(Block& block) {
  Visitor<typename Block::value_type> v(Visitor<typename Block::value_type>::Walk::kList);
  block.visit(v);
  return v.take();
}

/// Number of trainable elements, those that prepare_for_inference took away included.
template <class Block>
index_t parameter_count(const Block& block) {
  using V = Visitor<typename Block::value_type>;
  V v(V::Walk::kCount);
  const_cast<Block&>(block).visit(v);  // this walk changes nothing
  return v.count();
}

/// All blocks below a block under their official paths, in the order of its `visit`.
template <class Block>
std::vector<NamedModule> modules(Block& block) {
  Visitor<typename Block::value_type> v(Visitor<typename Block::value_type>::Walk::kModules);
  block.visit(v);
  return v.take_modules();
}

/// Asks for (or no longer asks for) gradients with respect to every parameter.
template <class Block>
void set_requires_grad(Block& block, bool on = true) {
  using V = Visitor<typename Block::value_type>;
  V v(V::Walk::kRequireGrad, on);
  block.visit(v);
}

/// Asks for gradients with respect to the parameters for whose name `wanted(name)` is true, and no
/// longer for those of the others: what only they need is then neither recorded nor computed.
template <class Block, std::predicate<std::string_view> Wanted>
void set_requires_grad(Block& block, Wanted&& wanted) {
  Visitor<typename Block::value_type> v(std::function<bool(std::string_view)>{wanted});
  block.visit(v);
}

/// Makes the constants that inference derives from the parameters (packed weights, -exp(A_log)).
/// Not needed for correctness: a constant whose parameter changed since is not used. Call it after
/// loading, before sharing the block between threads and before streaming.
template <class Block>
void prepare(Block& block) {
  using V = Visitor<typename Block::value_type>;
  V v(V::Walk::kPrepare);
  block.visit(v);
}

/// The same, and gives up the parameters from which constants were made, in whose memory they now
/// lie: a model then takes its weights' memory once, and can run but no longer train, be saved or
/// listed (those throw ConfigError). Results stay the same.
template <class Block>
void prepare_for_inference(Block& block) {
  using V = Visitor<typename Block::value_type>;
  V v(V::Walk::kPrepareForInference);
  block.visit(v);
}

}  // namespace sequin::inline SEQUIN_ABI
