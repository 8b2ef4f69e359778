/// What the blocks Gru and Lstm share: configuration, parameters under PyTorch's names, packing.
#pragma once

#include "sequin/blocks/forward_context.hpp"
#include "sequin/blocks/initialize.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/core/stream_state.hpp"
#include "sequin/core/stream_timing.hpp"
#include "sequin/ops/recurrent.hpp"
#include "sequin/ops/shape.hpp"

#include <cmath>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// Constructor arguments of torch.nn.GRU and torch.nn.LSTM under their names; batch_first is true.
struct RecurrentConfig {
  index_t input_size = 0;
  index_t hidden_size = 0;
  index_t num_layers = 1;
  bool bias = true;
  double dropout = 0;  ///< of the outputs of all layers but the last, while training
  bool bidirectional = false;

  index_t directions() const noexcept { return bidirectional ? 2 : 1; }
  /// Layers times directions: the leading extent of PyTorch's h_0.
  index_t cells() const noexcept { return num_layers * directions(); }
  index_t output_size() const noexcept { return hidden_size * directions(); }

  /// Number of parameters with `gates` gates, 3 for a GRU and 4 for an LSTM.
  double parameter_count(index_t gates) const {
    const auto h = static_cast<double>(hidden_size);
    const auto d = static_cast<double>(directions());
    const double first = static_cast<double>(input_size) + h + (bias ? 2 : 0);
    const double later = d * h + h + (bias ? 2 : 0);
    return static_cast<double>(gates) * h * d *
           (first + static_cast<double>(num_layers - 1) * later);
  }

  /// Reads the official arguments. Throws ConfigError.
  template <class Reader>
  static RecurrentConfig read(const Reader& r) {
    constexpr index_t kMax = index_t{1} << 20;
    RecurrentConfig c;
    c.input_size = r.get_int("input_size", 1, kMax);
    c.hidden_size = r.get_int("hidden_size", 1, kMax);
    c.num_layers = r.get_int("num_layers", 1, 1, 1024);
    c.bias = r.get_bool("bias", true);
    c.dropout = r.get_double("dropout", 0.0, 0.0, 1.0);
    c.bidirectional = r.get_bool("bidirectional", false);
    return c;
  }
};

namespace detail {

/// The layers of a GRU or LSTM of `Gates` gates.
template <Scalar T, index_t Gates>
class RecurrentLayers {
 public:
  using value_type = T;
  using StreamInput = T;

  /// Layer by layer, forward before backward direction: weight_ih_l0, weight_ih_l0_reverse, ...
  std::vector<RecurrentParameters<T>> cells;

  RecurrentLayers() = default;
  /// Throws ConfigError.
  RecurrentLayers(const char* name, const RecurrentConfig& c) : config_(c) {
    if (c.input_size < 1 || c.hidden_size < 1 || c.num_layers < 1)
      throw ConfigError(std::string(name) + ": input_size is " + std::to_string(c.input_size) +
                        ", hidden_size " + std::to_string(c.hidden_size) + " and num_layers " +
                        std::to_string(c.num_layers) + ", expected >= 1");
    if (!(c.dropout >= 0 && c.dropout < 1))
      throw ConfigError(std::string(name) + ": dropout is " + std::to_string(c.dropout) +
                        ", expected 0 <= dropout < 1");
    const index_t rows = Gates * c.hidden_size;
    for (index_t i = 0; i < c.cells(); ++i) {
      RecurrentParameters<T> p;
      p.weight_ih = Tensor<T, 2>({rows, i < c.directions() ? c.input_size : c.output_size()});
      p.weight_hh = Tensor<T, 2>({rows, c.hidden_size});
      if (c.bias) {
        p.bias_ih = Tensor<T, 1>({rows});
        p.bias_hh = Tensor<T, 1>({rows});
      }
      cells.push_back(std::move(p));
    }
    packed_.resize(cells.size());
  }

  const RecurrentConfig& config() const noexcept { return config_; }

  /// PyTorch's: all U(-1 / sqrt(H), 1 / sqrt(H)).
  void initialize(Generator& generator) {
    const double bound = 1 / std::sqrt(static_cast<double>(config_.hidden_size));
    for (auto& p : cells) {
      init::uniform(p.weight_ih, bound, generator);
      init::uniform(p.weight_hh, bound, generator);
      if (!config_.bias) continue;
      init::uniform(p.bias_ih, bound, generator);
      init::uniform(p.bias_hh, bound, generator);
    }
  }

  void visit(Visitor<T>& v) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto directions = static_cast<std::size_t>(config_.directions());
      const std::string suffix =
          "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : "");
      v.parameter("weight_ih" + suffix, cells[i].weight_ih);
      v.parameter("weight_hh" + suffix, cells[i].weight_hh);
      v.parameter("bias_ih" + suffix, cells[i].bias_ih);
      v.parameter("bias_hh" + suffix, cells[i].bias_hh);
    }
    v.derived(*this);
  }
  void refresh_derived() {
    for (std::size_t i = 0; i < cells.size(); ++i) packed_[i].pack(cells[i], Gates);
  }
  void release_sources() {
    for (std::size_t i = 0; i < cells.size(); ++i) packed_[i].take(cells[i], Gates);
  }

  /// True when `step` has weights to read: after prepare, as long as no parameter changes.
  bool prepared() const noexcept {
    for (std::size_t i = 0; i < cells.size(); ++i)
      if (!packed_[i].fresh(cells[i])) return false;
    return true;
  }

  /// For Session: inputs of one step of a row.
  index_t stream_width() const noexcept { return config_.input_size; }
  bool accepts(std::span<const T>) const noexcept { return !config_.bidirectional; }
  /// Of one direction.
  StreamTiming timing() const noexcept { return StreamTiming::unbounded(); }

 protected:
  /// x through all layers. `run` (x, parameters, options, cell) computes one layer and direction.
  template <class Run>
  Tensor<T, 3> through_layers(const Tensor<T, 3>& x, const ForwardContext<T>& context,
                              Run&& run) const {
    Tensor<T, 3> y = x;
    for (index_t layer = 0; layer < config_.num_layers; ++layer) {
      const auto one = [&](index_t direction, const Tensor<T, 3>& from) {
        const auto i = static_cast<std::size_t>(layer * config_.directions() + direction);
        return run(from, cells[i], RecurrentOptions<T>{direction == 1, &packed_[i]}, i);
      };
      const Tensor<T, 3> from = layer == 0 ? y : sequin::dropout(y, config_.dropout, context);
      y = one(0, from);
      if (config_.bidirectional) y = concat(y, one(1, from), 2);
    }
    return y;
  }

  /// The states of `cells()` cells, zeros.
  std::vector<StateTensor<T, 2>> zero_states(index_t batch) const {
    std::vector<StateTensor<T, 2>> states;
    for (std::size_t i = 0; i < cells.size(); ++i)
      states.push_back(Tensor<T, 2>({batch, config_.hidden_size}));
    return states;
  }

  /// Throws ShapeError unless there is one state for each cell.
  void check_states(const char* name, std::size_t count) const {
    if (count != cells.size())
      throw ShapeError(std::string(name) + ": the state has " + std::to_string(count) +
                       " tensors, expected " + std::to_string(cells.size()) +
                       " (num_layers * directions)");
  }

  /// One step of `batch` rows: `cell(weights, x, i, b, out)` computes cell i of row b, which is
  /// then copied to `state(i, b)`. False when x or y has another size or the weights are not
  /// prepared.
  template <class Cell, class StateOf>
  bool step_through(std::span<const T> x, index_t batch, std::span<T> y, Cell&& cell,
                    StateOf&& state) const noexcept {
    const index_t hidden = config_.hidden_size;
    if (config_.bidirectional || static_cast<index_t>(x.size()) != batch * config_.input_size ||
        static_cast<index_t>(y.size()) != batch * hidden || !prepared())
      return false;
    for (index_t b = 0; b < batch; ++b) {
      const T* from = x.data() + b * config_.input_size;
      T* const out = y.data() + b * hidden;
      for (std::size_t i = 0; i < cells.size(); ++i) {
        cell(packed_[i].weights(), from, i, b, out);
        T* const kept = state(i, b);
        std::copy_n(out, hidden, kept);
        from = kept;
      }
    }
    return true;
  }

 private:
  RecurrentConfig config_;
  std::vector<PackedRecurrent<T>> packed_;
};

}  // namespace detail

}  // namespace sequin::inline SEQUIN_ABI
