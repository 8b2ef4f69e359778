/// The largest entries of rows.
#pragma once

#include "sequin/core/compiled.hpp"
#include "sequin/core/shape.hpp"

#include <cmath>
#include <cstdint>

namespace sequin::inline SEQUIN_ABI::kernels {

/// values and indices (rows, k): the k largest of each row of x (rows, n) in descending order, of
/// equal ones the one further left first. NaN counts as largest, as in torch.topk. 0 <= k <= n.
/// O(rows n k). Real-time safe.
template <class T>
void top_k_forward(const T* x, index_t rows, index_t n, index_t k, T* values,
                   std::int64_t* indices) {
  const auto larger = [](T a, T b) { return a > b || (std::isnan(a) && !std::isnan(b)); };
  for (index_t r = 0; r < rows; ++r, x += n, values += k, indices += k) {
    for (index_t j = 0; j < n; ++j) {
      index_t at = j < k ? j : k;
      while (at > 0 && larger(x[j], values[at - 1])) {
        if (at < k) {
          values[at] = values[at - 1];
          indices[at] = indices[at - 1];
        }
        --at;
      }
      if (at == k) continue;
      values[at] = x[j];
      indices[at] = j;
    }
  }
}

}  // namespace sequin::inline SEQUIN_ABI::kernels

SEQUIN_INSTANTIATE(kernels::top_k_forward);
