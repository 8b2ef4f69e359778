/// Streaming states in files and in memory.
#pragma once

#include "sequin/core/stream_state.hpp"
#include "sequin/io/safetensors.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// Puts the names of the parts together; what differs from walk to walk is `Walk`.
template <class Walk>
class NamedStateWalk {
 public:
  template <class State>
  void child(std::string_view name, State& state) {
    const std::size_t length = prefix_.size();
    prefix_.append(name).append(".");
    std::remove_const_t<State>::visit(static_cast<Walk&>(*this), state);
    prefix_.resize(length);
  }
  template <class States>
  void children(std::string_view name, States& states) {
    for (std::size_t i = 0; i < states.size(); ++i)
      child(std::string(name) + "." + std::to_string(i), states[i]);
  }
  template <class Tensors>
  void tensors(std::string_view name, Tensors& list) {
    for (std::size_t i = 0; i < list.size(); ++i)
      static_cast<Walk&>(*this).tensor(std::string(name) + "." + std::to_string(i), list[i]);
  }

 protected:
  std::string named(std::string_view name) const { return prefix_ + std::string(name); }

 private:
  std::string prefix_;
};

/// Lists the parts as entries of a file.
class SaveState : public NamedStateWalk<SaveState> {
 public:
  template <class T, std::size_t Rank>
  void tensor(std::string_view name, const Tensor<T, Rank>& t) {
    add(name, dtype_of<T>, t.shape(), std::as_bytes(t.span()));
  }
  template <class Elements>
  void steps(std::string_view name, const StateSteps<const Elements, const index_t>& s) {
    const auto size = sizeof(typename Elements::value_type);
    const StepLayout from(s.tensor.shape(), s.axis);
    auto shape = s.tensor.shape();
    shape[s.axis] = length_ = s.length;
    const auto row = static_cast<std::size_t>(length_ * from.inner) * size;
    auto& bytes = copies_.emplace_back(static_cast<std::size_t>(from.outer) * row);
    for (index_t o = 0; row > 0 && o < from.outer; ++o)
      std::memcpy(bytes.data() + static_cast<std::size_t>(o) * row,
                  s.tensor.data() + o * from.capacity * from.inner, row);
    add(name, dtype_of<typename Elements::value_type>, shape, bytes);
  }
  void step_mask(std::string_view name, const Tensor<bool, 2>& mask) {
    if (!mask.defined()) return;
    auto& bytes = copies_.emplace_back();
    for (index_t b = 0; b < mask.extent(0); ++b)
      for (index_t t = 0; t < length_; ++t) bytes.push_back(std::byte{mask(b, t)});
    add(name, DType::BOOL, Shape<2>{mask.extent(0), length_}, bytes);
  }
  void position(std::string_view name, const StatePosition<const index_t>& p) {
    const std::int64_t whole = p.at;
    auto& bytes = copies_.emplace_back(sizeof whole);
    std::memcpy(bytes.data(), &whole, sizeof whole);
    add(name, DType::I64, Shape<1>{1}, bytes);
  }

  std::span<const TensorEntry> entries() const noexcept { return entries_; }

 private:
  template <std::size_t Rank>
  void add(std::string_view name, DType dtype, const Shape<Rank>& shape,
           std::span<const std::byte> bytes) {
    entries_.push_back({named(name), dtype, {shape.begin(), shape.end()}, bytes});
  }

  std::vector<TensorEntry> entries_;
  std::deque<std::vector<std::byte>> copies_;  // a growing deque moves no element
  index_t length_ = 0;                         // of the last steps
};

inline index_t file_position(const TensorEntry& e) {
  std::int64_t whole = 0;
  std::memcpy(&whole, e.bytes.data(), sizeof whole);
  return static_cast<index_t>(whole);
}

/// Compares a file with a state: finds all that differs, changes nothing.
class CheckState : public NamedStateWalk<CheckState> {
 public:
  explicit CheckState(const SafetensorsFile& file) : file_(file) {}

  template <class T, std::size_t Rank>
  void tensor(std::string_view name, const Tensor<T, Rank>& t) {
    expect(named(name), dtype_of<T>, t.shape());
  }
  template <class Elements>
  void steps(std::string_view name, const StateSteps<const Elements, const index_t>& s) {
    auto shape = s.tensor.shape();
    const TensorEntry* const found = file_.find(named(name));
    if (!length_ && found != nullptr && found->shape.size() == shape.size())
      length_ = static_cast<index_t>(found->shape[s.axis]);
    // All that grows has grown by the same steps.
    shape[s.axis] = length_.value_or(0);
    batch_ = shape[0];
    expect(named(name), dtype_of<typename Elements::value_type>, shape);
  }
  void step_mask(std::string_view name, const Tensor<bool, 2>&) {
    if (file_.find(named(name)) != nullptr)
      expect(named(name), DType::BOOL, Shape<2>{batch_, length_.value_or(0)});
  }
  void position(std::string_view name, const StatePosition<const index_t>& p) {
    if (!expect(named(name), DType::I64, Shape<1>{1})) return;
    const index_t at = file_position(*file_.find(named(name)));
    if (const StatePosition<const index_t> found{at, p.end}; !found.possible())
      add("'" + named(name) + "': expected " + found.expected() + ", found " + std::to_string(at));
  }

  /// Throws LoadError unless the file holds just what was visited.
  void finish() {
    for (const TensorEntry& e : file_.tensors())
      if (!known_.contains(e.name)) add("'" + printable(e.name) + "': expected none");
    if (count_ > 0)
      throw LoadError(file_.label() +
                      ": the state is of another model, batch or scalar type: " + findings_);
  }

 private:
  bool expect(std::string name, DType dtype, std::span<const index_t> shape) {
    const auto text = [](DType d, std::span<const index_t> s) {
      return std::string(dtype_name(d)) + " " + to_string(s);
    };
    const TensorEntry* const found = file_.find(name);
    const std::string expected = "'" + name + "': expected " + text(dtype, shape) + ", found ";
    const int before = count_;
    if (found == nullptr) {
      add(expected + "none");
    } else {
      const std::vector<index_t> is(found->shape.begin(), found->shape.end());
      if (found->dtype != dtype || !std::equal(is.begin(), is.end(), shape.begin(), shape.end()))
        add(expected + text(found->dtype, is));
    }
    known_.insert(std::move(name));
    return count_ == before;
  }
  void add(const std::string& finding) {
    constexpr int kShown = 6;
    if (++count_ <= kShown) findings_ += (findings_.empty() ? "" : "; ") + finding;
    if (count_ == kShown + 1) findings_ += "; and more";
  }

  const SafetensorsFile& file_;
  std::unordered_set<std::string> known_;
  std::optional<index_t> length_;
  index_t batch_ = 0;
  std::string findings_;
  int count_ = 0;
};

/// Copies a file that was checked into a state.
class LoadState : public NamedStateWalk<LoadState> {
 public:
  explicit LoadState(const SafetensorsFile& file) : file_(file) {}

  template <class T, std::size_t Rank>
  void tensor(std::string_view name, Tensor<T, Rank>& t) {
    const TensorEntry& e = entry(name);
    convert_elements<T>(e.dtype, e.bytes, t.span());
  }
  template <class Elements>
  void steps(std::string_view name, const StateSteps<Elements, index_t>& s) {
    using T = typename Elements::value_type;
    const TensorEntry& e = entry(name);
    const auto length = static_cast<index_t>(e.shape[s.axis]);
    make_room(s.tensor, s.axis, length);
    s.length = length;
    const StepLayout to(s.tensor.shape(), s.axis);
    const auto row = static_cast<std::size_t>(length * to.inner);
    T* const begin = s.tensor.data();
    for (index_t o = 0; o < to.outer; ++o)
      convert_elements<T>(
          e.dtype, e.bytes.subspan(static_cast<std::size_t>(o) * row * sizeof(T), row * sizeof(T)),
          std::span<T>(begin + o * to.capacity * to.inner, row));
  }
  void step_mask(std::string_view name, Tensor<bool, 2>& mask) {
    const TensorEntry* const e = file_.find(named(name));
    mask = {};
    if (e == nullptr) return;
    const ArenaScope heap(nullptr);
    mask = Tensor<bool, 2>(
        Shape<2>{static_cast<index_t>(e->shape[0]), static_cast<index_t>(e->shape[1])});
    std::transform(e->bytes.begin(), e->bytes.end(), mask.data(),
                   [](std::byte b) { return b != std::byte{0}; });
  }
  void position(std::string_view name, const StatePosition<index_t>& p) {
    p.at = file_position(entry(name));
  }

 private:
  const TensorEntry& entry(std::string_view name) const { return *file_.find(named(name)); }

  const SafetensorsFile& file_;
};

inline std::map<std::string, std::string> state_metadata(std::string_view of) {
  return {{"format", "sequin.state"}, {"version", "1"}, {"state_of", std::string(of)}};
}

template <class State>
void load_state(const SafetensorsFile& file, State& state, std::string_view of) {
  for (const auto& [key, expected] : state_metadata(of)) {
    const auto found = file.metadata().find(key);
    const std::string value = found == file.metadata().end() ? "" : found->second;
    if (value != expected)
      throw LoadError(file.label() + ": " + key + ": expected \"" + printable(expected) +
                      "\", found \"" + printable(value) + "\"");
  }
  CheckState check(file);
  State::visit(check, std::as_const(state));
  check.finish();
  LoadState load(file);
  State::visit(load, state);
}

}  // namespace detail

/// Writes a state (any StreamState), atomically, as a safetensors file: each part under its name,
/// growing parts as long as they are. `of` says what the state belongs to, such as
/// `weights_fingerprint(model)`; load_state asks for the same. Throws LoadError when it cannot be
/// written; an older file then stays. Not real-time safe: there, `assign` the state to another one
/// of the same shape and let another thread save that.
template <class State>
void save_state(const std::filesystem::path& path, const State& state, std::string_view of = {}) {
  detail::SaveState parts;
  State::visit(parts, state);
  save_safetensors(path, parts.entries(), detail::state_metadata(of));
}

/// The bytes of that file.
template <class State>
std::vector<std::byte> state_bytes(const State& state, std::string_view of = {}) {
  detail::SaveState parts;
  State::visit(parts, state);
  return safetensors_bytes(parts.entries(), detail::state_metadata(of));
}

/// Reads what save_state wrote into a state of the same model, batch and scalar type, made by
/// `initial_state`: what then follows is, bit for bit, what followed the state that was saved.
/// Throws LoadError, naming what was expected and what was found, for a damaged file and one of
/// something else; the state is then as it was.
template <class State>
void load_state(const std::filesystem::path& path, State& state, std::string_view of = {}) {
  detail::load_state(SafetensorsFile(path), state, of);
}

/// The same from memory.
template <class State>
void load_state(std::span<const std::byte> bytes, State& state, std::string_view of = {}) {
  detail::load_state(SafetensorsFile::from_memory(bytes, "state"), state, of);
}

}  // namespace sequin::inline SEQUIN_ABI
