/// Picks parameters by patterns of their names.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/core/parameter.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

/// True when `name` is what `pattern` says, in which * stands for any characters (dots, or none,
/// too) and ? for one: "encoder.*", "*.norm?.weight". Time linear in practice, never exponential.
inline bool name_matches(std::string_view name, std::string_view pattern) noexcept {
  std::size_t n = 0, p = 0;
  std::size_t star = std::string_view::npos, resumed = 0;  // the last *, and where it ends
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resumed = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resumed;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

inline bool name_matches_any(std::string_view name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& p) { return name_matches(name, p); });
}

/// Throws ConfigError when a pattern fits the name of no trainable parameter: `purpose` (such as
/// "freeze"), the pattern and some of the names are in the text.
template <Scalar T>
void check_patterns(const ParameterList<T>& list, const std::vector<std::string>& patterns,
                    const char* purpose) {
  for (const std::string& pattern : patterns) {
    std::string names;
    std::size_t count = 0;
    bool found = false;
    for (const auto& p : list.items) {
      if (!p.trainable) continue;
      found = found || name_matches(p.name, pattern);
      if (++count <= 4) names += (names.empty() ? "" : ", ") + p.name;
    }
    if (!found)
      throw ConfigError(std::string(purpose) + ": '" + detail::printable(pattern) +
                        "' matches no parameter, expected a pattern of one of the " +
                        std::to_string(count) + " (" + names + (count > 4 ? ", ..." : "") + ")");
  }
}

namespace detail {

/// Of each of `parameters`, which are some of the list's: the factor of the last pattern that fits,
/// or 1. Throws ConfigError when a pattern fits nothing.
template <Scalar T>
std::vector<double> factors_by_pattern(
    const ParameterList<T>& list, const std::vector<Parameter<T>>& parameters,
    const std::vector<std::pair<std::string, double>>& rate_factors) {
  std::vector<std::string> patterns;
  for (const auto& [pattern, factor] : rate_factors) patterns.push_back(pattern);
  check_patterns(list, patterns, "rate_factors");
  std::vector<double> factors;
  for (const auto& p : parameters) {
    factors.push_back(1);
    for (const auto& [pattern, factor] : rate_factors)
      if (name_matches(p.name, pattern)) factors.back() = factor;
  }
  return factors;
}

/// The list in which a frozen parameter that lies on another rank counts as a buffer: here nothing
/// else tells that it is frozen.
template <Scalar T>
ParameterList<T> without_frozen_elsewhere(ParameterList<T> list,
                                          const std::vector<std::string>& frozen) {
  for (auto& p : list.items)
    if (!p.here() && name_matches_any(p.name, frozen)) p.trainable = false;
  return list;
}

}  // namespace detail

/// Asks for gradients with respect to all parameters but those of the patterns, which then stay as
/// they are. Throws ConfigError when a pattern matches none, and then nothing has changed.
template <class Block>
void freeze(Block& block, const std::vector<std::string>& patterns) {
  check_patterns(parameters(block), patterns, "freeze");
  set_requires_grad(block,
                    [&](std::string_view name) { return !name_matches_any(name, patterns); });
}

/// Asks for gradients with respect to the parameters of the patterns alone. Throws as `freeze`.
template <class Block>
void train_only(Block& block, const std::vector<std::string>& patterns) {
  check_patterns(parameters(block), patterns, "train_only");
  set_requires_grad(block, [&](std::string_view name) { return name_matches_any(name, patterns); });
}

}  // namespace sequin::inline SEQUIN_ABI
