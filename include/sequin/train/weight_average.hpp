/// The exponential moving average of a model's weights.
#pragma once

#include "sequin/core/parallel.hpp"
#include "sequin/core/parameter.hpp"
#include "sequin/train/exact_text.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// average = d average + (1 - d) weight after each step, d = min(decay, (1 + t) / (10 + t)) after t
/// of them, so that the drawn weights are soon forgotten (as tf.train.ExponentialMovingAverage with
/// num_updates). It averages the parameters that ask for a gradient; frozen ones and buffers are
/// the model's own. Its values are a checkpoint's business through `visit_state`.
template <Scalar T>
class WeightAverage {
 public:
  /// The average begins as a copy of the weights. Throws ConfigError unless 0 < decay < 1.
  WeightAverage(const ParameterList<T>& list, double decay) : decay_(decay) {
    if (!(decay > 0 && decay < 1))
      throw ConfigError("WeightAverage: decay is " + detail::exact_text(decay) +
                        ", expected above 0 and below 1");
    const ArenaScope heap(nullptr);
    for (const auto& p : list.items) {
      if (!p.trainable || (p.here() && !p.values.requires_grad())) continue;
      weights_.push_back(p);
      averages_.push_back(p.values.clone());
    }
  }

  /// Takes the weights as they are after a step.
  void update() {
    const auto t = static_cast<double>(++updates_);
    const T keep = static_cast<T>((std::min)(decay_, (1 + t) / (10 + t)));
    const T share = T{1} - keep;
    for (std::size_t i = 0; i < averages_.size(); ++i) {
      const T* const w = std::as_const(weights_[i].values).data();
      T* const a = averages_[i].data();
      parallel_for(averages_[i].size(), index_t{16384}, [&](index_t begin, index_t end) {
        for (index_t k = begin; k < end; ++k) a[k] = keep * a[k] + share * w[k];
      });
    }
  }

  /// Exchanges the model's weights and the averages; a second call takes it back.
  void swap() {
    for (std::size_t i = 0; i < averages_.size(); ++i) {
      const auto a = averages_[i].span();
      std::swap_ranges(a.begin(), a.end(), weights_[i].values.span().begin());
    }
  }

  /// "of.<parameter>" and "updates".
  template <class V>
  void visit_state(V& v) {
    for (std::size_t i = 0; i < averages_.size(); ++i) v.tensor_of(weights_[i], "of", averages_[i]);
    v.counter("updates", updates_);
  }

 private:
  double decay_;
  std::int64_t updates_ = 0;
  std::vector<Parameter<T>> weights_;
  std::vector<Tensor<T, 1>> averages_;
};

/// While it lives, the model has the averaged weights; nothing with nullptr.
template <Scalar T>
class AveragedWeights {
 public:
  explicit AveragedWeights(WeightAverage<T>* average) : average_(average) {
    if (average_ != nullptr) average_->swap();
  }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;
  ~AveragedWeights() {
    if (average_ != nullptr) average_->swap();
  }

 private:
  WeightAverage<T>* average_;
};

}  // namespace sequin::inline SEQUIN_ABI
