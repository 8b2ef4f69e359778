/// Stops a training that no longer gets better.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/shape.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

namespace sequin::inline SEQUIN_ABI {

/// Watches a loss: `update` tells whether it is the best so far, `stop` whether the last `patience`
/// of them were not. An equal value counts as better, as in the official EarlyStopping; NaN never
/// does (there it does). Its values are a checkpoint's business through `visit_state`.
class EarlyStopping {
 public:
  /// A loss counts as better when it is not above best - delta. `patience` 0 never stops. Throws
  /// ConfigError when patience or delta is negative.
  explicit EarlyStopping(index_t patience = 3, double delta = 0)
      : patience_(patience), delta_(delta) {
    if (patience < 0)
      throw ConfigError("EarlyStopping: patience is " + std::to_string(patience) +
                        ", expected >= 0");
    if (!(delta >= 0))
      throw ConfigError("EarlyStopping: delta is " + std::to_string(delta) + ", expected >= 0");
  }

  /// Takes the loss of one more epoch; true when it is the best so far.
  bool update(double loss) noexcept {
    ++epoch_;
    if (std::isnan(loss) || (best_epoch_ > 0 && loss > best_ - delta_)) {
      ++waited_;
      return false;
    }
    best_ = loss;
    best_epoch_ = epoch_;
    waited_ = 0;
    return true;
  }

  bool stop() const noexcept { return patience_ > 0 && waited_ >= patience_; }
  /// The best loss; infinity before there is one.
  double best() const noexcept { return best_; }
  /// The number (from 1) of the update that gave it; 0 before there is one.
  std::int64_t best_epoch() const noexcept { return best_epoch_; }
  /// Updates since then.
  std::int64_t waited() const noexcept { return waited_; }

  template <class V>
  void visit_state(V& v) {
    v.real("best", best_);
    v.counter("best_epoch", best_epoch_);
    v.counter("epoch", epoch_);
    v.counter("waited", waited_);
  }

 private:
  index_t patience_;
  double delta_;
  double best_ = std::numeric_limits<double>::infinity();
  std::int64_t best_epoch_ = 0;
  std::int64_t epoch_ = 0;
  std::int64_t waited_ = 0;
};

}  // namespace sequin::inline SEQUIN_ABI
