/// What operations record for reverse-mode differentiation. Callers start one with
/// autograd/tape.hpp.
#pragma once

#include "sequin/core/no_grad.hpp"
#include "sequin/core/tensor.hpp"

#include <concepts>
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

[[noreturn]] SEQUIN_COLD inline void fail_without_gradient() {
  throw Error(
      "tape: an operation comes from a file compiled without gradients; include "
      "\"sequin/autograd/tape.hpp\" in each file whose operations are recorded");
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
  friend class Recorder;

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

// Where the linker can leave a name open, the gradient of an operation is compiled only in files
// that include autograd/tape.hpp: what never starts a Tape need not compile half of each operation.
#if !defined(SEQUIN_GRADIENTS_ON_DEMAND)
#if defined(__ELF__) && defined(__GNUC__)
#define SEQUIN_GRADIENTS_ON_DEMAND 1
#else
#define SEQUIN_GRADIENTS_ON_DEMAND 0
#endif
#endif

/// What operations see of a Tape: they `track` their outputs and `push` their backward function.
/// Not copied, not moved, used by its thread.
class Recorder {
 public:
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// What records in this thread now, or nullptr.
  static Recorder* active() noexcept { return detail::active_recorder; }

  /// For operations: makes `y` a value of this tape and returns its name.
  template <class T, std::size_t Rank>
  Var<T, Rank> track(Tensor<T, Rank>& y) {
    y.set_var(next_id());
    return y.var();
  }

  /// For operations: how the gradients of tracked outputs become those of the inputs. Called once,
  /// after all operations recorded later. It captures `Var`s of what it needs only the name of and
  /// tensors of what it needs the elements of; an output that got no gradient gives an undefined
  /// tensor from `take`. As `(auto& g) -> void` its body is read only where it is compiled. Throws
  /// Error when no file that pushes it includes autograd/tape.hpp, std::bad_alloc.
  template <std::invocable<Gradients&> Backward>
  void push(Backward&& backward) {
    if (mode_ != Mode::kRecord) return;
    using Kept = NodeOf<std::remove_cvref_t<Backward>>;
    // Opaque: compilers take it that a template's instance exists.
    const Run how = simd::opaque(Run{&Kept::run});
    if (how == nullptr) detail::fail_without_gradient();
    keep(new Kept(how, std::forward<Backward>(backward)));
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

  /// For `recompute`: backward through this within another's backward pass. `seed(g)` adds the
  /// outputs' gradients; leaves' gradients are summed on in `into`, in the order in which it would
  /// have summed them itself.
  template <class Seed>
  void gradients_into(Gradients& into, Seed&& seed) {
    Gradients g;
    g.leaves_ = std::move(into.leaves_);
    run(g, [&] { seed(g); });
    into.leaves_ = std::move(g.leaves_);
  }

 protected:
  /// kFollow: knows which values depend on what asks for a gradient, but keeps nothing to compute
  /// it.
  enum class Mode { kRecord, kFollow };

  explicit Recorder(Mode mode)
      : serial_(detail::next_tape_serial()), outer_(detail::active_recorder), mode_(mode) {
    detail::active_recorder = this;
  }
  ~Recorder() { detail::active_recorder = outer_; }

  /// Backward through all that was recorded, from what `seed` adds to `g`.
  template <class Seed>
  void run(Gradients& g, Seed&& seed) {
    freed_ = last_;
    g.serial_ = serial_;
    g.values_.resize(static_cast<std::size_t>(last_) + 1);
    seed();
    const NoGrad no_grad;
    while (!nodes_.empty()) {
      const std::unique_ptr<Node, Free> node = std::move(nodes_.back());
      nodes_.pop_back();
      node->run(node.get(), &g);
    }
  }

  /// True when an earlier `run` has freed what led to `id`.
  bool has_freed(std::uint64_t id) const noexcept {
    return (id >> 32) == serial_ && (id & 0xffffffffu) <= freed_;
  }

 private:
  // No virtual functions and not std::function: what is not called needs no code, and what is
  // recorded is moved, never copied.
  struct Node;
  using Run = void (*)(Node* node, Gradients* g);  // backward, or with nullptr the node's end
  struct Node {
    Run run;
  };
  struct Free {
    void operator()(Node* node) const { node->run(node, nullptr); }
  };
  template <class F>
  struct NodeOf final : Node {
    template <class G>
    NodeOf(Run how, G&& g) : Node{how}, f(std::forward<G>(g)) {}
    static void run_here(Node* node, Gradients* g) {
      NodeOf* const self = static_cast<NodeOf*>(node);
      g != nullptr ? self->f(*g) : delete self;
    }
#if SEQUIN_GRADIENTS_ON_DEMAND
    [[gnu::weak]] static void run(Node* node, Gradients* g);  // run_here, by autograd/tape.hpp
#else
    static void run(Node* node, Gradients* g) { run_here(node, g); }
#endif
    F f;
  };

  // Cold, and with them what an operation does to record: short code, out of the way of inference.
  SEQUIN_COLD std::uint64_t next_id() noexcept { return (serial_ << 32) | ++last_; }
  SEQUIN_COLD void keep(Node* node) {
    std::unique_ptr<Node, Free> owned(node);
    nodes_.push_back(std::move(owned));
  }

  std::uint64_t serial_;
  std::uint64_t last_ = 0;
  std::uint64_t freed_ = 0;  // values up to this one were recorded before the last `run`
  Recorder* outer_;
  Mode mode_;
  std::vector<std::unique_ptr<Node, Free>> nodes_;
};

/// For operations: `x` when its elements will be needed backward, else a tensor without elements,
/// so that the tape does not keep alive what nobody reads.
template <class T, std::size_t Rank>
Tensor<T, Rank> kept_if(bool needed, const Tensor<T, Rank>& x) {
  return needed ? x : Tensor<T, Rank>{};
}

/// For operations: where to record, or nullptr when no input (a tensor or its Var) needs a
/// gradient.
template <class... Tensors>
Recorder* recording(const Tensors&... inputs) noexcept {
  Recorder* const tape = Recorder::active();
  if (tape == nullptr || !(... || tape->tracks(inputs))) return nullptr;
  return tape;
}

}  // namespace sequin::inline SEQUIN_ABI
