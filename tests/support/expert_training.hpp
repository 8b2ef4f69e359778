// A training of a small Time-MoE: all of its experts in one process, or spread over several.
#pragma once

#include "sequin/io/safetensors.hpp"
#include "sequin/models/time_moe_loss.hpp"
#include "sequin/train/train.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace sequin_test {

using sequin::index_t;
using sequin::Tensor;

inline sequin::TimeMoeConfig small_time_moe() {
  sequin::TimeMoeConfig c;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.horizon_lengths = {1, 3};
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.num_experts = 5;
  c.num_experts_per_tok = 2;
  c.initializer_range = 0.3;
  c.router_aux_loss_factor = 0.5;  // large, so that a wrong balance shows
  return c;
}

/// Seven series of eight points; drawn ones are of any phase.
template <class T>
struct Waves {
  static constexpr index_t kLength = 8;
  index_t examples = 7;
  struct Batch {
    Tensor<T, 3> x, next;
    void fit(index_t n) {
      x = Tensor<T, 3>({n, kLength, 1});
      next = Tensor<T, 3>({n, kLength, 1});
    }
    void put(index_t row, double phase) {
      const auto at = [&](index_t t) {
        return static_cast<T>(std::sin(phase + 0.9 * double(t)) + 0.3 * std::sin(2.3 * phase));
      };
      for (index_t t = 0; t < kLength; ++t) x(row, t, 0) = at(t), next(row, t, 0) = at(t + 1);
    }
  };
  index_t count() const { return examples; }
  void fetch(std::span<const index_t> numbers, Batch& batch) const {
    batch.fit(static_cast<index_t>(numbers.size()));
    index_t row = 0;
    for (const index_t number : numbers) batch.put(row++, 0.7 * static_cast<double>(number));
  }
};

template <class T>
struct DrawnWaves {
  using Batch = typename Waves<T>::Batch;
  void draw(sequin::Generator& generator, index_t n, Batch& batch) const {
    batch.fit(n);
    for (index_t row = 0; row < n; ++row) batch.put(row, 6 * generator.uniform<double>());
  }
};

/// Trains in `o.replicas`, over which the experts are spread too; validates on four series, three
/// at a time, or on three drawn batches. The model's weights follow from `seed`.
template <class T>
sequin::TrainResult train_experts(const sequin::TrainOptions& o,
                                  const sequin::TrainCallbacks& callbacks = {}, bool drawn = false,
                                  const sequin::TimeMoeConfig& config = small_time_moe(),
                                  std::uint64_t seed = 5) {
  sequin::TimeMoe<T> model(config, o.replicas);
  sequin::Generator generator(seed);
  model.initialize(generator);
  const auto loss = [&](const typename Waves<T>::Batch& b) {
    std::vector<sequin::Routing<T>> routings;
    sequin::TimeMoeCall<T> call;
    call.routings = &routings;
    const auto hidden = model.hidden_states(b.x, call);
    return sequin::time_moe_loss(model, hidden, routings, b.next).loss;
  };
  if (drawn) {
    DrawnWaves<T> source;
    return sequin::train(model, source, loss, sequin::validate_on(source, 2, 3, 77u, loss), o,
                         callbacks);
  }
  Waves<T> source, held_out;
  held_out.examples = 4;
  return sequin::train(model, source, loss, sequin::validate_on(held_out, 3, loss), o, callbacks);
}

inline sequin::TrainOptions expert_options(index_t batch, const std::filesystem::path& folder) {
  sequin::TrainOptions o;
  o.epochs = 3;
  o.batch_size = batch;
  o.learning_rate = 0.01;
  o.drop_last_train = false;
  o.seed = 21;
  o.patience = 0;
  o.steps_per_epoch = 4;
  o.checkpoint_dir = folder;
  return o;
}

/// The largest difference of two files' numbers; infinity where names, shapes or whole numbers
/// differ.
inline double difference_of_files(const std::filesystem::path& a, const std::filesystem::path& b) {
  const sequin::SafetensorsFile one(a), other(b);
  if (one.tensors().size() != other.tensors().size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < one.tensors().size(); ++i) {
    const sequin::TensorEntry &x = one.tensors()[i], &y = other.tensors()[i];
    if (x.name != y.name || x.shape != y.shape || x.dtype != y.dtype) return INFINITY;
    if (x.dtype == sequin::DType::I64) {
      if (one.read<std::int64_t>(x.name) != other.read<std::int64_t>(x.name)) return INFINITY;
      continue;
    }
    const auto values = one.read<double>(x.name), others = other.read<double>(x.name);
    for (std::size_t k = 0; k < values.size(); ++k) {
      const double d = std::abs(values[k] - others[k]);
      worst = std::isnan(d) ? INFINITY : (std::max)(worst, d);
    }
  }
  return worst;
}

}  // namespace sequin_test
