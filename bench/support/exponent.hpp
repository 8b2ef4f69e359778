/// By which power of its size the time of something grows.
#pragma once

#include <cmath>
#include <cstddef>
#include <ctime>
#include <vector>

namespace sequin_bench {

/// Processor time, so that other programs disturb a comparison less.
inline double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// The least-squares slope of log(time) over log(size).
class Exponent {
 public:
  void add(double size, double seconds) {
    x_.push_back(std::log(size));
    y_.push_back(std::log(seconds));
  }
  double value() const {
    const auto n = static_cast<double>(x_.size());
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      sx += x_[i], sy += y_[i], sxx += x_[i] * x_[i], sxy += x_[i] * y_[i];
    }
    return (n * sxy - sx * sy) / (n * sxx - sx * sx);
  }

 private:
  std::vector<double> x_, y_;
};

}  // namespace sequin_bench
