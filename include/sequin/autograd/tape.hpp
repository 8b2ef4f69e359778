/// Reverse-mode differentiation as a scope: operations are recorded while a Tape lives.
#pragma once

#include "sequin/core/no_grad.hpp"
#include "sequin/core/tensor.hpp"

#include <concepts>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// 1 to 2^31 - 1, then from 1 again: 0 marks constants, and the highest bit leaves.
inline std::uint64_t next_tape_serial() noexcept {
  static std::atomic<std::uint64_t> count{0};
  return count.fetch_add(1, std::memory_order_relaxed) % 0x7fffffffu + 1;
}

}  // namespace detail

/// Gradients of one scalar with respect to values of a tape. Backward functions use `wants`, `take`
/// and `add`; callers of `Tape::gradients` use `of` and `has`.
class Gradients {
 public:
  /// True when the scalar depends on `x` and x is a leaf that asked for its gradient.
  template <class T, std::size_t Rank>
  bool has(const Tensor<T, Rank>& x) const {
    const auto found = leaves_.find(x.var().id);
    return found != leaves_.end() && found->second;
  }

  /// The gradient with respect to leaf `x`, of x's extents; zeros where nothing depends on it.
  template <class T, std::size_t Rank>
  Tensor<T, Rank> of(const Tensor<T, Rank>& x) const {
    const auto found = leaves_.find(x.var().id);
    if (found == leaves_.end() || !found->second) return Tensor<T, Rank>(x.shape());
    return Tensor<T, Rank>::from_storage(found->second, x.shape());
  }

  /// For backward functions: whether a gradient with respect to `x` is of use to anybody.
  template <class T, std::size_t Rank>
  bool wants(const Var<T, Rank>& x) const noexcept {
    return is_leaf(x.id) || (x.id >> 32) == serial_;
  }

  /// For backward functions: the gradient that arrived at output `y`, undefined when none did.
  /// It is handed over: a second call gives none.
  template <class T, std::size_t Rank>
  Tensor<T, Rank> take(const Var<T, Rank>& y) {
    detail::Storage storage = take(y.id);
    if (!storage) return {};
    return Tensor<T, Rank>::from_storage(std::move(storage), y.shape);
  }

  /// For `recompute`: what arrived at `from` is from now on what arrived at `to`, and `from` has
  /// none.
  template <class T, std::size_t Rank>
  void rename(const Var<T, Rank>& from, const Var<T, Rank>& to) {
    detail::Storage storage = std::exchange(slot(from.id), {});
    if (is_leaf(from.id)) leaves_.erase(from.id);
    slot(to.id) = std::move(storage);
  }

  /// For backward functions: adds `dx` to the gradient with respect to input `x`; nothing happens
  /// for constants. The caller no longer writes to dx.
  template <class T, std::size_t Rank, std::size_t GradRank>
  void add(const Var<T, Rank>& x, const Tensor<T, GradRank>& dx) {
    if (!wants(x)) return;
    SEQUIN_ASSERT(dx.size() == element_count(x.shape));
    add<T>(slot(x.id), dx.storage(), dx.size());
  }

 private:
  friend class Tape;

  static bool is_leaf(std::uint64_t id) noexcept { return (id >> 63) != 0; }

  SEQUIN_NO_INLINE detail::Storage take(std::uint64_t id) { return std::exchange(slot(id), {}); }

  template <class T>
  static void add(detail::Storage& sum, const detail::Storage& dx, index_t n) {
    if (!sum) {
      sum = dx;
      return;
    }
    const T* const b = static_cast<const T*>(dx.data());
    if (sum.unique()) {
      T* const a = static_cast<T*>(sum.data());
      for (index_t i = 0; i < n; ++i) a[i] += b[i];
      return;
    }
    detail::Storage fresh(static_cast<std::size_t>(n) * sizeof(T));
    const T* const a = static_cast<const T*>(sum.data());
    T* const out = static_cast<T*>(fresh.data());
    for (index_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
    sum = std::move(fresh);
  }

  detail::Storage& slot(std::uint64_t id) {
    if (is_leaf(id)) return leaves_[id];
    return values_[static_cast<std::size_t>(id & 0xffffffffu)];
  }

  std::uint64_t serial_ = 0;
  std::vector<detail::Storage> values_;
  std::unordered_map<std::uint64_t, detail::Storage> leaves_;
};

/// Records what this thread computes from tensors that ask for a gradient, from construction to
/// destruction; of nested tapes the innermost records. Not copied, not moved, used by its thread.
///
///     Tape tape;
///     auto loss = mse_loss(model.forward(x), target);
///     Gradients g = tape.gradients(loss);
///     g.of(weight);
class Tape {
 public:
  /// kFollow: knows which values depend on what asks for a gradient, but keeps nothing to compute
  /// it.
  enum class Mode { kRecord, kFollow };

  explicit Tape(Mode mode = Mode::kRecord)
      : serial_(detail::next_tape_serial()), outer_(detail::active_tape), mode_(mode) {
    detail::active_tape = this;
  }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { detail::active_tape = outer_; }

  /// The tape that records in this thread now, or nullptr.
  static Tape* active() noexcept { return detail::active_tape; }

  /// Gradients of the scalar `loss` (any rank, one element). Frees what was recorded as it goes;
  /// the tape then records anew. Throws ShapeError when loss has not one element, Error when an
  /// earlier call has freed what led to it.
  template <class T, std::size_t Rank>
  Gradients gradients(const Tensor<T, Rank>& loss) {
    if (loss.size() != 1)
      detail::fail<ShapeError>({"gradients: the loss is ", loss.shape(),
                                ", expected one element; give the output's gradient for more"});
    return gradients(loss, Tensor<T, Rank>(loss.shape(), T{1}));
  }

  /// Gradients of sum(output * output_gradient).
  /// Throws ShapeError when the two differ in extents, Error as above.
  template <class T, std::size_t Rank>
  Gradients gradients(const Tensor<T, Rank>& output, const Tensor<T, Rank>& output_gradient) {
    if (output.shape() != output_gradient.shape())
      detail::fail<ShapeError>({"gradients: output_gradient is ", output_gradient.shape(),
                                ", expected ", output.shape(), " as the output"});
    const std::uint64_t id = output.var().id;
    if ((id >> 32) == serial_ && (id & 0xffffffffu) <= freed_)
      throw Error(
          "gradients: what led to this output was freed by an earlier call; record it again");
    Gradients g;
    run(g, [&] {
      if (g.wants(output.var())) g.add(output.var(), output_gradient);
    });
    return g;
  }

  /// For `recompute`: the same within another tape's backward pass. `seed(g)` adds the outputs'
  /// gradients; leaves' gradients are summed on in `into`, in the order in which it would have
  /// summed them itself.
  template <class Seed>
  void gradients_into(Gradients& into, Seed&& seed) {
    Gradients g;
    g.leaves_ = std::move(into.leaves_);
    run(g, [&] { seed(g); });
    into.leaves_ = std::move(g.leaves_);
  }

  /// For operations: makes `y` a value of this tape and returns its name.
  template <class T, std::size_t Rank>
  Var<T, Rank> track(Tensor<T, Rank>& y) {
    y.set_var((serial_ << 32) | ++last_);
    return y.var();
  }

  /// For operations: how the gradients of tracked outputs become those of the inputs. Called once,
  /// after all operations recorded later. It captures `Var`s of what it needs only the name of and
  /// tensors of what it needs the elements of; an output that got no gradient gives an undefined
  /// tensor from `take`.
  template <std::invocable<Gradients&> Backward>
  void push(Backward&& backward) {
    using Kept = std::remove_cvref_t<Backward>;
    if (mode_ == Mode::kRecord)
      nodes_.push_back(std::make_unique<NodeOf<Kept>>(std::forward<Backward>(backward)));
  }

  /// True when `x` is a value of this tape or a leaf that asks for a gradient.
  template <class T, std::size_t Rank>
  bool tracks(const Tensor<T, Rank>& x) const noexcept {
    return tracks(x.var());
  }
  template <class T, std::size_t Rank>
  bool tracks(const Var<T, Rank>& x) const noexcept {
    return (x.id >> 63) != 0 || (x.id >> 32) == serial_;
  }

 private:
  // Not std::function: what is recorded is moved, and to copy it would be code for each operation.
  struct Node {
    virtual ~Node() = default;
    virtual void backward(Gradients& g) = 0;
  };
  template <class F>
  struct NodeOf final : Node {
    template <class G>
    explicit NodeOf(G&& g) : f(std::forward<G>(g)) {}
    void backward(Gradients& g) override { f(g); }
    F f;
  };

  /// Backward through all that was recorded, from what `seed` adds to `g`.
  template <class Seed>
  void run(Gradients& g, Seed&& seed) {
    freed_ = last_;
    g.serial_ = serial_;
    g.values_.resize(static_cast<std::size_t>(last_) + 1);
    seed();
    Tape* const recording = std::exchange(detail::active_tape, nullptr);
    const struct Restore {
      Tape* tape;
      ~Restore() { detail::active_tape = tape; }
    } restore{recording};
    while (!nodes_.empty()) {
      const std::unique_ptr<Node> node = std::move(nodes_.back());
      nodes_.pop_back();
      node->backward(g);
    }
  }

  std::uint64_t serial_;
  std::uint64_t last_ = 0;
  std::uint64_t freed_ = 0;  // values up to this one were recorded before the last `gradients`
  Tape* outer_;
  Mode mode_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

/// For operations: `x` when its elements will be needed backward, else a tensor without elements,
/// so that the tape does not keep alive what nobody reads.
template <class T, std::size_t Rank>
Tensor<T, Rank> kept_if(bool needed, const Tensor<T, Rank>& x) {
  return needed ? x : Tensor<T, Rank>{};
}

/// For operations: the tape to record on, or nullptr when no input (a tensor or its Var) needs a
/// gradient.
template <class... Tensors>
Tape* recording(const Tensors&... inputs) noexcept {
  Tape* const tape = Tape::active();
  if (tape == nullptr || !(... || tape->tracks(inputs))) return nullptr;
  return tape;
}

}  // namespace sequin::inline SEQUIN_ABI
