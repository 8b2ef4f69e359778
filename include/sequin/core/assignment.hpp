/// The cheapest one-to-one assignment of n rows to n columns.
#pragma once

#include "sequin/core/shape.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace sequin::inline SEQUIN_ABI {

namespace detail {

/// All permutations in lexicographic order; the first with the least sum wins.
inline std::vector<index_t> first_best_permutation(const double* cost, index_t n) {
  std::vector<index_t> p(static_cast<std::size_t>(n));
  std::iota(p.begin(), p.end(), index_t{0});
  std::vector<index_t> best = p;
  double least = std::numeric_limits<double>::infinity();
  do {
    double sum = 0;
    for (index_t i = 0; i < n; ++i) sum += cost[i * n + p[static_cast<std::size_t>(i)]];
    if (sum < least) {
      least = sum;
      best = p;
    }
  } while (std::next_permutation(p.begin(), p.end()));
  return best;
}

/// The Hungarian method with potentials, O(n^3).
inline std::vector<index_t> hungarian(const double* cost, index_t n) {
  const auto size = static_cast<std::size_t>(n) + 1;
  constexpr double kFar = std::numeric_limits<double>::infinity();
  // Rows and columns from 1; 0 is where each augmenting path begins.
  std::vector<double> row_price(size), column_price(size), slack(size);
  std::vector<std::size_t> row_of(size), came_from(size);
  std::vector<char> used(size);
  for (std::size_t row = 1; row < size; ++row) {
    row_of[0] = row;
    std::size_t column = 0;
    std::fill(slack.begin(), slack.end(), kFar);
    std::fill(used.begin(), used.end(), char{0});
    do {
      used[column] = 1;
      const std::size_t r = row_of[column];
      double delta = kFar;
      std::size_t next = 0;
      for (std::size_t c = 1; c < size; ++c) {
        if (used[c] != 0) continue;
        const double reduced = cost[(r - 1) * (size - 1) + c - 1] - row_price[r] - column_price[c];
        if (reduced < slack[c]) {
          slack[c] = reduced;
          came_from[c] = column;
        }
        if (next == 0 || slack[c] < delta) {
          delta = slack[c];
          next = c;
        }
      }
      for (std::size_t c = 0; c < size; ++c) {
        if (used[c] != 0) {
          row_price[row_of[c]] += delta;
          column_price[c] -= delta;
        } else {
          slack[c] -= delta;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    while (column != 0) {
      row_of[column] = row_of[came_from[column]];
      column = came_from[column];
    }
  }
  std::vector<index_t> column_of(size - 1);
  for (std::size_t c = 1; c < size; ++c) column_of[row_of[c] - 1] = static_cast<index_t>(c) - 1;
  return column_of;
}

}  // namespace detail

/// The column of each row such that the sum of cost[i * n + column[i]] is least. Up to three rows
/// every permutation is tried in lexicographic order and the first of several best ones is taken;
/// beyond that the Hungarian method finds one (Kuhn 1955). Infinite costs count as 1e30; with a NaN
/// the row i gets the column i. `cost` holds n * n numbers; n >= 0. Allocates.
inline std::vector<index_t> best_assignment(const double* cost, index_t n) {
  std::vector<double> finite(cost, cost + n * n);
  std::vector<index_t> identity(static_cast<std::size_t>(n));
  std::iota(identity.begin(), identity.end(), index_t{0});
  for (double& c : finite) {
    if (std::isnan(c)) return identity;
    c = std::clamp(c, -1e30, 1e30);
  }
  return n <= 3 ? detail::first_best_permutation(finite.data(), n)
                : detail::hungarian(finite.data(), n);
}

}  // namespace sequin::inline SEQUIN_ABI
