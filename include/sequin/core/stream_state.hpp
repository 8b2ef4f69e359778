/// What a streaming block or model remembers of the past: a value that lists its parts once.
#pragma once

#include "sequin/core/tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// A tensor of a state: copying it copies its elements, to the heap, whatever arena is active.
template <class T, std::size_t Rank>
class StateTensor : public Tensor<T, Rank> {
 public:
  StateTensor() = default;
  /// Takes the handle: the elements are shared, and so is the value's name for autograd.
  StateTensor(Tensor<T, Rank> t) noexcept : Tensor<T, Rank>(std::move(t)) {}
  StateTensor(const StateTensor& other) : Tensor<T, Rank>(copy_of(other)) {}
  StateTensor(StateTensor&&) noexcept = default;
  StateTensor& operator=(StateTensor other) noexcept {
    Tensor<T, Rank>::operator=(std::move(other));
    return *this;
  }

 private:
  static Tensor<T, Rank> copy_of(const Tensor<T, Rank>& t) {
    const ArenaScope heap(nullptr);
    return t.clone();
  }
};

/// A part that grows with every step: the first `length` entries along `axis` of `tensor`.
template <class Elements, class Length>
struct StateSteps {
  Elements& tensor;
  Length& length;
  std::size_t axis;
};
template <class Elements, class Length>
StateSteps(Elements&, Length&, std::size_t) -> StateSteps<Elements, Length>;

/// A place in a part of the state: at least 0 and less than `end`, the steps that fit there.
template <class Index>
struct StatePosition {
  Index& at;
  index_t end;

  bool possible() const noexcept { return at >= 0 && at < end; }
  std::string expected() const { return "a position from 0 to " + std::to_string(end - 1); }
};
template <class Index>
StatePosition(Index&, index_t) -> StatePosition<Index>;

namespace detail {

/// How the steps of a tensor lie in memory: `outer` times `capacity` steps of `inner` elements.
struct StepLayout {
  index_t outer = 1, capacity = 0, inner = 1;

  template <std::size_t Rank>
  StepLayout(const Shape<Rank>& shape, std::size_t axis) noexcept : capacity(shape[axis]) {
    for (std::size_t i = 0; i < Rank; ++i)
      if (i != axis) (i < axis ? outer : inner) *= shape[i];
  }
};

/// Gives `tensor` room for `steps` along `axis`; where it has to grow, its elements are lost.
template <class T, std::size_t Rank>
void make_room(Tensor<T, Rank>& tensor, std::size_t axis, index_t steps) {
  if (steps <= tensor.extent(axis)) return;
  const ArenaScope heap(nullptr);
  Shape<Rank> shape = tensor.shape();
  shape[axis] = steps;
  tensor = Tensor<T, Rank>::empty(shape);
}

struct ResetState {
  template <class T, std::size_t Rank>
  void tensor(std::string_view, Tensor<T, Rank>& t) noexcept {
    t.fill(T{0});
  }
  template <class Tensors>
  void tensors(std::string_view name, Tensors& list) noexcept {
    for (auto& t : list) tensor(name, t);
  }
  template <class Elements>
  void steps(std::string_view, const StateSteps<Elements, index_t>& s) noexcept {
    s.length = 0;
  }
  void step_mask(std::string_view, Tensor<bool, 2>& mask) noexcept { mask = {}; }
  void position(std::string_view, const StatePosition<index_t>& p) noexcept { p.at = 0; }
  template <class State>
  void child(std::string_view, State& s) noexcept {
    State::visit(*this, s);
  }
  template <class State>
  void children(std::string_view, std::vector<State>& states) noexcept {
    for (State& s : states) State::visit(*this, s);
  }
};

/// Looks for the first part in which two states differ in extents. Nothing is allocated until one
/// is found.
struct CompareStates {
  bool same = true;
  std::string difference;

  void found(std::string_view name, const std::string& expected, const std::string& is) {
    same = false;
    difference = std::string(name) + " is " + is + ", expected " + expected;
  }
  void compare_count(std::string_view name, std::size_t to, std::size_t from) {
    if (same && to != from)
      found("the number of " + std::string(name), std::to_string(to), std::to_string(from));
  }
  template <class T, std::size_t Rank>
  void tensor(std::string_view name, const Tensor<T, Rank>& to, const Tensor<T, Rank>& from) {
    if (same && to.shape() != from.shape())
      found(name, to_string(to.shape()), to_string(from.shape()));
  }
  template <class Tensors>
  void tensors(std::string_view name, const Tensors& to, const Tensors& from) {
    compare_count(name, to.size(), from.size());
    for (std::size_t i = 0; same && i < to.size(); ++i) {
      tensor(name, to[i], from[i]);
      if (!same) difference.insert(name.size(), "." + std::to_string(i));
    }
  }
  template <class To, class From>
  void steps(std::string_view name, const To& to, const From& from) {
    auto expected = to.tensor.shape(), is = from.tensor.shape();
    expected[to.axis] = is[to.axis] = from.length;
    if (same && expected != is) found(name, to_string(expected), to_string(is));
  }
  void step_mask(std::string_view, const Tensor<bool, 2>&, const Tensor<bool, 2>&) noexcept {}
  template <class To, class From>
  void position(std::string_view name, const To&, const From& from) {
    if (same && !from.possible()) found(name, from.expected(), std::to_string(from.at));
  }
  template <class State>
  void child(std::string_view name, const State& to, const State& from) {
    if (!same) return;
    State::visit(*this, to, from);
    if (!same) difference = std::string(name) + "." + difference;
  }
  template <class State>
  void children(std::string_view name, const std::vector<State>& to,
                const std::vector<State>& from) {
    compare_count(name, to.size(), from.size());
    for (std::size_t i = 0; same && i < to.size(); ++i) {
      State::visit(*this, to[i], from[i]);
      if (!same) difference = std::string(name) + "." + std::to_string(i) + "." + difference;
    }
  }
};

struct CopyState {
  template <class T, std::size_t Rank>
  void tensor(std::string_view, Tensor<T, Rank>& to, const Tensor<T, Rank>& from) {
    to.copy_from(from.span());
  }
  template <class Tensors>
  void tensors(std::string_view name, Tensors& to, const Tensors& from) {
    for (std::size_t i = 0; i < to.size(); ++i) tensor(name, to[i], from[i]);
  }
  template <class To, class From>
  void steps(std::string_view, const To& to, const From& from) {
    make_room(to.tensor, to.axis, from.length);
    to.length = from.length;
    const StepLayout t(to.tensor.shape(), to.axis), f(from.tensor.shape(), from.axis);
    auto* const begin = to.tensor.data();
    for (index_t o = 0; o < t.outer; ++o)
      std::copy_n(from.tensor.data() + o * f.capacity * f.inner, from.length * f.inner,
                  begin + o * t.capacity * t.inner);
  }
  void step_mask(std::string_view, Tensor<bool, 2>& to, const Tensor<bool, 2>& from) {
    const ArenaScope heap(nullptr);
    to = from.clone();
  }
  template <class To, class From>
  void position(std::string_view, const To& to, const From& from) noexcept {
    to.at = from.at;
  }
  template <class State>
  void child(std::string_view, State& to, const State& from) {
    State::visit(*this, to, from);
  }
  template <class State>
  void children(std::string_view, std::vector<State>& to, const std::vector<State>& from) {
    for (std::size_t i = 0; i < to.size(); ++i) State::visit(*this, to[i], from[i]);
  }
};

}  // namespace detail

/// Base of every state, for `Derived` that lists its parts once:
///
///     struct MyState : StreamState<MyState> {
///       StateTensor<float, 2> h;
///       std::vector<StateTensor<float, 2>> cells;
///       GruState<float> gru;
///       std::vector<MambaMixerState<float>> layers;
///
///       template <class V, class... S>
///       static void visit(V& v, S&... s) {
///         v.tensor("h", s.h...);              // zeros before the first step
///         v.tensors("cells", s.cells...);     // a vector of them: "cells.0", ...
///         v.child("gru", s.gru...);           // "gru.h.0", ...
///         v.children("layers", s.layers...);  // "layers.0.conv_state", ...
///       }
///     };
///
/// Besides these there are `v.position("at", StatePosition{s.at, end}...)` for an index_t that is
/// at least 0 and less than `end`, `v.steps("keys", StateSteps{s.keys, s.length, axis}...)` for
/// what grows, and `v.step_mask("mask", s.mask...)` for a Tensor<bool, 2> (B, at least the length
/// of the steps before it) or undefined.
///
/// `s` is one state, or two whose parts are visited side by side. With StateTensor as members a
/// copy is independent without a line more. Files of states: io/state_file.hpp.
template <class Derived>
class StreamState {
 public:
  /// Back to before the first step; memory stays. Cost of writing the state once. Real-time safe.
  void reset() noexcept {
    detail::ResetState v;
    Derived::visit(v, self());
  }

  /// Copies `other` into this state's own memory. Throws ShapeError, naming the part, when it is
  /// not of the same model and batch. Real-time safe when it is and what grows fits.
  void assign(const Derived& other) {
    detail::CompareStates compare;
    Derived::visit(compare, std::as_const(self()), other);
    if (!compare.same)
      throw ShapeError("the state is of another model or batch: " + compare.difference);
    detail::CopyState copy;
    Derived::visit(copy, self(), other);
  }

 private:
  Derived& self() noexcept { return static_cast<Derived&>(*this); }
};

}  // namespace sequin::inline SEQUIN_ABI
