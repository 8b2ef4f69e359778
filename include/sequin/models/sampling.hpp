/// Choosing the next token from logits: greedy, top-k, nucleus, temperature, repetition penalty.
#pragma once

#include "sequin/core/random.hpp"
#include "sequin/core/tensor.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// As the arguments of `generate` in mamba_ssm/utils/generation.py.
struct SamplingOptions {
  index_t top_k = 1;              ///< 1: greedy; 0: no cut
  double top_p = 0;               ///< nucleus; 0 or 1: off
  double min_p = 0;               ///< with top_k = 0: keep logits >= min_p * (the largest); 0: off
  double temperature = 1;         ///< > 0
  double repetition_penalty = 1;  ///< > 0; 1: off
  index_t vocab_size = 0;         ///< only the first so many logits may be chosen; 0: all
  std::uint64_t seed = 0;

  /// Throws ConfigError naming the option.
  void validate() const {
    const auto fail = [](const std::string& what, double found, const std::string& expected) {
      throw ConfigError("sampling: " + what + " is " + std::to_string(found) + ", expected " +
                        expected);
    };
    if (top_k < 0) fail("top_k", static_cast<double>(top_k), ">= 0");
    if (!(top_p >= 0 && top_p <= 1)) fail("top_p", top_p, "0 to 1");
    if (!(min_p >= 0 && min_p <= 1)) fail("min_p", min_p, "0 to 1");
    if (!(temperature > 0) || std::isinf(temperature)) fail("temperature", temperature, "> 0");
    if (!(repetition_penalty > 0)) fail("repetition_penalty", repetition_penalty, "> 0");
    if (vocab_size < 0) fail("vocab_size", static_cast<double>(vocab_size), ">= 0");
  }
};

/// Chooses tokens for one sequence after the other; owns its scratch, so that it allocates nothing
/// once it has seen a vocabulary of the size.
template <Scalar T>
class Sampler {
 public:
  /// Throws ConfigError for impossible options.
  explicit Sampler(const SamplingOptions& options) : options_(options), generator_(options.seed) {
    options.validate();
  }

  /// The next token after `history` (prompt included) given its `logits` (V). Greedy ties go to the
  /// lowest index; NaN is never chosen unless all are. The order of filters is the official one:
  /// repetition penalty, top_k, temperature, top_p, draw.
  ///
  /// Differs knowingly: `min_p` is relative to the largest logit's probability, where the official
  /// code compares raw logits with column 0.
  std::int64_t choose(std::span<const T> logits, std::span<const std::int64_t> history) {
    std::size_t n = logits.size();
    if (options_.vocab_size > 0) n = (std::min)(n, static_cast<std::size_t>(options_.vocab_size));
    scores_.assign(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(n));
    for (T& score : scores_)
      if (std::isnan(score)) score = -std::numeric_limits<T>::infinity();
    penalise(logits, history);
    const auto largest = std::max_element(scores_.begin(), scores_.end());
    if (options_.top_k == 1 || scores_.empty()) return largest - scores_.begin();

    order_.resize(n);
    std::iota(order_.begin(), order_.end(), std::int64_t{0});
    const auto score_of = [&](std::int64_t i) { return scores_[static_cast<std::size_t>(i)]; };
    const auto better = [&](std::int64_t a, std::int64_t b) {
      return score_of(a) > score_of(b) || (score_of(a) == score_of(b) && a < b);
    };
    if (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < n) {
      n = static_cast<std::size_t>(options_.top_k);
      std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(n),
                        order_.end(), better);
    } else {
      std::sort(order_.begin(), order_.end(), better);
    }

    // Probabilities in descending order.
    probabilities_.resize(n);
    double total = 0;
    const double top = static_cast<double>(score_of(order_[0]));
    for (std::size_t i = 0; i < n; ++i) {
      const double gap = static_cast<double>(score_of(order_[i])) - top;
      const bool kept =
          options_.top_k != 0 || options_.min_p == 0 || gap >= std::log(options_.min_p);
      probabilities_[i] = kept ? std::exp(gap / options_.temperature) : 0.0;
      total += probabilities_[i];
    }
    if (options_.top_p > 0 && options_.top_p < 1) total = keep_nucleus(total);

    double draw = generator_.template uniform<double>() * total;
    for (std::size_t i = 0; i < n; ++i) {
      draw -= probabilities_[i];
      if (draw < 0) return order_[i];
    }
    return order_[0];
  }

 private:
  void penalise(std::span<const T> logits, std::span<const std::int64_t> history) {
    if (options_.repetition_penalty == 1) return;
    const T penalty = static_cast<T>(options_.repetition_penalty);
    for (const std::int64_t token : history) {
      if (token < 0 || static_cast<std::size_t>(token) >= scores_.size()) continue;
      const T logit = logits[static_cast<std::size_t>(token)];
      scores_[static_cast<std::size_t>(token)] = logit < 0 ? logit * penalty : logit / penalty;
    }
  }

  /// Removes tokens whose cumulative probability, counted from the least likely, is at most
  /// 1 - top_p; the most likely one stays. Returns what is left of `total`.
  double keep_nucleus(double total) {
    double tail = 0;
    double left = total;
    for (std::size_t i = probabilities_.size(); i-- > 1;) {
      tail += probabilities_[i] / total;
      if (tail > 1 - options_.top_p) break;
      left -= probabilities_[i];
      probabilities_[i] = 0;
    }
    return left;
  }

  SamplingOptions options_;
  Generator generator_;
  std::vector<T> scores_;
  std::vector<std::int64_t> order_;
  std::vector<double> probabilities_;
};

}  // namespace sequin::inline SEQUIN_ABI
