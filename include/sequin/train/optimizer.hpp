/// Adam, AdamW and SGD with PyTorch's semantics.
#pragma once

#include "sequin/autograd/tape.hpp"
#include "sequin/core/parallel.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/train/optimizer_step.hpp"

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// What the optimisers share: the parameters they move, the rate and the number of steps of each.
///
/// Takes those of the list that are trainable and ask for a gradient; a tensor listed twice counts
/// once. Those that another process has (Parameter::rank) are in it too, without elements: only
/// their steps are counted, where a gradient without elements stands for theirs. The elements are
/// shared with the model and written through, so constants derived from them (packed weights) are
/// no longer used after a step. State lives on the heap, whatever arena is active.
template <Scalar T>
class Optimizer {
 public:
  /// The parameters that steps move, in the order of the model's `visit`.
  const std::vector<Parameter<T>>& parameters() const noexcept { return parameters_; }
  double learning_rate() const noexcept { return rate_; }
  /// Throws ConfigError unless the rate is finite and not negative.
  void set_learning_rate(double rate) {
    if (!(rate >= 0) || !std::isfinite(rate))
      throw ConfigError(std::string(name_) + ": learning rate is " + std::to_string(rate) +
                        ", expected a finite number >= 0");
    rate_ = rate;
  }
  /// Layer-wise rates: parameter `i` moves at learning_rate() * factors[i]. Throws ShapeError when
  /// their number is not that of parameters(), ConfigError when one is negative or not finite.
  void set_rate_factors(std::vector<double> factors) {
    if (factors.size() != parameters_.size())
      throw ShapeError(std::string(name_) + ": " + std::to_string(factors.size()) +
                       " rate factors, expected " + std::to_string(parameters_.size()) +
                       " (one for each of parameters())");
    for (const double f : factors)
      check(f >= 0 && std::isfinite(f), "rate factor", f, "a finite number >= 0");
    factors_ = std::move(factors);
  }
  /// The rate at which parameter `i` moves.
  double rate_of(std::size_t i) const noexcept { return rate_ * factors_[i]; }
  /// Steps taken by parameter `i`: those in which it had a gradient.
  std::int64_t steps(std::size_t i) const noexcept { return steps_[i]; }

 protected:
  Optimizer(const char* name, const ParameterList<T>& list, double rate) : name_(name) {
    set_learning_rate(rate);
    for (const auto& p : list.items) {
      if (!p.trainable || (p.here() && !p.values.requires_grad())) continue;
      bool seen = false;
      for (const auto& q : parameters_)
        seen = seen || (p.here() && q.values.shares_storage_with(p.values));
      if (!seen) parameters_.push_back(p);
    }
    if (parameters_.empty())
      throw ConfigError(std::string(name) + ": none of the " + std::to_string(list.items.size()) +
                        " parameters asks for a gradient, expected at least one (call "
                        "set_requires_grad(model) before parameters(model))");
    steps_.assign(parameters_.size(), 0);
    factors_.assign(parameters_.size(), 1.0);
  }

  /// One zeroed tensor for each parameter.
  std::vector<Tensor<T, 1>> make_state() const {
    const ArenaScope heap(nullptr);
    std::vector<Tensor<T, 1>> state;
    for (const auto& p : parameters_) state.emplace_back(Shape<1>{p.values.size()});
    return state;
  }

  /// Calls `update(i, gradient, n)` for the parameters that have a gradient, their count returned.
  template <class Update>
  index_t for_gradients(const Gradients& gradients, Update&& update) {
    index_t moved = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (!gradients.has(parameters_[i].values)) continue;
      update(i, std::as_const(gradients).of(parameters_[i].values));
      ++moved;
    }
    return moved;
  }
  template <class Update>
  index_t for_gradients(std::span<const Tensor<T, 1>> gradients, Update&& update) {
    if (gradients.size() != parameters_.size())
      throw ShapeError(std::string(name_) + ": " + std::to_string(gradients.size()) +
                       " gradients, expected " + std::to_string(parameters_.size()) +
                       " (one for each of parameters())");
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (gradients[i].defined() && gradients[i].size() != parameters_[i].values.size())
        throw ShapeError(std::string(name_) + ": gradient of " + parameters_[i].name + " is " +
                         to_string(gradients[i].shape()) + ", expected " +
                         to_string(parameters_[i].values.shape()));
    index_t moved = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (!gradients[i].defined()) continue;
      update(i, gradients[i]);
      ++moved;
    }
    return moved;
  }

  template <class V>
  void visit_tensors(V& v, const std::string& prefix, std::vector<Tensor<T, 1>>& state) {
    for (std::size_t i = 0; i < state.size(); ++i) v.tensor_of(parameters_[i], prefix, state[i]);
  }

  void check(bool good, const std::string& what, double found, const char* expected) const {
    if (!good)
      throw ConfigError(std::string(name_) + ": " + what + " is " + std::to_string(found) +
                        ", expected " + expected);
  }

  // Elements a thread takes at least: below this starting it costs more than it saves.
  static constexpr index_t kGrain = 16384;

  const char* name_;
  std::vector<Parameter<T>> parameters_;
  std::vector<std::int64_t> steps_;
  std::vector<double> factors_;
  double rate_ = 0;
};

/// Options of Adam and AdamW; the defaults are torch.optim.Adam's.
struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool amsgrad = false;
  /// AdamW: decay multiplies the parameters instead of adding to the gradients.
  bool decoupled = false;
};

/// Adam (Kingma and Ba, 2015, algorithm 1) with torch.optim.Adam's meaning of every option, its
/// order of operations (single-tensor form) and its roundings:
///
///     g += weight_decay p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///     p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
///
/// With `decoupled` it is torch.optim.AdamW (Loshchilov and Hutter, 2019): p *= 1 - lr weight_decay
/// in place of the first line. Differs knowingly: state is there from the start (zeros) and not
/// from the first step of a parameter; results are the same.
template <Scalar T>
class Adam : public Optimizer<T> {
 public:
  using Options = AdamOptions;

  /// Throws ConfigError: an option out of its range, or no parameter asks for a gradient.
  explicit Adam(const ParameterList<T>& list, const AdamOptions& options = {})
      : Optimizer<T>(options.decoupled ? "AdamW" : "Adam", list, options.learning_rate),
        options_(options) {
    this->check(options.beta1 >= 0 && options.beta1 < 1, "beta1", options.beta1, "[0, 1)");
    this->check(options.beta2 >= 0 && options.beta2 < 1, "beta2", options.beta2, "[0, 1)");
    this->check(options.eps >= 0, "eps", options.eps, ">= 0");
    this->check(options.weight_decay >= 0, "weight_decay", options.weight_decay, ">= 0");
    exp_avg_ = this->make_state();
    exp_avg_sq_ = this->make_state();
    if (options.amsgrad) max_exp_avg_sq_ = this->make_state();
  }

  const AdamOptions& options() const noexcept { return options_; }

  /// Moves every parameter that has a gradient (the others and their state stay as they are, as
  /// with grad None) and returns how many had one. Allocates nothing.
  index_t step(const Gradients& gradients) {
    return this->for_gradients(gradients, [&](std::size_t i, const auto& g) { move(i, g); });
  }
  /// The same with one gradient for each of `parameters()`, undefined ones skipped.
  /// Throws ShapeError when their number or extents differ.
  index_t step(std::span<const Tensor<T, 1>> gradients) {
    return this->for_gradients(gradients, [&](std::size_t i, const auto& g) { move(i, g); });
  }

  /// First and second moments of parameter `i`.
  const Tensor<T, 1>& exp_avg(std::size_t i) const { return exp_avg_.at(i); }
  const Tensor<T, 1>& exp_avg_sq(std::size_t i) const { return exp_avg_sq_.at(i); }

  /// Names the state for a checkpoint: "exp_avg.<parameter>", "exp_avg_sq.<parameter>", with
  /// amsgrad "max_exp_avg_sq.<parameter>", then "steps" and "learning_rate".
  template <class V>
  void visit_state(V& v) {
    this->visit_tensors(v, "exp_avg", exp_avg_);
    this->visit_tensors(v, "exp_avg_sq", exp_avg_sq_);
    this->visit_tensors(v, "max_exp_avg_sq", max_exp_avg_sq_);
    v.counters("steps", std::span<std::int64_t>(this->steps_));
    v.real("learning_rate", this->rate_);
  }

 private:
  void move(std::size_t i, const Tensor<T, 1>& gradient) {
    const auto step = static_cast<double>(++this->steps_[i]);
    const double correction1 = 1 - std::pow(options_.beta1, step);
    const double correction2 = 1 - std::pow(options_.beta2, step);
    detail::AdamCoefficients<T> c;
    c.beta1 = static_cast<T>(options_.beta1);
    c.grad_share1 = static_cast<T>(1 - options_.beta1);
    c.beta2 = static_cast<T>(options_.beta2);
    c.grad_share2 = static_cast<T>(1 - options_.beta2);
    if (options_.decoupled)
      c.keep = static_cast<T>(1 - this->rate_of(i) * options_.weight_decay);
    else
      c.l2 = static_cast<T>(options_.weight_decay);
    c.root_correction2 = static_cast<T>(std::sqrt(correction2));
    c.eps = static_cast<T>(options_.eps);
    c.negative_step_size = static_cast<T>(-(this->rate_of(i) / correction1));
    T* const p = this->parameters_[i].values.data();
    T* const m = exp_avg_[i].data();
    T* const v = exp_avg_sq_[i].data();
    T* const top = options_.amsgrad ? max_exp_avg_sq_[i].data() : nullptr;
    const T* const g = gradient.data();
    parallel_for(gradient.size(), this->kGrain, [&](index_t begin, index_t end) {
      detail::adam_step(end - begin, p + begin, m + begin, v + begin,
                        top == nullptr ? nullptr : top + begin, g + begin, c);
    });
  }

  AdamOptions options_;
  std::vector<Tensor<T, 1>> exp_avg_, exp_avg_sq_, max_exp_avg_sq_;
};

/// Adam with decoupled weight decay; torch.optim.AdamW's default decay is 0.01.
template <Scalar T>
class AdamW : public Adam<T> {
 public:
  /// `options.decoupled` is taken as true.
  explicit AdamW(const ParameterList<T>& list, AdamOptions options = {.weight_decay = 0.01})
      : Adam<T>(list, (options.decoupled = true, options)) {}
};

/// Options of SGD, as torch.optim.SGD's.
struct SgdOptions {
  double learning_rate = 1e-2;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Stochastic gradient descent with momentum, as torch.optim.SGD: b = momentum b + (1 - dampening)
/// g (b = g in the first step), p -= lr b; with nesterov p -= lr (g + momentum b).
template <Scalar T>
class Sgd : public Optimizer<T> {
 public:
  using Options = SgdOptions;

  /// Throws ConfigError: an option out of its range, or no parameter asks for a gradient.
  explicit Sgd(const ParameterList<T>& list, const SgdOptions& options = {})
      : Optimizer<T>("SGD", list, options.learning_rate), options_(options) {
    this->check(options.momentum >= 0, "momentum", options.momentum, ">= 0");
    this->check(options.weight_decay >= 0, "weight_decay", options.weight_decay, ">= 0");
    if (options.nesterov && (options.momentum <= 0 || options.dampening != 0))
      throw ConfigError("SGD: nesterov needs momentum > 0 and dampening 0");
    if (options.momentum != 0) momentum_ = this->make_state();
  }

  const SgdOptions& options() const noexcept { return options_; }

  /// See Adam::step.
  index_t step(const Gradients& gradients) {
    return this->for_gradients(gradients, [&](std::size_t i, const auto& g) { move(i, g); });
  }
  index_t step(std::span<const Tensor<T, 1>> gradients) {
    return this->for_gradients(gradients, [&](std::size_t i, const auto& g) { move(i, g); });
  }

  /// Names the state for a checkpoint: "momentum_buffer.<parameter>", "steps", "learning_rate".
  template <class V>
  void visit_state(V& v) {
    this->visit_tensors(v, "momentum_buffer", momentum_);
    v.counters("steps", std::span<std::int64_t>(this->steps_));
    v.real("learning_rate", this->rate_);
  }

 private:
  void move(std::size_t i, const Tensor<T, 1>& gradient) {
    const bool first = this->steps_[i]++ == 0;
    detail::SgdCoefficients<T> c;
    c.negative_rate = static_cast<T>(-this->rate_of(i));
    c.l2 = static_cast<T>(options_.weight_decay);
    c.momentum = static_cast<T>(options_.momentum);
    c.grad_share = first ? T{1} : static_cast<T>(1 - options_.dampening);
    c.nesterov = options_.nesterov;
    T* const p = this->parameters_[i].values.data();
    T* const b = options_.momentum != 0 ? momentum_[i].data() : nullptr;
    const T* const g = gradient.data();
    parallel_for(gradient.size(), this->kGrain, [&](index_t begin, index_t end) {
      detail::sgd_step(end - begin, p + begin, b == nullptr ? nullptr : b + begin, g + begin, c);
    });
  }

  SgdOptions options_;
  std::vector<Tensor<T, 1>> momentum_;
};

}  // namespace sequin::inline SEQUIN_ABI
