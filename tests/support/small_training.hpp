// A training of milliseconds, alone or on several ranks: numbered and drawn examples, and a model
// with noise to draw and a buffer that its forward pass moves.
#pragma once

#include "sequin/blocks/linear.hpp"
#include "sequin/ops/dropout.hpp"
#include "sequin/ops/loss.hpp"
#include "sequin/train/train.hpp"

#include <cmath>
#include <span>
#include <vector>

namespace sequin_test {

using sequin::index_t;
using sequin::Tensor;

template <class T>
struct Points {
  struct Batch {
    Tensor<T, 2> x, y;
    void fit(index_t n) { *this = {Tensor<T, 2>({n, 3}), Tensor<T, 2>({n, 2})}; }
    void put(index_t row, double phase) {
      for (index_t c = 0; c < 3; ++c) x(row, c) = static_cast<T>(std::sin(phase + 1.3 * double(c)));
      for (index_t c = 0; c < 2; ++c) y(row, c) = static_cast<T>(std::cos(2 * phase + double(c)));
    }
  };
};

template <class T>
struct NumberedPoints : Points<T> {
  index_t examples = 22;
  index_t count() const { return examples; }
  void fetch(std::span<const index_t> numbers, typename Points<T>::Batch& batch) const {
    batch.fit(static_cast<index_t>(numbers.size()));
    index_t row = 0;
    for (const index_t number : numbers) batch.put(row++, 0.7 * static_cast<double>(number));
  }
};

template <class T>
struct DrawnPoints : Points<T> {
  void draw(sequin::Generator& generator, index_t n, typename Points<T>::Batch& batch) const {
    batch.fit(n);
    for (index_t row = 0; row < n; ++row) batch.put(row, 6 * generator.uniform<double>());
  }
};

template <class T>
struct SmallNet {
  using value_type = T;
  sequin::Linear<T> first{3, 7}, second{7, 2};
  Tensor<T, 1> examples{sequin::Shape<1>{1}};  // a buffer, as a running statistic is one
  SmallNet() {
    sequin::Generator generator(4);
    first.initialize(generator);
    second.initialize(generator);
  }
  void visit(sequin::Visitor<T>& v) {
    v.child("first", first);
    v.child("second", second);
    v.buffer("examples", examples);
  }
  Tensor<T, 2> forward(const Tensor<T, 2>& x, sequin::Generator* drop = nullptr) {
    if (sequin::recording_is_on()) *examples.data() += static_cast<T>(x.rows());
    const auto h = first.forward(x, sequin::Activation::gelu);
    return second.forward(drop == nullptr ? h : sequin::dropout(h, 0.3, *drop));
  }
};

template <class T>
std::vector<T> weights_of(SmallNet<T>& net) {
  std::vector<T> all;
  for (const auto& p : sequin::parameters(net).items)
    for (const T w : p.values.span())
      if (p.trainable) all.push_back(w);
  return all;
}

template <class T>
struct Trained {
  sequin::TrainResult result;
  std::vector<T> weights;
  std::vector<std::uint64_t> draws;  // where the noise stood at each step
};

/// Trains a SmallNet on 22 numbered points, or on drawn ones; validates on 9 others.
template <class T>
Trained<T> train_small(sequin::TrainOptions o, bool noise = false, bool drawn = false,
                       const sequin::TrainCallbacks& callbacks = {}) {
  SmallNet<T> net;
  sequin::Generator drop(8);
  Trained<T> out;
  o.generators = {{"noise", &drop}};
  const auto loss = [&](const typename Points<T>::Batch& b) {
    if (sequin::recording_is_on()) out.draws.push_back(drop.state().seed);
    const bool draws = noise && sequin::recording_is_on();
    return sequin::mse_loss(net.forward(b.x, draws ? &drop : nullptr), b.y);
  };
  NumberedPoints<T> points, held_out;
  held_out.examples = 9;
  DrawnPoints<T> source;
  if (drawn)
    out.result = sequin::train(net, source, loss, sequin::validate_on(source, 4, 3, 77u, loss), o,
                               callbacks);
  else
    out.result =
        sequin::train(net, points, loss, sequin::validate_on(held_out, 5, loss), o, callbacks);
  out.weights = weights_of(net);
  return out;
}

inline sequin::TrainOptions small_options(index_t batch) {
  sequin::TrainOptions o;
  o.epochs = 3;
  o.batch_size = batch;
  o.learning_rate = 0.01;
  o.drop_last_train = false;
  o.seed = 21;
  o.patience = 0;
  o.steps_per_epoch = 4;
  return o;
}

}  // namespace sequin_test
