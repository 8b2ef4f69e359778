/// Names everything that a checkpoint holds, once for saving and loading.
#pragma once

#include "sequin/core/parameter.hpp"
#include "sequin/core/random.hpp"

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// A list of named values that live elsewhere and outlive it. Things with state have one member
///
///     void visit_state(V& v) { v.real("best", best_); v.tensor("m", shape, m_); }
///
/// and are entered by `child`. Saving reads through the list, loading writes through it.
template <Scalar T>
class StateList {
 public:
  struct Entry {
    std::string name;
    std::vector<index_t> shape;
    /// Elements of tensors, whole numbers, real numbers, a list of any length, a random sequence.
    std::variant<Tensor<T, 1>, std::span<std::int64_t>, std::span<double>, std::vector<double>*,
                 Generator*>
        value;
    /// Of whole numbers: a checkpoint that says other ones is refused.
    std::int64_t least = std::numeric_limits<std::int64_t>::min();
    std::int64_t most = std::numeric_limits<std::int64_t>::max();
    /// Of several processes the one that alone has the elements, if not -1 (see Parameter).
    index_t rank = -1;
  };

  const std::vector<Entry>& entries() const noexcept { return entries_; }

  void tensor(std::string_view name, const std::vector<index_t>& shape,
              const Tensor<T, 1>& values) {
    entries_.push_back({prefix_ + std::string(name), shape, values});
  }
  /// "`name`.<the parameter's>": elements that go with those of `p` and lie where they do.
  void tensor_of(const Parameter<T>& p, std::string_view name, const Tensor<T, 1>& values) {
    tensor(std::string(name) + "." + p.name, p.shape, values);
    entries_.back().rank = p.rank;
  }
  void integers(std::string_view name, std::span<std::int64_t> values) {
    entries_.push_back(
        {prefix_ + std::string(name), {static_cast<index_t>(values.size())}, values});
  }
  void integer(std::string_view name, std::int64_t& value) {
    integers(name, std::span<std::int64_t>(&value, 1));
  }
  /// Numbers that are counted up from `least`.
  void counters(std::string_view name, std::span<std::int64_t> values, std::int64_t least = 0) {
    integers(name, values);
    entries_.back().least = least;
    entries_.back().most = std::int64_t{1} << 53;
  }
  void counter(std::string_view name, std::int64_t& value, std::int64_t least = 0) {
    counters(name, std::span<std::int64_t>(&value, 1), least);
  }
  void real(std::string_view name, double& value) {
    entries_.push_back({prefix_ + std::string(name), {1}, std::span<double>(&value, 1)});
  }
  /// As long as it is when saved; loading sets the length.
  void reals(std::string_view name, std::vector<double>& values) {
    entries_.push_back(
        {prefix_ + std::string(name), {static_cast<index_t>(values.size())}, &values});
  }
  void generator(std::string_view name, Generator& generator) {
    entries_.push_back({prefix_ + std::string(name), {2}, &generator});
  }
  /// All parameters and buffers of a model.
  void parameters(std::string_view name, const ParameterList<T>& list) {
    for (const auto& p : list.items) tensor_of(p, name, p.values);
  }
  template <class Thing>
  void child(std::string_view name, Thing& thing) {
    const std::size_t length = prefix_.size();
    prefix_.append(name).append(".");
    thing.visit_state(*this);
    prefix_.resize(length);
  }

 private:
  std::string prefix_;
  std::vector<Entry> entries_;
};

}  // namespace sequin::inline SEQUIN_ABI
